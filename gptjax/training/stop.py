"""Being told to stop: SIGTERM, SIGINT or a time limit. The loop saves, and the command exits with 75."""

import signal
import time
from types import FrameType


class Stop:
    """`stop()` says whether to stop, and `reason` why. A second SIGINT (Ctrl-C) interrupts at once."""

    def __init__(self, after_s: float):
        self.reason = ""
        self.deadline = time.monotonic() + after_s if after_s else float("inf")

    def listen(self) -> "Stop":
        """Takes SIGTERM and SIGINT from now on; only the main thread can."""
        signal.signal(signal.SIGTERM, self.hear)
        signal.signal(signal.SIGINT, self.hear)
        return self

    def hear(self, number: int, frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self) -> bool:
        if not self.reason and time.monotonic() >= self.deadline:
            self.reason = "stop_after_s"
        return bool(self.reason)
