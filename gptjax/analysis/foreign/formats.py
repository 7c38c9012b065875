"""Every format that is read: told by its content, or by the name that `--import` gives."""

import csv
import dataclasses
import difflib
import glob
import os
import pathlib
from collections.abc import Sequence
from types import ModuleType

from gptjax.analysis import frames, places
from gptjax.analysis.foreign import levanter, maxtext, nanogpt, points, tensorboard, wandb
from gptjax.analysis.foreign.imported import Imported, renamed
from gptjax.analysis.frames import Run
from gptjax.config import BadInput

KINDS: dict[str, ModuleType] = {  # in the order in which they are tried
    "tensorboard": tensorboard,
    "levanter": levanter,
    "maxtext": maxtext,
    "wandb": wandb,
    "points": points,
    "nanogpt": nanogpt,
}
OURS = ("run.json", "metrics.jsonl")  # the name of a run may be that of a file in it
HEAD = 2**18  # bytes that tell a format: a training script prints much before its first loss


def read(names: Sequence[str], kind: str | None = None) -> list[Run]:
    """Our runs, and those of other programs, that the names name. With `kind` every name is of that format.

    Raises BadInput for a name that leads to no run, and for what is not of the format.
    """
    if kind is None and all(told is None for name in names for _, told in files_of(name, kind)):
        return frames.read(names)
    runs = {run.path: run for side in read_each(names, kind) for run in side}
    return list(runs.values())


def read_each(names: Sequence[str], kind: str | None = None) -> list[list[Run]]:
    """The runs of each name; all are told apart from each other by theirs."""
    if kind is not None and kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1, cutoff=0.4)
        raise BadInput(f"--import={kind}: {f'did you mean {near[0]}?' if near else known()}")
    sides = [read_one(name, kind) for name in names]
    paths = list(dict.fromkeys(run.path for side in sides for run in side))
    short = dict(zip(paths, places.told_apart(paths), strict=True))
    return [[dataclasses.replace(run, name=short[run.path]) for run in side] for side in sides]


def read_one(name: str, kind: str | None) -> list[Run]:
    found = files_of(name, kind)
    if all(told is None for _, told in found):
        return frames.read([name])
    return [run for path, told in found for run in (imported(path, told) if told else frames.read([str(path)]))]


def files_of(name: str, kind: str | None) -> list[tuple[pathlib.Path, str | None]]:
    """What a name or a glob leads to, each with its format; None for what is ours. Raises BadInput for other files."""
    if "://" in name:
        return []
    at = os.path.expanduser(name)
    paths = sorted(glob.glob(at)) if glob.has_magic(at) and not os.path.exists(at) else [at]
    return [(path, kind or kind_of(path)) for path in map(pathlib.Path, paths)]


def kind_of(path: pathlib.Path) -> str | None:
    """The format of a file, or of a folder of event files; None where it is ours, or nothing.

    Raises BadInput for a file that no format knows."""
    if path.is_dir():
        ours = any(places.below(str(path), places.LEVELS))
        return "tensorboard" if not ours and tensorboard.tells(path, b"") else None
    if not path.is_file() or path.name in OURS:
        return None
    with open(path, "rb") as file:
        head = file.read(HEAD)
    for name, module in KINDS.items():
        if module.tells(path, head):
            return name
    raise BadInput(f"{path}: is no run, and no log that is known by its content; {known()}")


def known() -> str:
    return f"--import is one of {', '.join(KINDS)}"


def imported(path: pathlib.Path, kind: str) -> list[Run]:
    if not path.exists():
        raise BadInput(f"{path}: no such file")
    if path.is_dir() and kind != "tensorboard":
        raise BadInput(f"{path}: --import={kind} reads a file, and this is a folder; name a file in it")
    try:
        runs = [made(path, kind, one) for one in KINDS[kind].read(path)]
    except (csv.Error, RecursionError) as error:
        raise BadInput(f"{path}: is no log of {kind} ({error}); {known()}") from error
    if not any(run.metrics for run in runs):
        raise BadInput(f"{path}: nothing in it is a metric as {kind} writes it; {known()}")
    return runs


def made(path: pathlib.Path, kind: str, one: Imported) -> Run:
    """The run; its notes say which format it is of, and which names were taken for ours."""
    ours, names = renamed(one)
    place = f"{path}/{one.name}" if one.name else str(path)
    run = frames.of_objects(place, place, ours.objects, ours.config)
    notes = [f"read as {kind}"] + [f"{theirs} is taken for {our}" for theirs, our in names.items()]
    left_out = {**run.left_out, **+ours.left_out}
    return dataclasses.replace(run, header={**run.header, **ours.header}, left_out=left_out, notes=tuple(notes))
