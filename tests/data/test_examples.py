"""What an example becomes: the tokens of the prompt that chat will write, and answers that are marked."""

import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.data import dialogs, shards
from gptjax.data.alphabets import Bytes
from gptjax.data.examples import Examples, Marked
from gptjax.data.subwords import byte_level_bpe, letters
from gptjax.data.templates import Form, Message
from tests.data.test_dialogs import write

CHATML = """
{%- for message in messages %}
    {{- "<|im_start|>" + message.role + "\\n" + message.content + "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{% endif %}"""
DIALOGPT = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
FORGETS = """
{%- for message in messages %}{{ message.content if loop.last or message.role == "user" else "..." }};{% endfor %}"""
TALK = [
    Message("system", "be kind"), Message("user", "hello"), Message("assistant", "hi"), Message("user", "bye"),
    Message("assistant", "ciao"),
]  # fmt: skip


@pytest.fixture(scope="module")
def bpe():
    """The bytes, with GPT-2's end of text and ChatML's two tokens."""
    special = ["<|endoftext|>", "<|im_end|>", "<|im_start|>"]
    return byte_level_bpe("gpt2", {text: n for n, text in enumerate([*special, *letters()])}, [], special)


def told(tokenizer, parts):
    names = {token: f"[{name}]" for name, token in tokenizer.special.items()}
    spelled = lambda tokens: "".join(names.get(token) or tokenizer.decode([token]) for token in tokens)
    return [(spelled(part.tokens), part.answer) for part in parts]


def test_the_plain_form_has_its_answers_apart():
    assert told(Bytes({}), Form(Bytes({}), {}).example(TALK)) == [
        ("be kind\n\nUser: hello\nAssistant:", False), (" hi\n", True),
        ("User: bye\nAssistant:", False), (" ciao\n", True),
    ]  # fmt: skip


def test_a_template_s_answer_ends_where_the_template_ends_it(bpe):
    assert told(bpe, Form(bpe, {"chat_template": CHATML}).example(TALK)) == [
        (
            "[<|im_start|>]system\nbe kind[<|im_end|>]\n[<|im_start|>]user\nhello[<|im_end|>]\n"
            "[<|im_start|>]assistant\n", False
        ),
        ("hi[<|im_end|>]\n", True),
        ("[<|im_start|>]user\nbye[<|im_end|>]\n[<|im_start|>]assistant\n", False),
        ("ciao[<|im_end|>]\n", True),
    ]  # fmt: skip


@pytest.mark.parametrize("chat", [{}, {"chat_template": CHATML}, {"chat_template": DIALOGPT}], ids=str)
def test_what_comes_before_an_answer_is_the_prompt_of_chat(chat, bpe):
    form = Form(bpe, chat)
    assert form.example(TALK)[0].tokens == form.prompt(TALK[:2])


def test_a_template_that_rewrites_the_past_is_refused(bpe):
    with pytest.raises(BadInput, match="cannot be told apart; it is the dialog that begins 'be kind'"):
        Marked(bpe, {"chat_template": FORGETS}).encode('[["user", "be kind"], ["assistant", "a"], ["assistant", "b"]]')


def store_of(tmp_path, tokenizer, chat, rows):
    write(tmp_path / "a.jsonl", rows)
    corpus = dialogs.open_dialogs(f"dialogs:{tmp_path}/a.jsonl", None)
    return shards.build(corpus, "train", Marked(tokenizer, chat), tmp_path / "tokens", progress=False)


@pytest.mark.parametrize("block", [2, 3, 7, 10_000])
def test_a_store_tells_where_each_example_begins_and_answers(block, tmp_path, monkeypatch):
    monkeypatch.setattr("gptjax.data.examples.BLOCK", block)
    rows = [{"prompt": "a" * n, "answer": "b" * (n + 1)} for n in range(4)] + [{"prompt": "held", "answer": "out"}]
    found = Examples(store_of(tmp_path, Bytes({}), {}, rows), Bytes.end_of_text)
    for n in range(4):
        ids, answers = found.read(int(found.begins_N[n]), int(found.lengths_N[n]) + 1)
        head = found.heads_N[n]
        assert bytes(ids[:head].tolist()).decode() == f"User: {'a' * n}\nAssistant:"
        assert bytes(ids[head:].tolist()).decode() == f" {'b' * (n + 1)}\n\0"
        assert answers.tolist() == [False] * head + [True] * (n + 3) + [False] and found.ends_N[n]
    assert len(found.begins_N) == 4


def test_an_end_of_text_that_the_template_writes_is_not_followed_by_another(tmp_path, bpe):
    rows = [{"prompt": "a", "answer": "b"}] * 3
    found = Examples(store_of(tmp_path, bpe, {"chat_template": DIALOGPT}, rows), bpe.end_of_text)
    ids, answers = found.read(int(found.begins_N[0]), int(found.lengths_N[0]))
    a, b = (int(bpe.encode(text)[0]) for text in "ab")
    assert ids.tolist() == [a, bpe.end_of_text, b, bpe.end_of_text]
    assert answers.tolist() == [False, False, True, True] and not found.ends_N.any()


def test_another_template_is_another_store(tmp_path, bpe):
    rows = [{"prompt": "a", "answer": "b"}] * 3
    one, other = (store_of(tmp_path, bpe, {"chat_template": text}, rows) for text in (CHATML, DIALOGPT))
    assert one.folder != other.folder and one.n_tokens > other.n_tokens
    assert store_of(tmp_path, bpe, {"chat_template": CHATML}, rows).folder == one.folder
    assert np.dtype(one.manifest["dtype"]) == np.uint16
