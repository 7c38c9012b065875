"""One job at a time in a run directory.

The lock is the kernel's (flock), so it ends with the process that holds it, however that ends: nothing is left to clean
up. The file tells who holds it. It is asked for without waiting; a file system that has no locks is used without one.
"""

import errno
import fcntl
import json
import os
import pathlib
import socket
import sys

from gptjax.config import BadInput
from gptjax.runs.workdir import wrong_place

NAME = "lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class RunLock:
    """`take()` makes this process the one that trains in `workdir`, until `close()` or its end; again does nothing."""

    def __init__(self, workdir: str):
        self.workdir, self.file = workdir, None

    def take(self) -> None:
        """Raises BadInput where another process has it, or where nothing can be written. Object stores have no lock."""
        if self.file is not None or "://" in self.workdir:
            return
        path = pathlib.Path(self.workdir).expanduser() / NAME
        with wrong_place(f"--workdir={self.workdir}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(file, 1000)
            os.close(file)
            raise BadInput(f"--workdir={self.workdir}: {told(holder)} is training there; name another") from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print(f"gptjax: {self.workdir}: no locks there, so nothing keeps a second job out", file=sys.stderr)
        self.file = file
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)

    def close(self) -> None:
        """Lets another process train there; nothing to do where the lock was never taken."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


def told(holder: bytes) -> str:
    """Who holds a lock, by what it wrote into the file."""
    try:
        who = json.loads(holder)
        return f"process {int(who['pid'])} on {str(who['host'])[:64]}"
    except (ValueError, KeyError, TypeError):
        return "another process"
