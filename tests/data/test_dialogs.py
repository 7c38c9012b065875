"""Examples read from files, a TFDS set and a function, and what is held out."""

import collections
import json
import os
import sys

import pytest

from gptjax.config import BadInput
from gptjax.data import dialogs
from gptjax.data.templates import Message

CHAT = {"messages": [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}]}
GIVEN = [Message("user", "2 + 2?"), Message("assistant", "4")]


def write(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def both(corpus):
    return [example for split in corpus.splits for example in corpus.examples(split)]


@pytest.mark.parametrize(
    "row,fields",
    [
        ({"prompt": "2 + 2?", "answer": "4"}, ""),
        ({"q": "2 + 2?", "a": "4", "other": 1}, ":q:a"),
        ({"messages": [message._asdict() for message in GIVEN]}, ""),
        ({"messages": "no", "prompt": "2 + 2?", "answer": "4"}, ":prompt:answer"),
    ],
)
def test_a_line_is_a_pair_or_a_chat(row, fields, tmp_path):
    write(tmp_path / "a.jsonl", [row] * 10)
    found = both(dialogs.open_dialogs(f"dialogs:{tmp_path}/*.jsonl{fields}", None))
    assert len(found) == 10 and all(example.messages == GIVEN for example in found)


def test_a_function_gives_pairs_and_chats_of_each_split(tmp_path):
    file = tmp_path / "made.py"
    file.write_text(f"def give(split):\n    yield split, 'x'\n    yield {CHAT['messages']!r}\n")
    corpus = dialogs.open_dialogs(f"dialogs:{file}:give", None)
    for split in ("train", "valid"):
        pair, chat = corpus.examples(split)
        assert pair.messages == [Message("user", split), Message("assistant", "x")]
        assert [message.content for message in chat.messages] == ["hello", "hi"]


def test_a_function_may_import_from_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "beside_dialogs.py").write_text("PAIR = 'a', 'b'\n")
    (tmp_path / "made.py").write_text("from beside_dialogs import PAIR\ndef give(split):\n    return [PAIR]\n")
    monkeypatch.chdir(tmp_path)
    path = [*sys.path]
    (example,) = dialogs.open_dialogs("dialogs:made.py:give", None).examples("train")
    assert [message.content for message in example.messages] == ["a", "b"] and sys.path == path


def test_a_tfds_set_gives_two_of_its_fields(monkeypatch):
    if "GPTJAX_TEST_DATA" not in os.environ:
        pytest.skip("needs the shared test data: set GPTJAX_TEST_DATA")
    monkeypatch.setenv("TFDS_DATA_DIR", f"{os.environ['GPTJAX_TEST_DATA']}/tfds")
    corpus = dialogs.open_dialogs("dialogs:tfds:tiny_shakespeare:text:text", None)
    (example,) = corpus.examples("train")
    assert [role for role, _ in example.messages] == ["user", "assistant"]
    assert example.messages[0].content == example.messages[1].content and "First Citizen" in example.messages[0].content


def test_of_few_the_last_tenth_is_held_out(tmp_path):
    write(tmp_path / "a.jsonl", [{"prompt": str(n), "answer": "x"} for n in range(30)])
    corpus = dialogs.open_dialogs(f"dialogs:{tmp_path}/a.jsonl", None)
    assert [int(example.messages[0].content) for example in corpus.examples("valid")] == [27, 28, 29]
    assert [int(example.messages[0].content) for example in corpus.examples("train")] == list(range(27))


def test_of_many_equal_prompts_stand_on_one_side(tmp_path):
    write(tmp_path / "a.jsonl", [{"prompt": str(n % 300), "answer": str(n)} for n in range(900)])
    corpus = dialogs.open_dialogs(f"dialogs:{tmp_path}/a.jsonl", None)
    sides = [{example.messages[0].content for example in corpus.examples(split)} for split in corpus.splits]
    assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 300 and 5 <= len(sides[1]) <= 30
    counts = collections.Counter(example.messages[0].content for example in both(corpus))
    assert set(counts.values()) == {3}


def test_a_fingerprint_tells_a_changed_answer_and_a_changed_role(tmp_path):
    rows, prints = [CHAT] * 10, []
    for role, answer in (("user", "hi"), ("user", "ho"), ("system", "hi")):
        rows[0] = {"messages": [{"role": role, "content": "hello"}, {"role": "assistant", "content": answer}]}
        write(tmp_path / "a.jsonl", rows)
        prints.append(dialogs.open_dialogs(f"dialogs:{tmp_path}/a.jsonl", None).fingerprint("train"))
    assert len(set(prints)) == 3


def test_a_tokenizer_is_made_of_what_is_said_in_the_plain_form(tmp_path):
    write(tmp_path / "a.jsonl", [CHAT] * 2)
    corpus = dialogs.open_dialogs(f"dialogs:{tmp_path}/a.jsonl", None)
    assert list(dialogs.texts(corpus)) == ["User: hello\nAssistant: hi\n"]


WRONG = [  # a line, what is said of it
    ("[1]", "line 1: is no object"),
    ("{", "line 1: not JSON"),
    ('{"prompt": "a"}', "line 1: no field 'answer', nor 'messages'; it has prompt"),
    ('{"prompt": "a", "answer": 3}', "line 1: the field 'answer' is int, not text"),
    ('{"prompt": "a", "answer": " "}', "line 1: no answer"),
    ('{"prompt": "a\\u0000", "answer": "b"}', r"line 1: U\+0000 in a message"),
    ('{"messages": []}', "line 1: 'messages' must be a list"),
    ('{"messages": ["a"]}', "line 1: message 0 is no object"),
    ('{"messages": [{"role": "bot", "content": "a"}]}', "the role 'bot'; it is one of system, user, assistant"),
    ('{"messages": [{"role": "user", "content": "a"}]}', "line 1: no answer"),
]


@pytest.mark.parametrize("line,says", WRONG, ids=[line for line, _ in WRONG])
def test_a_line_that_is_no_example_is_named(line, says, tmp_path):
    (tmp_path / "a.jsonl").write_text(line + "\n")
    with pytest.raises(BadInput, match=says):
        both(dialogs.open_dialogs(f"dialogs:{tmp_path}/a.jsonl", None))


@pytest.mark.parametrize(
    "code,says",
    [
        ("", "has no function give"),
        ("give = 3", "has no function give"),
        ("import nowhere", "ModuleNotFoundError"),
        ("def give(split):\n    raise OSError('two\\nlines')", "OSError: two lines"),
        ("def give(split):\n    yield 'a', 'b'\n    1 / 0", "train example 1: ZeroDivisionError"),
        ("def give(split):\n    yield 'a'", "train example 0: 'messages' must be a list"),
        ("def give(split):\n    yield 'a', 3", "the field 'text' is int"),
    ],
)
def test_a_function_that_fails_is_named(code, says, tmp_path):
    (tmp_path / "made.py").write_text(code)
    with pytest.raises(BadInput, match=says):
        both(dialogs.open_dialogs(f"dialogs:{tmp_path}/made.py:give", None))
