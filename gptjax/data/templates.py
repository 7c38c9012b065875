"""Messages as tokens: by a chat template, else in a plain form.

The plain form is the system text, a blank line, then `User: ...` and `Assistant: ...` line by line. A template is
Hugging Face's: Jinja, rendered in a sandbox that changes nothing. Only what the template itself spells becomes a
special token; the same characters in a message stay text.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from gptjax.config import BadInput
from gptjax.data.tokenizers import Tokenizer

ROLES = ("system", "user", "assistant")
SPEAKERS = {"user": "User", "assistant": "Assistant"}
TEMPLATE = "chat_template"
MARKS = range(0xFDD0, 0xFDF0)  # code points that are no characters, one of which cuts what spells a special token


class Message(NamedTuple):
    """One turn of a dialogue, as OpenAI and Hugging Face have it."""

    role: str  # one of ROLES
    content: str


class Part(NamedTuple):
    """A stretch of an example: what is given, or what an answer says."""

    tokens: list[int]
    answer: bool


class Form:
    """How one tokenizer and one template write messages."""

    def __init__(self, tokenizer: Tokenizer, chat: dict[str, str]):
        """`chat` is the `chat_template`, with what it calls `bos_token` and the like; {} for the plain form.

        Raises BadInput for a template that cannot be."""
        self.tokenizer = tokenizer
        end = next((text for text, token in tokenizer.special.items() if token == tokenizer.end_of_text), "")
        self.names = {"bos_token": end, "eos_token": end, **chat}
        self.template = compiled(chat[TEMPLATE]) if chat else None
        self.spellings = sorted(tokenizer.special, key=len, reverse=True)

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens that the model answers. Raises BadInput where the template refuses the messages."""
        mark = self.mark(messages)
        return self.encode(self.render(messages, mark, ask=True), mark)

    def example(self, messages: Sequence[Message]) -> list[Part]:
        """The dialogue with its answers apart: what comes before the first of them is `prompt` of what comes before it,
        and an answer ends where the template ends it. Raises BadInput where the template cannot be taken apart so."""
        mark = self.mark(messages)
        whole, parts, at = self.render(messages, mark, ask=False), [], 0
        for number, message in enumerate(messages):
            if message.role != "assistant":
                continue
            asked = self.render(messages[:number], mark, ask=True)
            answered = self.render(messages[: number + 1], mark, ask=False)
            if not (whole.startswith(answered) and answered.startswith(asked) and len(asked) >= at):
                raise BadInput(
                    "the chat template writes what comes before an answer otherwise once it is there, "
                    "so the answer's tokens cannot be told apart"
                )
            parts += [Part(self.encode(whole[at : len(asked)], mark), False)]
            parts += [Part(self.encode(whole[len(asked) : len(answered)], mark), True)]
            at = len(answered)
        return [part for part in [*parts, Part(self.encode(whole[at:], mark), False)] if part.tokens]

    def mark(self, messages: Sequence[Message]) -> str:
        """A character that no message holds, to hide spellings with. Raises BadInput where all of MARKS are taken."""
        said = "".join(message.content for message in messages)
        mark = next((chr(code) for code in MARKS if chr(code) not in said), None)
        if mark is None:
            raise BadInput("messages: hold every one of the code points U+FDD0 to U+FDEF, which are no characters")
        return mark

    def render(self, messages: Sequence[Message], mark: str, ask: bool) -> str:
        """The text; `ask` ends it where the assistant speaks. Spellings of special tokens in messages are hidden."""
        if self.template is None:
            return plain(messages, ask)
        given = [{"role": role, "content": hidden(content, self.spellings, mark)} for role, content in messages]
        try:
            return self.template.render(messages=given, add_generation_prompt=ask, **self.names)
        except Exception as error:  # of Jinja, and of whatever the template does with what it is given
            raise BadInput(
                f"messages: the run's chat template refuses them ({' '.join(str(error).split())})"
            ) from error

    def encode(self, text: str, mark: str) -> list[int]:
        """The tokens of a rendered text: the template's own spellings become special tokens, hidden ones stay text."""
        if self.template is None:
            return self.tokenizer.encode(text).tolist()
        spellings = self.spellings
        parts = re.split(f"({alternatives(spellings)})", text) if spellings else [text]
        tokens: list[int] = []
        for number, part in enumerate(parts):
            if number % 2:
                tokens.append(self.tokenizer.special[part])
            elif part:
                tokens += self.tokenizer.encode(shown(part, spellings, mark)).tolist()
        return tokens


def hidden(text: str, spellings: list[str], mark: str) -> str:
    """The text with a number between marks for each spelling of a special token."""
    if not spellings:
        return text
    return re.sub(alternatives(spellings), lambda found: f"{mark}{spellings.index(found[0])}{mark}", text)


def shown(text: str, spellings: list[str], mark: str) -> str:
    """Undoes `hidden`."""
    return re.sub(f"{mark}([0-9]+){mark}", lambda found: spellings[int(found[1])], text)


def alternatives(spellings: Sequence[str]) -> str:
    """A pattern for any of the words, the longest first."""
    return "|".join(map(re.escape, spellings))


def plain(messages: Sequence[Message], ask: bool) -> str:
    """The plain form; `ask` ends it with `Assistant:`, for a model to go on."""
    said = [f"{content}\n\n" if role == "system" else f"{SPEAKERS[role]}: {content}\n" for role, content in messages]
    return "".join(said) + "Assistant:" * ask


def compiled(template: str) -> Any:
    """Raises BadInput where Jinja is missing, and where the template is not Jinja."""
    try:
        import jinja2
        from jinja2 import sandbox
    except ImportError as error:
        raise BadInput("the run has a chat template, which needs pip install 'gptjax[serve]'") from error
    jinja = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    jinja.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
    jinja.globals["raise_exception"] = raise_exception
    try:
        return jinja.from_string(template)
    except jinja2.TemplateError as error:
        raise BadInput(f"{TEMPLATE}: is no Jinja template ({' '.join(str(error).split())})") from error


def raise_exception(message: str) -> NoReturn:
    """What a template calls for messages that it cannot write."""
    raise ValueError(message)
