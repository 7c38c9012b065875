"""A watch over a live process: one that is stuck says where all its threads stand, and ends."""

import contextlib
import faulthandler
import os
import statistics
import sys
import tempfile
import threading
import time

from gptjax.runs.clock import Clock
from gptjax.runs.log import file_system

MEDIANS = 10  # of a step, that a step may take
SLOW = (
    30  # times `limit_s` for what is rare and may rightly take long: compiling, restoring, evaluating, saving, the end
)
DUMP_S = 10  # to write the stacks, perhaps to the very store that hangs; then the process ends without


class Watch:
    """Ends the process with code 1 when what it does takes too long; a context manager around the run.

    Once a step has been done, a step or the wait for its batch may take `limit_s`, and MEDIANS of the median of the
    latest steps. Anything else that the clock names, and the first step, may take SLOW x `limit_s`. 0 watches nothing.
    The stacks of all threads go to stderr and to RUN/stuck-<process>.txt. Time in which this process was stopped
    (SIGSTOP, a laptop asleep) does not count.
    """

    def __init__(self, clock: Clock, limit_s: float, workdir: str, process: int):
        self.clock, self.limit_s, self.path = clock, limit_s, f"{workdir}/stuck-{process}.txt"
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.look, name="watch", daemon=True)

    def __enter__(self) -> "Watch":
        if self.limit_s:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()

    def allowed_s(self) -> float:
        """What the clock's present kind may take."""
        rounds = list(self.clock.rounds)
        if self.clock.kind in ("data", "step") and rounds:
            return max(self.limit_s, MEDIANS * statistics.median(rounds))
        return SLOW * self.limit_s

    def look(self) -> None:
        """Wakes up twenty times within the limit, and at least once a second."""
        tick = min(1.0, self.limit_s / 20)
        seen, taken_s, before = self.clock.since, 0.0, time.monotonic()
        while not self.over.wait(tick):
            now = time.monotonic()
            taken_s += min(now - before, 2 * tick)  # longer, and it was this process that did not run
            before = now
            if self.clock.since != seen:
                seen, taken_s = self.clock.since, 0.0
            if taken_s > self.allowed_s():
                self.end(taken_s)

    def end(self, taken_s: float) -> None:
        """Writes the stacks and ends the process: no cleaning up, which could wait for what is stuck."""
        late = threading.Timer(DUMP_S, os._exit, [1])
        late.daemon = True
        late.start()
        line = f"gptjax: stuck in {self.clock.kind} for {taken_s:.0f} s, where {self.allowed_s():.0f} s are allowed "
        line += f"(stuck_after_s); the stacks of all threads follow, and are in {self.path}\n"
        print(line, end="", file=sys.stderr, flush=True)
        with tempfile.TemporaryFile() as file, contextlib.suppress(OSError):
            file.write(line.encode())
            file.flush()
            faulthandler.dump_traceback(file, all_threads=True)
            file.seek(0)
            stacks = file.read()
            os.write(2, stacks.removeprefix(line.encode()))
            fs, path = file_system(self.path)
            fs.pipe_file(path, stacks)
        os._exit(1)
