"""Where the time of a run goes: every second of a process belongs to one kind of work, from its start to its last line.

Lines of metrics.jsonl hold `time/<kind>`, the seconds of this process so far, and `time/began`, when the system started
it (Unix time), which tells the sessions of a run apart. A session's first line is of the step that it starts from.
`goodput` adds sessions up.
"""

import collections
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

KINDS = (
    *(
        "start",
        "open",
    ),  # the interpreter, imports and finding other processes; then what the run reads before compiling
    *("compile", "restore"),  # waiting for XLA; making or reading the state, while XLA compiles
    *("data", "step"),  # waiting for a batch; updates
    *("eval", "save", "sample", "end"),  # "save" is what the loop waits for: saves go on in the background
)


class Clock:
    """`clock("eval")` says what the process does from now on; `kind` is that, and `since` when it began.

    A call takes a microsecond and waits for nothing: on a device that works ahead a second belongs to what the loop
    waited for.
    """

    def __init__(self, began: float):
        """`began` is when the process started, in Unix time: `process_start()`."""
        self.began, self.kind, self.since = began, "start", time.monotonic() - (time.time() - began)
        self.spent = dict.fromkeys(KINDS, 0.0)
        self.round_since = self.since
        self.rounds: collections.deque[float] = collections.deque(maxlen=101)  # seconds of the latest steps, whole

    def __call__(self, kind: str) -> None:
        now = time.monotonic()
        self.spent[self.kind] += now - self.since
        if kind == "data":  # with which each step begins
            if self.kind == "step":
                self.rounds.append(now - self.round_since)
            self.round_since = now
        self.kind, self.since = kind, now

    def seconds(self) -> dict[str, float]:
        """What a line of metrics.jsonl says."""
        self(self.kind)
        spent = {f"time/{kind}": round(seconds, 3) for kind, seconds in self.spent.items() if seconds}
        return {"time/began": round(self.began, 3), **spent}


def process_start() -> float:
    """When the system started this process, to 0.01 s; now, where it does not tell (not on Linux)."""
    if sys.platform != "linux":
        return time.time()
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])  # since boot; an exec does not change it
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return time.time() - max(age, 0)


class Goodput(NamedTuple):
    """The seconds of a run, from the start of its first process to its last line."""

    seconds: dict[str, float]  # of each kind; "lost": work that was done again; "idle": no process, or a killed one

    @property
    def wall_s(self) -> float:
        """All of them, time without a process included."""
        return sum(self.seconds.values())

    @property
    def fraction(self) -> float:
        """The share of the wall time that went into updates which were kept."""
        return (self.seconds["step"] + self.seconds["data"]) / self.wall_s


def goodput(lines: Sequence[Mapping]) -> Goodput:
    """Adds up the sessions of a metrics.jsonl, given as its objects in order (`log.read_metrics`).

    What a later session does again is lost: the updates from the step that it starts from to the last line before.
    Between two lines their time is interpolated. What a killed process did after its last line counts as idle.
    """
    import numpy as np  # here, since every command imports this file, and the interpolation is all that it is for

    sessions = collections.defaultdict(list)
    for line in lines:
        if "time/began" in line:
            sessions[line["time/began"]].append(line)
    firsts = [session[0]["step"] for session in sessions.values()]
    total, end = dict.fromkeys((*KINDS, "lost", "idle"), 0.0), None
    for number, (began, session) in enumerate(sessions.items()):
        spent = {kind: [line.get(f"time/{kind}", 0.0) for line in session] for kind in KINDS}
        total["idle"] += 0.0 if end is None else max(0.0, began - end)
        end = began + sum(spent[kind][-1] for kind in KINDS)
        n_done = [line["step"] + ("train/nll" in line) for line in session]  # updates at each line
        n_kept = min(firsts[number + 1 :], default=n_done[-1])
        for kind in KINDS:
            lost = spent[kind][-1] - float(np.interp(n_kept, n_done, spent[kind])) if kind in ("data", "step") else 0.0
            total[kind] += spent[kind][-1] - lost
            total["lost"] += lost
    return Goodput(total)
