"""What a scan finds in a text: where, of what kind, and never the value itself."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple


class Finding(NamedTuple):
    """A stretch of one document: `start` to `stop`, without `stop`."""

    kind: str
    start: int  # characters of the document
    stop: int


def masked(text: str, found: Finding) -> str:
    """Its first character and its length: enough to find it, too little to use it."""
    return f"{text[found.start]}... ({found.stop - found.start} characters)"


def settled(found: Iterable[Finding]) -> list[Finding]:
    """Of findings that overlap the longest, the first of those as long; in order of their places."""
    kept: list[Finding] = []
    for one in sorted(found, key=lambda one: (one.start - one.stop, one.start, one.kind)):
        if all(one.stop <= other.start or other.stop <= one.start for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.start)


def replaced(text: str, found: Iterable[Finding]) -> str:
    """The text with `<KIND>` in the place of every finding, overlapping ones together."""
    parts, at = [], 0
    for one in merged(found):
        parts += [text[at : one.start], f"<{one.kind}>"]
        at = one.stop
    return "".join([*parts, text[at:]])


def merged(found: Iterable[Finding]) -> list[Finding]:
    """Findings that overlap as one, of the kind of the longest."""
    groups: list[list[Finding]] = []
    for one in sorted(found, key=lambda one: (one.start, one.stop)):
        if groups and one.start < max(other.stop for other in groups[-1]):
            groups[-1].append(one)
        else:
            groups.append([one])
    kind = lambda group: max(group, key=lambda one: one.stop - one.start).kind
    return [Finding(kind(group), group[0].start, max(one.stop for one in group)) for group in groups]


def counts(found: Iterable[Finding]) -> dict[str, int]:
    """By kind, the most frequent first."""
    kinds = sorted(one.kind for one in found)
    numbers = {kind: len(list(group)) for kind, group in itertools.groupby(kinds)}
    return dict(sorted(numbers.items(), key=lambda entry: -entry[1]))
