"""What the launcher costs a sweep that it ran one trial at a time: `python -m benchmarks.launch RUNS/SWEEP`.

Seconds from the first trial's claim to the last one's end, by the trial table, and those of them in which a process was
training, by the clock in each run's log (`time/*`, from the start of the process on). The rest is the launcher's:
asking for states, claiming, starting Python for the job, and noting its end. The bar is 1 % on a sweep of eight trials.
"""

import collections
import sys

from benchmarks.contest import print_machine, print_table
from gptjax.runs import log
from launch.table import Table

BAR = 0.01


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    (root,) = sys.argv[1:]
    table = Table(f"{root}/table")
    states = {trial: state for trial, state in table.latest().items() if state.state == "done"}
    first = [table.store.read([(trial, 1)])[0] for trial in states]
    began = min(table.parsed(trial, 1, text).at for trial, text in zip(states, first, strict=True))
    wall = max(state.at for state in states.values()) - began
    trained = sum(seconds(f"{root}/{trial}") for trial in states)
    print_machine()
    told = {"trials": len(states), "wall s": wall, "training s": trained}
    print_table([told | {"overhead": 1 - trained / wall, "bar": BAR}])


def seconds(run: str) -> float:
    """Of all processes that trained it, as their logs tell."""
    sessions: dict[float, float] = collections.defaultdict(float)
    for line in log.read_metrics(run):
        if "time/began" in line:
            kinds = [value for key, value in line.items() if key.startswith("time/") and key != "time/began"]
            sessions[line["time/began"]] = sum(kinds)
    return sum(sessions.values())


if __name__ == "__main__":
    main()
