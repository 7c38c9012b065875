"""A disk that is full, read-only or broken, told in one line that says what to do."""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Iterator

ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some of your quota there",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f)",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable for this user",
    errno.EPERM: "make it writable for this user",
    errno.EIO: "look at the disk; the system log may say more",
    errno.ENOENT: "somebody has removed a folder of the run",
    errno.ESTALE: "mount the file system again",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
}


class StorageFailed(RuntimeError):
    """What a run must write or read cannot be. Commands exit with 1: a retry goes on from the newest checkpoint."""


@contextlib.contextmanager
def told_of_storage(path: str) -> Iterator[None]:
    """Turns what the operating system said of a write below `path` into StorageFailed; other errors pass."""
    try:
        yield
    except (OSError, ValueError) as error:  # TensorStore's are ValueErrors
        if (number := error_number(error)) is None:
            raise
        raise StorageFailed(
            f"{path} cannot be written: {os.strerror(number)}; {ADVICE[number]}, "
            "then the same command goes on from the newest checkpoint"
        ) from error


def error_number(error: BaseException) -> int | None:
    """The system's number of an error that ADVICE knows, also where only the text of the error tells it."""
    seen = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in ADVICE:
            return seen.errno
        for number in ADVICE:
            if re.search(rf"\b{errno.errorcode[number]}\b|{re.escape(os.strerror(number))}", str(seen)):
                return number
        seen = seen.__cause__
    return None


class PassingOver:
    """A hook for `sys.unraisablehook` that is silent about the arrays which end after the first of a save has failed.

    Orbax has closed the loop that waits for them by then, and each would print a traceback.
    """

    def __init__(self, before: Callable):
        self.before = before

    def __call__(self, told) -> None:
        if not (isinstance(told.exc_value, RuntimeError) and str(told.exc_value) == "Event loop is closed"):
            self.before(told)
