"""Text in which only what came before helps: python -m experiments.induction.text runs/induction/text.jsonl

Each document is a random run of characters, repeated until there are LENGTH of them. The run has no character twice
and a random length, so that neither a character's neighbours nor its position says what follows: only where the
character stood before does. With the `end_of_text` that opens it a document fills a context of LENGTH + 1 exactly.
"""

import json
import pathlib
import string
import sys

import numpy as np

LENGTH = 64
PERIODS = 8, 32  # shortest and longest run
CHARACTERS = np.array(list(string.ascii_letters + string.digits + string.punctuation))  # 94
N_DOCUMENTS = 100_000


def document(rng: np.random.Generator, period: int) -> str:
    """One run, repeated."""
    return "".join(np.resize(rng.permutation(CHARACTERS)[:period], LENGTH))


def main(file: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w") as out:
        for period in rng.integers(PERIODS[0], PERIODS[1] + 1, N_DOCUMENTS):
            out.write(json.dumps({"text": document(rng, period)}) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
