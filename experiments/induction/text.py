"""Text in which only what came before helps: python -m experiments.induction.text runs/induction/text.jsonl

Each document is one random run of characters after another, each said twice. A run has no character twice and a random
length, so neither a character itself nor its position says what follows, only what followed it a moment ago. With the
`end_of_text` that opens it a document fills a context of LENGTH + 1 exactly.
"""

import json
import pathlib
import string
import sys

import numpy as np

LENGTH = 64
RUNS = 4, 16  # characters of the shortest run and of the longest
CHARACTERS = np.array(list(string.ascii_letters + string.digits))
N_DOCUMENTS = 50_000


def twice(rng: np.random.Generator, length: int) -> str:
    """One run and the same again."""
    return "".join(np.tile(rng.permutation(CHARACTERS)[:length], 2))


def document(rng: np.random.Generator) -> str:
    found = ""
    while len(found) < LENGTH:
        found += twice(rng, int(rng.integers(RUNS[0], RUNS[1] + 1)))
    return found[:LENGTH]


def main(file: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as out:
        for _ in range(N_DOCUMENTS):
            out.write(json.dumps({"text": document(rng)}) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
