"""`gptjax chat`: through a pipe, its commands, what it forgets, and Ctrl-C."""

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time

import pytest

from gptjax import cli
from gptjax.commands import chat
from gptjax.generation import decode
from gptjax.generation.dialogue import Dialogue
from gptjax.training import source

ASKED = chat.Asked(
    folder="", system="", max_tokens=40, temperature=0.0, top_k=0, top_p=1.0, seed=0, precision="float32"
)


@pytest.fixture(scope="module")
def given(talker):
    return source.open_run(str(talker))


@pytest.fixture(scope="module")
def writer(given):
    return decode.writer(given.params, given.cfg.model)


@pytest.fixture
def notes():
    """What a dialogue says beside its answers."""
    return []


@pytest.fixture
def talk(given, writer, notes):
    return chat.Talk(writer, Dialogue(given.tokenizer, {}), ASKED, notes.append)


def hear(talk, *lines):
    for line in lines:
        talk.hear(line, str)


@pytest.fixture
def piped(talker, monkeypatch, capsys):
    """What the command prints on stdout and on stderr for some input."""

    def ask(text, *flags):
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        capsys.readouterr()
        assert cli.main(["chat", f"--from={talker}", "--temperature=0", "--max_tokens=40", *flags]) == 0
        return capsys.readouterr()

    return ask


def test_a_pipe_gets_the_answers_alone_line_by_line(piped):
    out, err = piped("hello\n\nhow are you\n")
    assert (out, err) == ("hello, how are you?\nI am well.\n", "")


def test_what_is_wrong_with_a_line_is_said_beside_the_answers(piped):
    out, err = piped("/rest\n/temp hot\n/temp -1\n/save\n" + "x" * 200 + "\nhello\n")
    assert out == "hello, how are you?\n"
    assert err.splitlines() == [
        "gptjax: no command /rest; did you mean /reset?",
        "gptjax: /temp hot: needs a number",
        "gptjax: --temperature=-1.0: must be at least 0 and at most 100 (0 takes the likeliest token)",
        "gptjax: /save needs the name of a file",
        "gptjax: the message is 217 tokens with their form; at most 88 leave room for an answer",
    ]


def test_what_was_said_is_seen_until_it_is_reset(talk, notes, capsys):
    hear(talk, "hello", "how are you")
    assert [message.content for message in talk.said[1::2]] == ["hello, how are you?", "I am well."]
    hear(talk, "/reset", "how are you")
    assert len(talk.said) == 2 and notes == ["(forgotten)"]


def test_the_oldest_messages_make_room_and_the_system_text_stays(talk, notes, capsys, monkeypatch):
    prompts, write = [], talk.writer.write

    def listening(asked, **keys):
        prompts.append(bytes(asked[0].tokens).decode())
        return write(asked, **keys)

    monkeypatch.setattr(talk.writer, "write", listening)
    hear(talk, "/system be kind", *(f"hello {number}" for number in range(4)))
    assert all(prompt.startswith("be kind\n\nUser: ") and prompt.endswith("\nAssistant:") for prompt in prompts)
    assert all(len(prompt) <= 128 - 40 for prompt in prompts)
    assert all(f"User: hello {number}\nAssistant:" in prompt for number, prompt in enumerate(prompts))
    assert f"Assistant: {talk.said[1].content}\nUser: hello 1" in prompts[1]
    assert "hello 0" not in prompts[3] and any(note.startswith("(the oldest messages are") for note in notes)
    assert len(talk.said) == 8  # which /save writes


def test_a_temperature_is_taken_from_then_on(talk, notes, capsys):
    hear(talk, "hello", "/reset", "/temp 30", "hello")
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert first == "hello, how are you?" != second and "(temperature 30)" in notes


def test_answers_of_one_seed_are_the_same_in_the_next_session(given, writer):
    def said(seed):
        talk = chat.Talk(writer, Dialogue(given.tokenizer, {}), ASKED._replace(seed=seed, temperature=3.0), print)
        hear(talk, "hello", "/reset", "hello")
        return [message.content for message in talk.said]

    assert said(1) == said(1) != said(2)


def test_what_was_said_is_saved_once(talk, tmp_path, capsys):
    hear(talk, "/system be kind", "hello", f"/save {tmp_path}/said.json")
    said = json.loads((tmp_path / "said.json").read_text())["messages"]
    assert [message["role"] for message in said] == ["system", "user", "assistant"]
    assert (said[0]["content"], said[1]["content"]) == ("be kind", "hello")
    with pytest.raises(chat.BadInput, match="File exists"):
        hear(talk, f"/save {tmp_path}/said.json")


def test_help_lists_every_command(talk, notes):
    hear(talk, "/help")
    assert [note.split()[0] for note in notes] == ["/reset", "/system", "/temp", "/save", "/help"]


def test_ctrl_c_ends_the_answer_and_not_the_dialogue(talk, capsys):
    def shown(piece):
        if piece == "l":
            os.kill(os.getpid(), signal.SIGINT)
        return piece

    before = signal.getsignal(signal.SIGINT)
    talk.hear("hello", shown)
    assert talk.said[1].content.startswith("hel") and len(talk.said[1].content) < 8
    assert signal.getsignal(signal.SIGINT) is before
    hear(talk, "/reset", "hello")
    assert talk.said[1].content == "hello, how are you?"


def test_control_characters_do_not_reach_a_terminal():
    assert chat.visible("a\x1b[2J\x07b\r\n\té\u202e") == "a\ufffd[2J\ufffdb\ufffd\n\té\ufffd"


@pytest.mark.parametrize(
    ("flag", "says"),
    [
        ("--max_tokens=0", "--max_tokens=0: must be at least 1"),
        ("--temperature=-1", "--temperature=-1.0: must be at least 0"),
        ("--seed=-1", "--seed=-1: must be at least 0"),
        ("--precision=int4", "--precision=int4: must be one of"),
        ("--top_k=0", "/nowhere: not a run directory"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(flag, says, capsys):
    assert cli.main(["chat", "--from=/nowhere", flag]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_on_a_terminal_lines_are_edited_and_ctrl_d_ends(talker):
    """A whole process on a pseudo-terminal: Ctrl-C gives up a line, a backspace takes a letter back."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "gptjax.cli", "chat", f"--from={talker}", "--temperature=0"]
    env = os.environ | {"GLIBC_TUNABLES": "", "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
    with subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True
    ) as process:
        os.close(theirs)
        try:
            screen = read_until(ours, ">", after="the dialogue")
            os.write(ours, b"Z")
            screen += read_until(ours, "Z")
            os.write(ours, b"\x03")
            screen += read_until(ours, ">")
            os.write(ours, b"hellp\x7fo\r")
            screen += read_until(ours, ">", after="how are you?")
            os.write(ours, b"\x04")
            assert process.wait(20) == 0
        finally:
            process.kill()
            os.close(ours)
    assert "/help lists commands" in screen


def read_until(terminal, text, after=""):
    """What the terminal shows, up to some text; where it never comes, the test fails with all of it."""
    seen, deadline = "", time.monotonic() + 30
    while text not in seen.partition(after)[2] if after else text not in seen:
        ready, _, _ = select.select([terminal], [], [], max(0, deadline - time.monotonic()))
        assert ready, seen
        seen += os.read(terminal, 4096).decode(errors="replace")
    return seen
