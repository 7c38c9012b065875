"""A talk with a model: the prompt of a dialogue, what ends an answer, and what is left out when it grows too long.

How messages are written stands in `data/templates.py`, by which examples are written too.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gptjax.config import BadInput
from gptjax.data.templates import SPEAKERS, Form, Message
from gptjax.data.tokenizers import Tokenizer

PLAIN_STOPS = tuple(f"\n{speaker}:" for speaker in SPEAKERS.values())


class Dialogue(Form):
    """How one run writes dialogues. `stops` end an answer, beside the end of text: in the plain form an answer ends
    where the model would speak for either."""

    def __init__(self, tokenizer: Tokenizer, chat: dict[str, str]):
        super().__init__(tokenizer, chat)
        self.stops = () if chat else PLAIN_STOPS

    def opening(self) -> "Opening":
        """A new one for each answer: it remembers whether anything but blanks has come."""
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
