"""The training example that is most like a question, by the words that they share. A baseline that only looks up."""

import collections
import math
import re
from collections.abc import Sequence

PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")  # words, and those that a name is made of


class Nearest:
    """Texts by their words, of which each weighs more the fewer texts have it (Salton and Buckley 1988, TF-IDF)."""

    def __init__(self, texts: Sequence[str]):
        counted = [counts_of(text) for text in texts]
        n_texts = collections.Counter(part for counts in counted for part in counts)
        self.idf = {part: math.log((1 + len(texts)) / n) for part, n in n_texts.items()}
        self.holding: dict[str, list[tuple[int, float]]] = collections.defaultdict(list)
        for number, counts in enumerate(counted):
            for part, weight in self.weights(counts).items():
                self.holding[part].append((number, weight))
        self.n = len(texts)

    def weights(self, counts: collections.Counter[str]) -> dict[str, float]:
        """Of known words, with squares that sum to 1."""
        found = {part: (1 + math.log(n)) * self.idf[part] for part, n in counts.items() if part in self.idf}
        norm = math.sqrt(sum(weight**2 for weight in found.values()))
        return {part: weight / norm for part, weight in found.items()}

    def cosines(self, text: str) -> list[float]:
        found = [0.0] * self.n
        for part, weight in self.weights(counts_of(text)).items():
            for number, other in self.holding[part]:
                found[number] += weight * other
        return found

    def of(self, text: str, n: int = 1) -> list[int]:
        """The numbers of the `n` texts that are most like this one; of equals the first."""
        found = self.cosines(text)
        return sorted(range(self.n), key=lambda number: -found[number])[:n]


def counts_of(text: str) -> collections.Counter[str]:
    return collections.Counter(part.lower() for part in PART.findall(text))
