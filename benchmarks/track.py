"""Whether this commit is slower than the last one in the history of docs/performance.md.

    python -m benchmarks.track [--against=COMMIT] [--rounds=9] [--only=NAME,...] [--record]

Three processes do each piece of work in turn: the earlier commit, the earlier commit once more, and this tree. The
first two show what the machine makes of equal code. A piece is slower where the 95 % interval of the median ratio, this
tree to the earlier commit, lies above 1, and that ratio exceeds all that the interval of equal code allows: the command
then ends with 1. `--record` adds the figures to the history.
"""

import argparse
import datetime
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks import analyze, step
from benchmarks.contest import Contestant, print_machine, print_table

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / "docs/performance.md"
HEAD = "| commit | date | against |"  # of the history's table
RESAMPLES = 5000
WORK = (
    "step",  # of training: 6 layers of width 384, 16 x 256 tokens
    "write",  # 16 tokens after 64, by GPT-2 124M
    "import",  # of what `gptjax train` needs
    "analyze",  # a log of 2,000 steps that has not been read before
)


class Side(NamedTuple):
    tree: pathlib.Path
    cache: pathlib.Path

    def environment(self) -> dict[str, str]:
        """In which Python finds the packages of the tree before any other."""
        own = {"PYTHONPATH": str(self.tree), "XDG_CACHE_HOME": str(self.cache), "JAX_PLATFORMS": "cpu"}
        return os.environ | own | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}  # the last as `gptjax` sets it itself


class Command:
    """A command that is started anew each time; answers as a Contestant does."""

    def __init__(self, words: Sequence[str], side: Side):
        self.words, self.side = words, side

    def run(self, n: int) -> dict[str, float]:
        seconds = 0.0
        for _ in range(n):
            shutil.rmtree(self.side.cache / "gptjax/analysis", ignore_errors=True)
            began = time.perf_counter()
            subprocess.run(self.words, check=True, env=self.side.environment(), stdout=subprocess.DEVNULL)
            seconds += time.perf_counter() - began
        return {"seconds": seconds}

    def close(self) -> None:
        pass


def started(name: str, side: Side, log: pathlib.Path) -> Contestant | Command:
    """A process of a tree, ready for the work of that name."""
    python = [sys.executable, "-P"]  # without the folder that it is started in
    if name == "import":
        return Command([*python, "-c", "import gptjax.commands.train"], side)
    if name == "analyze":
        return Command([*python, "-m", "gptjax.cli", "analyze", str(log)], side)
    if name == "step":
        words = ["benchmarks.contestants.ours", *step.overrides(**step.SHAPES["small"])]
    else:
        words = ["benchmarks.contestants.generate_ours", *"batch=1 prompt=64 tokens=16 precision=float32".split()]
    return Contestant([*python, "-m", *words], env=side.environment(), folder=side.tree)


class Verdict(NamedTuple):
    ratio: float  # the median over the rounds: this tree's seconds to those of the earlier commit
    low: float
    high: float  # its 95 % interval
    noise: float  # by how much equal code may differ from 1

    @property
    def slower(self) -> bool:
        return self.low > 1 and self.ratio > 1 + self.noise


def judged(seconds_3R: np.ndarray) -> Verdict:
    """Seconds of the earlier commit, of the same again, and of this tree, in each round."""
    before, again, now = np.log(seconds_3R)
    ratio, low, high = medians(now - (before + again) / 2)
    _, *same = medians(again - before)
    return Verdict(ratio, low, high, max(1 / same[0], same[1]) - 1)


def medians(logs_R: np.ndarray) -> tuple[float, float, float]:
    """The median ratio, and its 95 % interval by bootstrap over rounds."""
    draw = np.random.default_rng(0)
    resampled = np.median(logs_R[draw.integers(0, len(logs_R), (RESAMPLES, len(logs_R)))], axis=1)
    low, high = np.exp(np.percentile(resampled, [2.5, 97.5]))
    return float(np.exp(np.median(logs_R))), float(low), float(high)


def measured(name: str, sides: Sequence[Side], rounds: int, log: pathlib.Path) -> np.ndarray:
    """Seconds of each side in each round; a round that warms up counts for nothing."""
    contestants = [started(name, side, log) for side in sides]
    found = []
    for number in range(rounds + 1):
        seconds = np.zeros(len(sides))
        for at in np.roll(np.arange(len(sides)), number):  # nobody is always first
            seconds[at] = contestants[at].run(1)["seconds"]
        found.append(seconds)
        if sys.stderr.isatty():
            print(f"\r{name}: round {number} of {rounds}", end="\r", file=sys.stderr, flush=True)
    for contestant in contestants:
        contestant.close()
    return np.array(found[1:]).T


def git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"git {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout.strip()


def checked_out(commit: str, folder: pathlib.Path) -> pathlib.Path:
    """The tree of a commit, written to a folder."""
    folder.mkdir()
    with subprocess.Popen(["git", "-C", str(ROOT), "archive", commit], stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", str(folder)], stdin=archive.stdout, check=True)
    return folder


def last_recorded(text: str) -> str | None:
    """The commit of the last row of the history; None where there is none."""
    rows = re.findall(r"^\| `(\w+)` \|", text.partition(HEAD)[2], re.MULTILINE)
    return rows[-1] if rows else None


def recorded(text: str, commit: str, against: str, seconds: Mapping[str, np.ndarray], date: str) -> str:
    """The page with one row more, which is the last of the history's table."""
    before, head, rest = text.partition(HEAD)
    if not head:
        sys.exit(f"{PAGE}: has no history, a table that begins with {HEAD}")
    table, gap, after = rest.partition("\n\n")
    cells = []
    for name in WORK:
        if name in seconds:
            verdict, median_s = judged(seconds[name]), float(np.median(seconds[name][2]))
            cells.append(f"{median_s * 1e3:,.0f}, {verdict.ratio:.3f} ({verdict.low:.3f} to {verdict.high:.3f})")
        else:
            cells.append("")
    row = " | ".join([f"`{commit}`", date, f"`{against}`", *cells])
    return f"{before}{head}{table.rstrip()}\n| {row} |{gap or chr(10)}{after}"


def row(name: str, seconds_3R: np.ndarray, verdict: Verdict) -> dict[str, object]:
    before, again, now = (float(np.median(one)) * 1e3 for one in seconds_3R)
    return {
        "work": name,
        "before ms": before,
        "again": again,
        "now": now,
        "ratio": f"{verdict.ratio:.3f}",
        "95 %": f"{verdict.low:.3f} to {verdict.high:.3f}",
        "noise": f"{verdict.noise:.3f}",
        "": "SLOWER" if verdict.slower else "",
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", metavar="COMMIT", help="default: the last of the history")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", metavar="NAME,...", help=f"of {', '.join(WORK)}")
    parser.add_argument("--record", action="store_true")
    flags = parser.parse_args()
    names = flags.only.split(",") if flags.only else list(WORK)
    if unknown := set(names) - set(WORK):
        parser.error(f"--only: {', '.join(sorted(unknown))} is not among {', '.join(WORK)}")
    text = PAGE.read_text(encoding="utf-8")
    against = flags.against or last_recorded(text)
    if against is None:
        sys.exit(f"{PAGE}: records no commit yet; name one by --against")
    if flags.record and git("status", "--porcelain", "--untracked-files=no"):
        sys.exit("--record: files have changed since the last commit, and a row names a commit")
    print_machine()
    seconds: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory(prefix="gptjax-bench-") as folder:
        root = pathlib.Path(folder)
        trees = checked_out(against, root / "before"), checked_out(against, root / "again"), ROOT
        sides = [Side(tree, root / f"cache{at}") for at, tree in enumerate(trees)]
        analyze.write(root / "runs", 1, 2000)
        for name in names:
            seconds[name] = measured(name, sides, flags.rounds, root / "runs/run0000")
    verdicts = {name: judged(found) for name, found in seconds.items()}
    print(f"this tree beside {against}, {flags.rounds} rounds in turn")
    print_table([row(name, seconds[name], verdict) for name, verdict in verdicts.items()])
    print_machine()
    if flags.record:
        commit, today = git("rev-parse", "--short=9", "HEAD"), datetime.date.today().isoformat()
        PAGE.write_text(recorded(text, commit, against, seconds, today), encoding="utf-8")
    return int(any(verdict.slower for verdict in verdicts.values()))


if __name__ == "__main__":
    sys.exit(main())
