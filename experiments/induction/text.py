"""Text in which only what came before helps: python -m experiments.induction.text runs/induction/text.jsonl

Each document is made of pieces of one random run of characters, which has no character twice. Where in the run a piece
begins, and how long it is, are random too: neither a character itself nor its position says what follows, only what
followed it before. With the `end_of_text` that opens it a document fills a context of LENGTH + 1 exactly.
"""

import json
import pathlib
import string
import sys

import numpy as np

LENGTH = 64
RUN = 24  # characters
PIECES = 4, 12  # characters of the shortest and of the longest
CHARACTERS = np.array(list(string.ascii_letters + string.digits))
N_DOCUMENTS = 50_000


def run(rng: np.random.Generator) -> str:
    return "".join(rng.permutation(CHARACTERS)[:RUN])


def document(rng: np.random.Generator) -> str:
    """Pieces of one run, which goes round."""
    characters, found = run(rng), ""
    while len(found) < LENGTH:
        start, length = rng.integers(RUN), rng.integers(PIECES[0], PIECES[1] + 1)
        found += (2 * characters)[start : start + length]
    return found[:LENGTH]


def main(file: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as out:
        for _ in range(N_DOCUMENTS):
            out.write(json.dumps({"text": document(rng)}) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
