"""What `--from` and `config.init_from` name: a run directory or one checkpoint in it, opened for its weights."""

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax

from gptjax import config
from gptjax.config import BadInput, Config
from gptjax.data import tokenizers
from gptjax.data.tokenizers import Tokenizer
from gptjax.model import gpt
from gptjax.runs.faults import told_of_storage
from gptjax.runs.log import file_system
from gptjax.training import checkpoint, resume

Found = TypeVar("Found")


class Source(NamedTuple):
    cfg: Config
    tokenizer: Tokenizer
    params: dict  # on this process's first device; the averaged ones where the run keeps an average
    run: str
    step: int


def open_run(path: str) -> Source:
    """The weights of a run's newest good checkpoint, or of the one named, wherever they were trained. Raises BadInput.

    A kernel that the run was forced to is not kept: this device may not have it."""
    return chosen(path, open_step)


def open_step(run: str, step: int) -> Source:
    folder = f"{run}/checkpoints"
    cfg = config.from_dict(checkpoint.read_meta(folder, step)["config"])
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, attention="auto"))
    shapes = jax.eval_shape(lambda: gpt.init(jax.random.key(0), cfg.model))
    field = "ema" if cfg.optim.ema_decay else "params"
    params = checkpoint.restore_fields(folder, {field: shapes}, step)[0][field]
    return Source(cfg, read_tokenizer(run), params, run, step)


def chosen(path: str, opened: Callable[[str, int], Found]) -> Found:
    """What `opened(run, step)` gives for the checkpoint that is named, or for the newest good one. Raises BadInput."""
    run, step = locate(path)
    there = checkpoint.steps(f"{run}/checkpoints")
    if step is not None and step not in there:
        raise BadInput(f"{path}: the run has no checkpoint {step}; it has {', '.join(map(str, there))}")
    if step is not None:
        return opened(run, step)
    found = checkpoint.newest_good(f"{run}/checkpoints", functools.partial(opened, run))
    if found is None:
        raise BadInput(f"{path}: has no checkpoint yet; `gptjax train --workdir={run}` makes one")
    return found


def check_origin(cfg: Config, tokenizer: Tokenizer) -> None:
    """Raises BadInput where the weights that `init_from` names are not of the model and the tokenizer asked for."""
    saved = chosen(cfg.init_from, lambda run, step: checkpoint.read_meta(f"{run}/checkpoints", step))
    resume.check_weights(config.from_dict(saved["config"]).model, cfg.model, origin=cfg.init_from)
    if saved["tokenizer"] != tokenizer.fingerprint:
        raise BadInput(f"init_from={cfg.init_from}: its tokenizer is not this run's; set tokenizer.* as that run did")


def write_tokenizer(tokenizer: Tokenizer, run: str) -> None:
    """Puts the tokenizer's files into RUN/tokenizer, local or remote."""
    fs, root = file_system(run)
    with told_of_storage(f"{run}/tokenizer"), tempfile.TemporaryDirectory() as folder:
        tokenizer.save(pathlib.Path(folder))
        fs.makedirs(f"{root}/tokenizer", exist_ok=True)
        for file in pathlib.Path(folder).iterdir():
            fs.pipe_file(f"{root}/tokenizer/{file.name}", file.read_bytes())


def read_tokenizer(run: str) -> Tokenizer:
    """The tokenizer that `write_tokenizer` put there; raises BadInput where there is none."""
    fs, root = file_system(run)
    with tempfile.TemporaryDirectory() as folder:
        for file in fs.ls(f"{root}/tokenizer", detail=False) if fs.isdir(f"{root}/tokenizer") else []:
            (pathlib.Path(folder) / file.rsplit("/", 1)[-1]).write_bytes(fs.cat_file(file))
        try:
            return tokenizers.load(pathlib.Path(folder))
        except BadInput as error:
            raise BadInput(f"{run}/tokenizer: {error}") from error


def locate(path: str) -> tuple[str, int | None]:
    """The run directory and, where the path names one checkpoint in it, that step."""
    folder = pathlib.PurePosixPath(path.rstrip("/"))
    if folder.name.isdigit() and folder.parent.name == "checkpoints":
        return path.rstrip("/")[: -len(f"/checkpoints/{folder.name}")], int(folder.name)
    if "://" not in path and not (pathlib.Path(path) / "run.json").is_file():
        raise BadInput(f"{path}: not a run directory (it has no run.json)")
    return path.rstrip("/"), None
