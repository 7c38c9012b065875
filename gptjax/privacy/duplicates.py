"""Documents that are nearly another: MinHash of their runs of five words (Broder 1997; Lee et al. 2022)."""

import re
from typing import Any, NamedTuple

from gptjax.config import BadInput

N_WORDS = 5  # of a run
N_HASHES = 128  # an estimate of similarity is off by 0.04 or so
MARGIN = 0.15  # the index misses many that are only as similar as it is told, so it is told less
AT_ONCE = 4096  # runs hashed at a time: bounds memory at 2 MiB


class Duplicate(NamedTuple):
    document: str
    of: str  # the document that stands before it
    similarity: float  # the estimated share of their runs that both have


class Seen:
    """The documents so far. One that is at least as similar as the threshold to one of those kept is no new one."""

    def __init__(self, threshold: float):
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError as error:
            raise BadInput("looking for duplicates needs datasketch; pip install 'gptjax[audit]'") from error
        self.threshold, self.empty = threshold, MinHash(N_HASHES)
        self.near: Any = MinHashLSH(max(0.1, threshold - MARGIN), N_HASHES)
        self.kept: dict[str, Any] = {}

    def duplicate(self, name: str, text: str) -> Duplicate | None:
        """What a document repeats; None for a new one, which is kept to be held against the next."""
        hashes = self.hashes(text)
        found = [Duplicate(name, other, hashes.jaccard(self.kept[other])) for other in self.near.query(hashes)]
        best = max(found, key=lambda one: one.similarity, default=None)
        if best is not None and best.similarity >= self.threshold:
            return best
        self.kept[name] = hashes
        self.near.insert(name, hashes)
        return None

    def hashes(self, text: str) -> Any:
        made, runs = self.empty.copy(), [run.encode() for run in runs_of(text)]
        for first in range(0, len(runs), AT_ONCE):
            made.update_batch(runs[first : first + AT_ONCE])
        return made


def runs_of(text: str) -> list[str]:
    """Every run of five words once, in lower case; a text of fewer words is one run."""
    words = re.findall(r"\w+", text.lower())
    runs = (" ".join(words[at : at + N_WORDS]) for at in range(max(1, len(words) - N_WORDS + 1)))
    return list(dict.fromkeys(runs))
