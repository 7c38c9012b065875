"""The files of a run: run.json, metrics.jsonl and samples.jsonl, the truth that every analysis reads.

A line is one JSON object, and a later line of the same step wins. Numbers that JSON lacks are the strings "NaN",
"Infinity" and "-Infinity", which Python's float() and JavaScript's Number() read back.
In a local run each line is on its way to the disk when `write` returns. An object store (gs://, s3://, memory://)
cannot append, so there the lines lie in immutable segments metrics-00000.jsonl, metrics-00001.jsonl, ..., read in that
order. A segment is written by the line that makes it SEGMENT_LINES long or SEGMENT_SECONDS old; a kill loses the rest.
"""

import datetime
import importlib.metadata
import json
import math
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from gptjax.config import BadInput, LogConfig, without_password
from gptjax.runs import echoes
from gptjax.runs.faults import told_of_storage
from gptjax.version import VERSION

SEGMENT_SECONDS = 60.0
SEGMENT_LINES = 1000
SESSION_KEYS = ("command", "devices", "versions", "git_commit", "first_step", "changed")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


class RunLog:
    """Writes a run's files; with `primary` False (every process but the first) its methods do nothing."""

    def __init__(self, workdir: str, cfg: LogConfig, primary: bool = True):
        self.workdir, self.cfg, self.primary = workdir, cfg, primary
        self.echoes = []
        self.last_sample = ""
        if not primary:
            return
        self.fs, self.root = file_system(workdir)
        with told_of_storage(workdir):
            self.fs.makedirs(self.root, exist_ok=True)
        lines = Appended if isinstance(self.fs, LocalFileSystem) else Segments
        self.metrics, self.samples = (lines(self.fs, f"{self.root}/{name}") for name in ("metrics", "samples"))
        earlier = read_header(workdir)
        self.started = now() if earlier is None else earlier["started"]
        age = time.time() - datetime.datetime.fromisoformat(self.started).timestamp()
        self.clock_zero = time.monotonic() - age  # within a session, time_s ignores steps of the wall clock

    def header(self, fields: Mapping) -> None:
        """Writes run.json, or on resume adds this session to the one that is there.

        `fields` holds SESSION_KEYS, `config` (nested), `name`, `tags`, `note`, and anything else worth keeping.
        Raises BadInput where an echo that the config asks for is not installed.
        """
        if not self.primary:
            return
        header = read_header(self.workdir)
        session = {key: fields[key] for key in SESSION_KEYS}
        if header is None:
            header = {"started": self.started, **fields, "sessions": []}
        else:
            header["sessions"].append({"started": now(), **session})
        self.echoes = echoes.make(self.cfg, self.workdir, header)
        write_whole(self.fs, f"{self.root}/run.json", encode(header, indent=1))

    def spike(self, step: int, z: float, action: str) -> None:
        """Puts a spike of the loss, and what was done, into `spikes` of run.json: once, however often it is found."""
        if not self.primary or (header := read_header(self.workdir)) is None:
            return
        others = [spike for spike in header["spikes"] if spike["step"] != step] if "spikes" in header else []
        header["spikes"] = [*others, {"step": step, "z": z, "action": action}]
        write_whole(self.fs, f"{self.root}/run.json", encode(header, indent=1))

    def write(self, step: int, metrics: Mapping[str, float], *, tokens: int) -> None:
        """A line of metrics.jsonl; `tokens` is what the model was trained on so far."""
        if not self.primary:
            return
        values = {key: float(value) for key, value in metrics.items()}
        time_s = round(time.monotonic() - self.clock_zero, 3)
        self.metrics.write(encode({"step": step, "tokens": tokens, "time_s": time_s, **values}))
        for echo in self.echoes:
            echo.write(step, values)

    def sample(self, step: int, prompt: str, text: str) -> None:
        """A line of samples.jsonl; the newest text stays in `last_sample`."""
        self.last_sample = text
        if self.primary:
            self.samples.write(encode({"step": step, "prompt": prompt, "text": text}))

    def close(self) -> None:
        """What is not written yet, of a run in an object store, is written now."""
        if self.primary:
            for file in (self.metrics, self.samples, *self.echoes):
                file.close()


class Appended:
    """Lines of one local file, each handed to the system in a single write."""

    def __init__(self, fs: LocalFileSystem, stem: str):
        path = pathlib.Path(f"{stem}.jsonl")
        if path.exists():
            mend(path)
        self.file = open(path, "ab", buffering=0)

    def write(self, line: bytes) -> None:
        with told_of_storage(str(self.file.name)):
            while line:  # a disk that is all but full takes a part of it, without a word
                line = line[self.file.write(line) :]

    def close(self) -> None:
        self.file.close()


class Segments:
    """Lines of one stream in numbered objects that are never rewritten."""

    def __init__(self, fs: fsspec.AbstractFileSystem, stem: str):
        self.fs, self.stem, self.lines, self.flushed = fs, stem, [], time.monotonic()
        fs.invalidate_cache()
        numbers = [int(name.rsplit("-", 1)[1].removesuffix(".jsonl")) for name in map(str, fs.glob(f"{stem}-*.jsonl"))]
        self.number = max(numbers, default=-1) + 1

    def write(self, line: bytes) -> None:
        self.lines.append(line)
        if len(self.lines) >= SEGMENT_LINES or time.monotonic() - self.flushed >= SEGMENT_SECONDS:
            self.flush()

    def flush(self) -> None:
        if self.lines:
            self.fs.pipe_file(f"{self.stem}-{self.number:05d}.jsonl", b"".join(self.lines))
            self.number, self.lines = self.number + 1, []
        self.flushed = time.monotonic()

    def close(self) -> None:
        self.flush()


def mend(path: pathlib.Path) -> None:
    """Makes a file end in a whole line: a last line cut short by a kill goes, one that lacks only its end gets it."""
    with open(path, "rb+") as file:
        content = file.read()
        last = content[content.rfind(b"\n") + 1 :]
        try:
            json.loads(last or b"{}")
        except ValueError:
            file.truncate(len(content) - len(last))
            return
        if last:
            file.write(b"\n")


def file_system(workdir: str) -> tuple[Any, str]:
    """fsspec's store that a run directory lies in, and its path there; raises BadInput where a package is missing."""
    try:
        return fsspec.url_to_fs(workdir)
    except (ImportError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise BadInput(f"--workdir={workdir}: {reason}; gs:// and s3:// need pip install 'gptjax[cloud]'") from error


def read_header(workdir: str) -> dict | None:
    """The run.json of a run directory; None where there is none. Raises BadInput where it is damaged."""
    fs, root = file_system(workdir)
    path = f"{root}/run.json"
    if not fs.exists(path):
        return None
    try:
        found = json.loads(fs.cat_file(path))
        datetime.datetime.fromisoformat(found["started"])
        if not isinstance(found["config"], dict) or not isinstance(found["sessions"], list):
            raise TypeError
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise BadInput(
            f"{path} is damaged: not the record of a run; move it away, and the checkpoints say how to go on"
        ) from error
    return found


def read_metrics(workdir: str) -> list[dict]:
    """The whole lines of metrics.jsonl, or of its segments, in the order in which they were written."""
    fs, root = file_system(workdir)
    content = b"".join(fs.cat_file(path) for path in sorted(map(str, fs.glob(f"{root}/metrics*.jsonl"))))
    return [json.loads(line) for line in content.splitlines(keepends=True) if line.endswith(b"\n")]


def write_whole(fs: fsspec.AbstractFileSystem, path: str, content: bytes) -> None:
    """Replaces a file so that no reader ever sees a part of it (object stores do so by themselves)."""
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, content)
        return
    with told_of_storage(path):
        with open(f"{path}.tmp", "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(f"{path}.tmp", path)


def encode(value: Mapping, indent: int | None = None) -> bytes:
    """A line in ASCII: to some readers U+2028 ends a line, and a lone surrogate has no UTF-8."""
    return json.dumps(with_names(value), indent=indent, allow_nan=False).encode() + b"\n"


def with_names(value):
    """The value with every float that JSON lacks replaced by its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: with_names(item) for key, item in value.items()}
    return [with_names(item) for item in value] if isinstance(value, list | tuple) else value


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


def environment() -> dict:
    """What run.json says of the program: `command`, `git_commit`, `git_dirty`, `versions`; None for what is unknown.

    Never environment variables, which may hold secrets.
    """
    commit, dirty = git_state(pathlib.Path(__file__).parents[1])
    return {
        "command": without_password(shlex.join(sys.argv)),
        "git_commit": commit,
        "git_dirty": dirty,
        "versions": {
            "python": platform.python_version(),
            "gptjax": VERSION,
            **{name: version(name) for name in PACKAGES},
        },
    }


def version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_state(folder: pathlib.Path) -> tuple[str | None, bool | None]:
    """The commit that a folder's tracked files stand at and whether they differ from it; (None, None) outside git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    try:
        if not git("ls-files", "."):  # an installed copy inside somebody else's repository
            return None, None
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return None, None
