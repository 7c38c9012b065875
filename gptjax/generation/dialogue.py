"""The messages of a dialogue as a prompt: by the run's own chat template, else in a plain form.

The plain form is the system text, a blank line, then `User: ...` and `Assistant: ...` line by line; an answer ends
where the model would speak for either. A template is Hugging Face's: Jinja, rendered in a sandbox that changes nothing.
Only what the template itself spells becomes a special token; the same characters in a message stay text.
"""

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from gptjax.config import BadInput
from gptjax.data.tokenizers import Tokenizer

ROLES = ("system", "user", "assistant")
SPEAKERS = {"user": "User", "assistant": "Assistant"}
PLAIN_STOPS = tuple(f"\n{speaker}:" for speaker in SPEAKERS.values())
TEMPLATE = "chat_template"
MARKS = range(0xFDD0, 0xFDF0)  # code points that are no characters, one of which cuts what spells a special token


class Message(NamedTuple):
    role: str  # one of ROLES
    content: str


class Dialogue:
    """How one run writes dialogues. `stops` end an answer, beside the end of text."""

    def __init__(self, tokenizer: Tokenizer, chat: dict[str, str]):
        """`chat` is the run's `chat_template`, with what it calls `bos_token` and the like; {} for the plain form.

        Raises BadInput for a template that cannot be."""
        self.tokenizer = tokenizer
        end = next((text for text, token in tokenizer.special.items() if token == tokenizer.end_of_text), "")
        self.names = {"bos_token": end, "eos_token": end, **chat}
        self.template = compiled(chat[TEMPLATE]) if chat else None
        self.stops = () if chat else PLAIN_STOPS

    def prompt(self, messages: Sequence[Message]) -> list[int]:
        """The tokens that the model answers. Raises BadInput where the template refuses the messages."""
        if self.template is None:
            return self.tokenizer.encode(plain(messages)).tolist()
        spellings = sorted(self.tokenizer.special, key=len, reverse=True)
        said = "".join(message.content for message in messages)
        mark = next((chr(code) for code in MARKS if chr(code) not in said), None)
        if mark is None:
            raise BadInput("messages: hold every one of the code points U+FDD0 to U+FDEF, which are no characters")
        given = [{"role": role, "content": hidden(content, spellings, mark)} for role, content in messages]
        try:
            text = self.template.render(messages=given, add_generation_prompt=True, **self.names)
        except Exception as error:  # of Jinja, and of whatever the template does with what it is given
            raise BadInput(
                f"messages: the run's chat template refuses them ({' '.join(str(error).split())})"
            ) from error
        return self.encode(text, spellings, mark)

    def encode(self, text: str, spellings: list[str], mark: str) -> list[int]:
        parts = re.split(f"({alternatives(spellings)})", text) if spellings else [text]
        tokens: list[int] = []
        for number, part in enumerate(parts):
            if number % 2:
                tokens.append(self.tokenizer.special[part])
            elif part:
                tokens += self.tokenizer.encode(shown(part, spellings, mark)).tolist()
        return tokens

    def opening(self) -> "Opening":
        return Opening(bare=self.template is None)


class Opening:
    """An answer as it comes in pieces; in the plain form without the blanks that it begins with."""

    def __init__(self, bare: bool):
        self.blank = bare

    def __call__(self, piece: str) -> str:
        if self.blank:
            piece = piece.lstrip()
            self.blank = not piece
        return piece


def hidden(text: str, spellings: list[str], mark: str) -> str:
    """The text with a number between marks for each spelling of a special token."""
    if not spellings:
        return text
    return re.sub(alternatives(spellings), lambda found: f"{mark}{spellings.index(found[0])}{mark}", text)


def shown(text: str, spellings: list[str], mark: str) -> str:
    return re.sub(f"{mark}([0-9]+){mark}", lambda found: spellings[int(found[1])], text)


def alternatives(spellings: Sequence[str]) -> str:
    """A pattern for any of the words, the longest first."""
    return "|".join(map(re.escape, spellings))


def plain(messages: Sequence[Message]) -> str:
    said = [f"{content}\n\n" if role == "system" else f"{SPEAKERS[role]}: {content}\n" for role, content in messages]
    return "".join(said) + "Assistant:"


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


class Fitted(NamedTuple):
    tokens: list[int]
    messages: list[Message]  # those that the tokens tell
    n_forgotten: int


def fitted(dialogue: Dialogue, messages: Sequence[Message], most: int) -> Fitted:
    """The prompt in at most so many tokens: the oldest turns are left out, the system text and the last message never.

    Raises BadInput where those two are too long.
    """
    n_system = sum(message.role == "system" for message in messages)
    system, said = list(messages[:n_system]), list(messages[n_system:])
    tokens: list[int] = []
    for first in range(len(said)):
        if first and said[first].role != "user":
            continue  # a turn begins with what the user says
        tokens = dialogue.prompt([*system, *said[first:]])
        if len(tokens) <= most:
            return Fitted(tokens, [*system, *said[first:]], first)
    raise BadInput(
        f"the message{' and the system text are' if system else ' is'} {len(tokens)} tokens with their form; "
        f"at most {most} leave room for an answer"
    )
