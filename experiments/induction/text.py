"""Text in which only what came before helps: python -m experiments.induction.text runs/induction/text.jsonl

Most documents are made of pieces of one random run of characters, which has no character twice. Where in the run a
piece begins, and how long it is, are random too: neither a character itself nor its position says what follows, only
what followed it before. The others are chains, in which the character before the last one tells what follows, the same
in every document: natural text has such rules too, and they want a head that looks one back. With the `end_of_text`
that opens it a document fills a context of LENGTH + 1 exactly.
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
NEXT = np.random.default_rng(2).permutation(len(CHARACTERS))  # of chains
N_DOCUMENTS, CHAINS = 50_000, 0.25  # the share that are chains


def run(rng: np.random.Generator) -> str:
    return "".join(rng.permutation(CHARACTERS)[:RUN])


def document(rng: np.random.Generator) -> str:
    """Pieces of one run, which goes round."""
    characters, found = run(rng), ""
    while len(found) < LENGTH:
        start, length = rng.integers(RUN), rng.integers(PIECES[0], PIECES[1] + 1)
        found += (2 * characters)[start : start + length]
    return found[:LENGTH]


def chain(rng: np.random.Generator) -> str:
    """Two random characters, and then each is told by the one before the last."""
    found = list(rng.integers(len(CHARACTERS), size=2))
    while len(found) < LENGTH:
        found.append(NEXT[found[-2]])
    return "".join(CHARACTERS[found])


def main(file: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as out:
        for _ in range(N_DOCUMENTS):
            text = chain(rng) if rng.random() < CHAINS else document(rng)
            out.write(json.dumps({"text": text}) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
