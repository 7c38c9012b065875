"""`gptjax chat`: a dialogue with a model, on a terminal or through a pipe."""

import contextlib
import difflib
import json
import pathlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from rich.console import Console

from gptjax.config import BadInput
from gptjax.data.templates import Message
from gptjax.generation import decode, dialogue, sampling, weights
from gptjax.generation.completion import Growing
from gptjax.generation.decode import Prompt, Writer
from gptjax.generation.dialogue import Dialogue
from gptjax.generation.sampling import Sampling
from gptjax.training import source

HELP = {
    "/reset": "forget what was said, but for the system text",
    "/system TEXT": "say how to answer, from now on; without TEXT, show it",
    "/temp T": "what logits are divided by; 0 takes the likeliest token",
    "/save FILE": "write all that was said as JSON",
    "/help": "show this",
}
LARGEST_INT = 2**31 - 1
INTERRUPTED = 130  # what shells call a program that Ctrl-C ended


class Asked(NamedTuple):
    """The flags of the command, by their names."""

    folder: str
    system: str
    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    precision: str

    def options(self) -> Sampling:
        return Sampling(temperature=self.temperature, top_k=self.top_k, top_p=self.top_p)


def run(asked: Asked) -> int:
    """Answers line by line until the input ends; returns the exit code. Raises BadInput."""
    check(asked)
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    notes = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    lines = terminal_lines() if on_terminal else piped_lines()
    given = source.open_run(asked.folder)
    writer = decode.writer(given.params, given.cfg.model, asked.precision)
    talk = Talk(writer, Dialogue(given.tokenizer, given.chat), asked, lambda text: notes.print(text, style="dim"))
    if on_terminal:
        talk.note(f"{given.run}: /help lists commands, Ctrl-C ends an answer, Ctrl-D the dialogue")
    try:
        for line in lines:
            try:
                talk.hear(line, visible if on_terminal else str)
            except BadInput as error:
                talk.note(f"gptjax: {error}")
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


class Talk:
    """What was said, and how the next answer is made."""

    def __init__(self, writer: Writer, form: Dialogue, asked: Asked, note: Callable[[str], None]):
        self.writer, self.form, self.asked, self.note = writer, form, asked, note
        self.system, self.options = asked.system, asked.options()
        self.said: list[Message] = []
        self.forgotten = 0  # the first of `said` that the model no longer sees
        self.n_answers = 0  # which number the answers' seeds

    def hear(self, line: str, shown: Callable[[str], str]) -> None:
        """One line of the user's: a command, or what the model answers. Raises BadInput."""
        if line.startswith("/"):
            self.obey(line)
        elif line.strip():
            self.answer(line, shown)

    def answer(self, line: str, shown: Callable[[str], str]) -> None:
        context = self.writer.cfg.context
        reserved = min(self.asked.max_tokens, context // 2)
        seen = [*self.instructions(), *self.said[self.forgotten :], Message("user", line)]
        fitted = dialogue.fitted(self.form, seen, context - reserved)
        if fitted.n_forgotten:
            self.forgotten += fitted.n_forgotten
            self.note(
                f"(the oldest messages are forgotten, {self.forgotten} by now: the context holds {context} tokens)"
            )
        n_tokens = min(self.asked.max_tokens, context - len(fitted.tokens))
        text = self.written(fitted.tokens, n_tokens, lambda piece: print(shown(piece), end="", flush=True))
        print(flush=True)
        self.said += [Message("user", line), Message("assistant", text)]
        self.n_answers += 1

    def written(self, tokens: list[int], n_tokens: int, show: Callable[[str], None]) -> str:
        """The answer to a prompt, shown as it grows; Ctrl-C ends it where it is."""
        tokenizer, opening, shown = self.form.tokenizer, self.form.opening(), []
        growing = Growing(tokenizer, self.form.stops)

        def grew(piece: str) -> None:
            shown.append(opening(piece))
            show(shown[-1])

        with interrupts() as interrupted:

            def on_tokens(number: int, so_far: list[int]) -> bool:
                grew(growing.grow(so_far))
                return growing.stopped or bool(interrupted)

            (made,) = self.writer.write(
                [Prompt(tokens, self.asked.seed, self.n_answers)],
                n_tokens=n_tokens,
                options=self.options,
                end=tokenizer.end_of_text,
                every=1,
                on_tokens=on_tokens,
            )
        grew(growing.grow(made.tokens.tolist(), finished=True))
        return "".join(shown)

    def instructions(self) -> list[Message]:
        return [Message("system", self.system)] if self.system else []

    def obey(self, line: str) -> None:
        command, _, word = line.partition(" ")
        word = word.strip()
        if command == "/help":
            for usage, meaning in HELP.items():
                self.note(f"{usage:14} {meaning}")
        elif command == "/reset":
            self.said, self.forgotten = [], 0
            self.note("(forgotten)")
        elif command == "/system":
            self.system = word or self.system
            self.note(f"(system: {self.system or 'none'})")
        elif command == "/temp":
            self.options = self.options._replace(temperature=number(word))
            self.note(f"(temperature {self.options.temperature:g})")
        elif command == "/save":
            self.save(word)
        else:
            known = [usage.partition(" ")[0] for usage in HELP]
            near = difflib.get_close_matches(command, known, n=1)
            raise BadInput(f"no command {command}; " + (f"did you mean {near[0]}?" if near else "/help lists them"))

    def save(self, file: str) -> None:
        if not file:
            raise BadInput("/save needs the name of a file")
        messages = [message._asdict() for message in [*self.instructions(), *self.said]]
        try:
            with open(pathlib.Path(file).expanduser(), "x", encoding="utf-8") as saved:
                saved.write(json.dumps({"messages": messages}, ensure_ascii=False, indent=1) + "\n")
        except OSError as error:
            raise BadInput(f"/save {file}: {error.strerror}") from error
        self.note(f"(saved: {file}, {len(messages)} messages)")


def number(word: str) -> float:
    try:
        found = float(word)
    except ValueError:
        raise BadInput(f"/temp {word}: needs a number") from None
    sampling.check(Sampling(temperature=found))
    return found


@contextlib.contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that holds each Ctrl-C inside; a step that is under way is never torn."""
    heard: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:
        yield heard
    finally:
        signal.signal(signal.SIGINT, before)


def piped_lines() -> Iterator[str]:
    for number, line in enumerate(sys.stdin):
        if any("\ud800" <= character <= "\udfff" for character in line):
            raise BadInput(f"line {number + 1} of the input is not UTF-8")
        yield line.rstrip("\r\n")


def terminal_lines() -> Iterator[str]:
    """Lines that can be edited, with those before them a key away. Raises BadInput where the package is missing."""
    try:
        import prompt_toolkit
    except ImportError as error:
        raise BadInput(
            "chat on a terminal needs pip install 'gptjax[serve]'; through a pipe it needs nothing"
        ) from error
    session = prompt_toolkit.PromptSession()

    def lines() -> Iterator[str]:
        while True:
            try:
                yield session.prompt("> ")
            except KeyboardInterrupt:
                continue  # the line is given up, not the dialogue
            except EOFError:
                return

    return lines()


def visible(text: str) -> str:
    """Without what moves a terminal's cursor or changes its colours: a model may write any character."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def check(asked: Asked) -> None:
    """Raises BadInput for flags that cannot be, before anything is opened."""
    for flag, (least, most) in {
        "max_tokens": (1, LARGEST_INT),
        "top_k": (0, LARGEST_INT),
        "seed": (0, 2**32 - 1),
    }.items():
        value = getattr(asked, flag)
        if not least <= value <= most:
            raise BadInput(f"--{flag}={value}: must be at {f'least {least}' if value < least else f'most {most}'}")
    if asked.precision not in weights.PRECISIONS:
        raise BadInput(f"--precision={asked.precision}: must be one of {', '.join(weights.PRECISIONS)}")
    sampling.check(asked.options())
