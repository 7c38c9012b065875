"""Small talk of the package `chatterbot-corpus` (English), as dialogs: pip install 'gptjax[tasks]'.

By the hash of its words one opening in ten is held out to choose by ("valid") and one to judge by ("test"), with every
conversation that begins so. Of those, the ones that share 13 words in a row with a training conversation are not asked.
"""

import functools
import importlib.util
import pathlib
from collections.abc import Iterator

from experiments import halves, leaks
from gptjax.config import BadInput

SPLITS = (halves.VALID, halves.TEST, *["train"] * 8)  # of the tenths
LONGEST = 400  # characters of an answer that is asked for: with its opening they fit a context of 256 tokens


def examples(split: str) -> Iterator[list[dict[str, str]]]:
    """Conversations whose user begins and whose assistant has the last word."""
    for said in conversations():
        if split_of(said[0]) == split:
            roles = ("user", "assistant") * (len(said) // 2)
            yield [{"role": role, "content": text} for role, text in zip(roles, said, strict=False)]


@functools.cache
def asked(split: str) -> list[tuple[str, tuple[str, ...]]]:
    """(opening, every answer that the corpus has for it) of a half's conversations."""
    answers: dict[str, list[str]] = {}
    for said in conversations():
        if split_of(said[0]) == split and len(said[1]) <= LONGEST:
            answers.setdefault(said[0], []).append(said[1])
    found = [(opening, tuple(dict.fromkeys(given))) for opening, given in answers.items()]
    texts = [f"{opening}\n{given[0]}" for opening, given in found]
    return leaks.unseen(found, texts, ("\n".join(said) for said in conversations() if split_of(said[0]) == "train"))


def split_of(opening: str) -> str:
    words = " ".join(leaks.WORD.findall(opening.lower()))
    return SPLITS[halves.hash_of(words) % len(SPLITS)]


@functools.cache
def conversations() -> list[tuple[str, ...]]:
    """Each once, as what is said in turn, two turns or more."""
    package = importlib.util.find_spec("chatterbot_corpus")
    if package is None or package.origin is None:
        raise BadInput("experiments/dialogue: needs the package chatterbot-corpus; pip install 'gptjax[tasks]'")
    import yaml

    found: dict[tuple[str, ...], None] = {}
    for file in sorted(pathlib.Path(package.origin).parent.glob("data/english/*.yml")):
        for said in yaml.safe_load(file.read_text(encoding="utf-8"))["conversations"]:
            turns = tuple(" ".join(str(turn).split()) for turn in said)
            if len(turns) >= 2 and all(turns):
                found[turns] = None
    return list(found)
