"""What a run directory must be before anything is compiled: a place that can be written, or a run that can go on."""

import contextlib
import errno
import os
import pathlib
import tempfile
from collections.abc import Iterator

from gptjax.config import BadInput, LogConfig, without_password
from gptjax.runs import echoes
from gptjax.runs.log import read_header

WRONG_PLACE = {  # errors that say something of a path; others (a full disk) may pass
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.EISDIR, errno.ELOOP,
    errno.ENAMETOOLONG, errno.EINVAL,
}  # fmt: skip
FILES = ("run.json", "metrics.jsonl", "samples.jsonl")
FOLDERS = ("checkpoints", "tokenizer")


def check(workdir: str, log: LogConfig) -> None:
    """Raises BadInput where a run could not be written there, or where its echoes need what is not there.

    Nothing is left behind. Of a store elsewhere (gs://, s3://) only the name is looked at.
    """
    if not workdir:
        raise BadInput("--workdir: is empty or /; name a directory for this run alone, such as runs/first")
    if not workdir.isprintable():
        raise BadInput(f"--workdir={workdir!r}: holds what cannot be printed in one line; choose another name")
    if without_password(workdir) != workdir:
        raise BadInput("--workdir: holds a password, which every log would show; give it in the environment")
    echoes.check(log, workdir)
    if "://" in workdir:
        return
    if os.path.isfile(workdir):
        raise BadInput(f"--workdir={workdir}: is a file; name a directory")
    with wrong_place(f"--workdir={workdir}"):
        probe(pathlib.Path(workdir))
    for name in (*FILES, *FOLDERS):
        path = pathlib.Path(workdir, name)
        if path.exists() and path.is_dir() != (name in FOLDERS):
            raise BadInput(f"{path}: is {'a folder' if path.is_dir() else 'no folder'}; move it away")
    for name in (*FILES, *(f"{name}.tmp" for name in FILES)):
        if os.path.islink(path := os.path.join(workdir, name)):
            raise BadInput(f"{path}: is a symbolic link, and a run writes only into its own directory; move it away")
    read_header(workdir)


def probe(folder: pathlib.Path) -> None:
    """Makes and removes a folder in this one, or in the nearest above it that exists; raises OSError."""
    while not (folder.is_symlink() or folder.exists()):
        folder = folder.parent
    os.rmdir(tempfile.mkdtemp(prefix=".gptjax-", dir=folder))


@contextlib.contextmanager
def wrong_place(what: str) -> Iterator[None]:
    """Names `what` in the errors that say that a path is wrong, as BadInput."""
    try:
        yield
    except OSError as error:
        if error.errno not in WRONG_PLACE:
            raise
        raise BadInput(f"{what}: {os.strerror(error.errno or 0)}; name a directory that can be written") from error
