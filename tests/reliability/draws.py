"""Proofs by many random draws: a few in `make test`, all of them in `make prove`, which goes on where it was ended.

A draw is a function of its number alone, `one(rng, i) -> outcome` in a word or two. What `make prove` draws is kept in
.proofs/<kind>.jsonl under the tree of gptjax/ and tests/reliability/ in git; a tree with changes that are not committed
is drawn anew. `python -m tests.reliability.draws` prints the table of what has been drawn from the tree at hand.
"""

import collections
import json
import pathlib
import subprocess
import zlib
from collections.abc import Callable

import numpy as np

ROOT = pathlib.Path(__file__).parents[2]
KEPT = ROOT / ".proofs"


def tree() -> str | None:
    """Names what is proved; None where it is not committed, or this is not a clone."""
    sources = ("gptjax", "tests/reliability")
    git = lambda *words: subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    if git("status", "--porcelain", *sources).stdout.strip():
        return None
    named = git("rev-parse", *(f"HEAD:{folder}" for folder in sources))
    return "-".join(line[:12] for line in named.stdout.split()) if named.returncode == 0 else None


def draw(kind: str, n: int, one: Callable[[np.random.Generator, int], str], *, keep: bool) -> collections.Counter:
    """Outcomes of draws 0..n-1, with how often each came up; `keep` stores each, and skips those that are stored."""
    file, here = KEPT / f"{kind}.jsonl", tree() if keep else None
    done = stored(file, here)
    for i in range(n):
        if i not in done:
            done[i] = one(np.random.default_rng([zlib.crc32(kind.encode()), i]), i)
            if here is not None:
                KEPT.mkdir(exist_ok=True)
                with file.open("a") as lines:
                    lines.write(json.dumps({"tree": here, "draw": i, "outcome": done[i]}) + "\n")
    return collections.Counter(done[i] for i in range(n))


def stored(file: pathlib.Path, here: str | None) -> dict[int, str]:
    if here is None or not file.exists():
        return {}
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
    return {line["draw"]: line["outcome"] for line in lines if line["tree"] == here}


def table() -> str:
    """One row a kind: how many draws, and how often each outcome came up."""
    here, rows = tree(), ["| proof | draws | outcomes |", "|---|---|---|"]
    for file in sorted(KEPT.glob("*.jsonl")):
        done = stored(file, here)
        counts = collections.Counter(done.values()).most_common()
        rows.append(f"| {file.stem} | {len(done)} | {', '.join(f'{n} {outcome}' for outcome, n in counts)} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
