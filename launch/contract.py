"""What an end of a trial means: whether it is done, is started again, or never again.

Exit codes are those of `gptjax train`: 0 done, 2 bad input (running out of a device's memory too), 3 diverged, 75
stopped with its state saved; anything else, or nobody knows, is a failure that a retry may help.
"""

import contextlib
import os
import pathlib
import re

from launch.table import LIVE, State, Table

DONE, BAD_INPUT, DIVERGED, STOPPED = 0, 2, 3, 75
NEVER = {BAD_INPUT: "bad input", DIVERGED: "diverged"}
OUT_OF_MEMORY = "out of memory"


def after_end(
    before: State, code: int | None, saved: int, max_failures: int, out_of_memory: bool, again: str = "waiting"
) -> State:
    """The state after an end with this exit code (None: nobody saw it), the newest checkpoint being of step `saved`.

    An end that leaves the saved step further on than the last one is retried without end; of others in a row
    `max_failures` are retried. `again` is the state of what will be started again.
    """
    end = dict(code=code, saved=max(saved, before.saved))
    if code == DONE:
        return before.next("done", **end)
    if code in NEVER:
        return before.next("failed", why=NEVER[code], **end)
    if out_of_memory:
        return before.next("failed", why=OUT_OF_MEMORY, **end)
    failures = 0 if saved > before.saved else before.failures + 1
    what = "stopped" if code == STOPPED else "was lost" if code is None else f"ended with {told(code)}"
    if failures > max_failures:
        return before.next("failed", why=f"{what}, {failures} times without progress", failures=failures, **end)
    return before.next(again, why=f"{what} at step {saved}", failures=failures, **end)


def told(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"code {code}"


def settle(table: Table, trial: str, batch: str, after) -> State:
    """Writes `after(state)` as the trial's next event, as long as it is live under this batch; returns what stands."""
    while True:
        before = table.get(trial)
        if before.state not in LIVE or before.batch != batch:
            return before
        if table.append(trial, made := after(before)):
            return made


def saved_step(workdir: str) -> int:
    """The newest checkpoint in a run directory; 0 where there is none. A name of digits alone is a whole one's."""
    if "://" not in workdir:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return max((int(name) for name in os.listdir(f"{workdir}/checkpoints") if name.isdecimal()), default=0)
        return 0
    from gptjax.runs.log import file_system

    fs, root = file_system(workdir)
    fs.invalidate_cache(f"{root}/checkpoints")
    try:
        found = fs.ls(f"{root}/checkpoints", detail=False)
    except FileNotFoundError:
        return 0
    names = [path.rstrip("/").rpartition("/")[2] for path in found]
    return max((int(name) for name in names if name.isdecimal()), default=0)


def oom_kills(cgroups: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int:
    """Processes of this control group that the kernel has ended for want of memory; 0 where it does not tell."""
    with contextlib.suppress(OSError):
        group = re.search(r"^0::(.*)$", pathlib.Path(own).read_text(), re.M)
        events = pathlib.Path(f"{cgroups}{group[1]}/memory.events").read_text() if group else ""
        killed = re.search(r"^oom_kill (\d+)$", events, re.M)
        return int(killed[1]) if killed else 0
    return 0
