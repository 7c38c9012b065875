"""Being told to stop: SIGTERM, SIGINT or a time limit. The loop saves, and the command exits with 75."""

import signal
import time
from types import FrameType

REASONS = ("", "SIGTERM", "SIGINT", "stop_after_s")


class Stop:
    """`stop()` says whether to stop, and `reason` why. Inside `with` it hears SIGTERM and SIGINT (main thread only).

    A second SIGINT (Ctrl-C) interrupts at once.
    """

    def __init__(self):
        self.reason = ""  # one of REASONS
        self.began, self.deadline = time.monotonic(), float("inf")

    def after(self, seconds: float) -> None:
        """Sets the time limit, counted from the making of this; 0 is none."""
        self.deadline = self.began + seconds if seconds else float("inf")

    def __enter__(self) -> "Stop":
        self.before = {number: signal.signal(number, self.hear) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def hear(self, number: int, frame: FrameType | None) -> None:
        self.reason = signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __call__(self) -> bool:
        if not self.reason and time.monotonic() >= self.deadline:
            self.reason = "stop_after_s"
        return bool(self.reason)
