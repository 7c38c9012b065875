"""Whether held-out text stands in training text, by runs of words."""

import collections
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

RUN = 13  # words, as in GPT-3's check (Brown et al. 2020, appendix C)
WORD = re.compile(r"\w+")
Item = TypeVar("Item")


def unseen(items: Sequence[Item], texts: Sequence[str], train: Iterable[str]) -> list[Item]:
    """The items whose text shares no run of 13 words with a training text; a shorter text is one run, and must not be
    the whole of a training text. Words are lower case, punctuation and line ends count for nothing."""
    of_run: dict[tuple[str, ...], list[int]] = collections.defaultdict(list)
    for number, text in enumerate(texts):
        for run in runs(text):
            of_run[run].append(number)
    seen = {number for text in train for run in runs(text) if run in of_run for number in of_run[run]}
    return [item for number, item in enumerate(items) if number not in seen]


def runs(text: str) -> Iterator[tuple[str, ...]]:
    words = WORD.findall(text.lower())
    return zip(*(words[at:] for at in range(RUN)), strict=False) if len(words) > RUN else iter([tuple(words)])
