"""Where runs lie: the run directories that a name leads to, and the files in them."""

import contextlib
import glob
import json
import os
import re
import time
from collections.abc import Sequence
from typing import Any

from gptjax.config import BadInput

LEVELS = 3  # below a folder that is named, in which runs are looked for
LOG = re.compile(r"metrics(-\d+)?\.jsonl")


def runs(name: str) -> list[str]:
    """The run directories that a name leads to, sorted; raises BadInput where there are none."""
    if "://" in name:
        return remote_runs(name)
    at = os.path.expanduser(name.replace("\0", "\ufffd"))  # which no file system has
    names = sorted(glob.glob(at)) if glob.has_magic(at) and not os.path.exists(at) else [at]
    found = [path for one in names for path in below(os.path.normpath(one), LEVELS)]
    if not found and os.path.basename(at) in ("metrics.jsonl", "run.json") and os.path.isfile(at):
        return [os.path.dirname(at) or "."]
    if not found:
        what = "is no run, and there is none in it" if os.path.exists(at) else "no such run"
        raise BadInput(
            f"{name}: {what}; name a run directory (it holds run.json and metrics.jsonl), or a folder of them"
        )
    return found


def below(folder: str, levels: int) -> list[str]:
    """The run directories in a folder, `levels` deep, sorted: itself alone where it is one. None that is hidden."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    if is_run([entry.name for entry in entries]):
        return [folder]
    inner = sorted(entry.path for entry in entries if levels and entry.is_dir() and not entry.name.startswith("."))
    return [path for one in inner for path in below(one, levels - 1)]


def is_run(files: Sequence[str]) -> bool:
    return "run.json" in files or any(LOG.fullmatch(name) for name in files)


def remote_runs(name: str) -> list[str]:
    from gptjax.runs.log import file_system

    fs, root = file_system(name.rstrip("/"))
    fs.invalidate_cache()
    scheme = name.partition("://")[0]
    names = [f"{root}/{pattern}" for pattern in ("run.json", "metrics*.jsonl", "*/run.json", "*/metrics*.jsonl")]
    folders = {str(path).rpartition("/")[0] for pattern in names for path in fs.glob(pattern)}
    if not folders:
        raise BadInput(f"{name}: is no run, and there is none in it")
    return sorted(f"{scheme}://{folder.lstrip('/')}" for folder in folders)


def told_apart(paths: Sequence[str]) -> list[str]:
    """A name for each path: its last part, with as much of what stands before as tells it from the others."""
    parts = [re.split(r"/+", path if "://" in path else os.path.abspath(path)) for path in paths]
    for n in range(1, max(map(len, parts), default=1) + 1):
        names = ["/".join(one[-n:]) for one in parts]
        if len(set(names)) == len(names):
            return names
    return list(paths)


def files(path: str, stem: str) -> list[str]:
    """The files of a run's stream (`metrics` or `samples`), in order: numbered segments, then what was appended."""
    pattern = re.compile(rf"{stem}(?:-(\d+))?\.jsonl")
    if "://" in path:
        from gptjax.runs.log import file_system

        fs, root = file_system(path)
        fs.invalidate_cache()
        names = [str(name).rpartition("/")[2] for name in fs.glob(f"{root}/{stem}*.jsonl")]
    else:
        names = listed(path)
    found = [(match[1], name) for name in names if (match := pattern.fullmatch(name))]
    return [f"{path}/{name}" for *_, name in sorted((number is None, int(number or 0), name) for number, name in found)]


def content(file: str) -> bytes:
    """A file's bytes, from a disk or an object store; FileNotFoundError where it is not there."""
    if "://" not in file:
        return local(file)
    from gptjax.runs.log import file_system

    fs, path = file_system(file)
    return fs.cat_file(path)


def missing(names: Sequence[str]) -> int:
    """Segments that are not there, though later ones are."""
    numbers = [int(match[1]) for name in names if (match := re.search(r"-(\d+)\.jsonl$", name))]
    return max(numbers, default=-1) + 1 - len(set(numbers))


def listed(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []


def local(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def header(path: str) -> tuple[dict[str, Any], list[str]]:
    """run.json, and what is to be said of it; {} where it is missing or damaged."""
    try:
        found = json.loads(content(f"{path}/run.json"))
    except FileNotFoundError:
        return {}, ["run.json is missing: its config is not known"]
    except OSError as error:
        return {}, [f"run.json cannot be read ({os.strerror(error.errno or 0)}): its config is not known"]
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("config"), dict):
        return {}, ["run.json is damaged: its config is not known"]
    return found, []


def age_s(path: str) -> float | None:
    """Seconds since a local log was written to; None where there is none, or where it lies elsewhere."""
    if "://" in path:
        return None
    times = []
    for name in listed(path):
        if LOG.fullmatch(name):
            with contextlib.suppress(OSError):
                times.append(os.stat(f"{path}/{name}").st_mtime)
    return max(0.0, time.time() - max(times)) if times else None


def locked(path: str) -> bool:
    """Whether a process of this machine holds the run's lock: by the kernel's list, for to ask is to be in the way."""
    try:
        found = os.stat(f"{path}/lock")
        with open("/proc/locks") as file:
            held = [line.split() for line in file]
    except OSError:
        return False
    return any("FLOCK" in words and words[-3].rsplit(":")[-1] == str(found.st_ino) for words in held)
