"""What `--from` and `config.init_from` name: a run directory or one checkpoint in it, opened for its weights."""

import functools
import pathlib
from typing import NamedTuple

import jax

from gptjax import config
from gptjax.config import BadInput, Config
from gptjax.data import tokenizers
from gptjax.data.tokenizers import Tokenizer
from gptjax.model import gpt
from gptjax.training import checkpoint


class Source(NamedTuple):
    cfg: Config
    tokenizer: Tokenizer
    params: dict  # on this process's first device; the averaged ones where the run keeps an average
    run: str
    step: int


def open_run(path: str) -> Source:
    """The weights of a run's newest checkpoint, or of the one named, wherever they were trained. Raises BadInput."""
    run, step = locate(path)
    folder = f"{run}/checkpoints"
    step = checkpoint.latest(folder) if step is None else step
    if step is None:
        raise BadInput(f"{path}: has no checkpoint yet; `gptjax train --workdir={path}` makes one")
    cfg = config.from_dict(checkpoint.read_meta(folder, step)["config"])
    shapes = jax.eval_shape(functools.partial(gpt.init, cfg=cfg.model), jax.random.key(0))
    field = "ema" if cfg.optim.ema_decay else "params"
    params = checkpoint.restore_fields(folder, {field: shapes}, step)[0][field]
    return Source(cfg, tokenizers.load(pathlib.Path(run) / "tokenizer"), params, run, step)


def locate(path: str) -> tuple[str, int | None]:
    """The run directory and, where the path names one checkpoint in it, that step."""
    folder = pathlib.PurePosixPath(path.rstrip("/"))
    if folder.name.isdigit() and folder.parent.name == "checkpoints":
        return path.rstrip("/")[: -len(f"/checkpoints/{folder.name}")], int(folder.name)
    if "://" not in path and not (pathlib.Path(path) / "run.json").is_file():
        raise BadInput(f"{path}: not a run directory (it has no run.json)")
    return path.rstrip("/"), None
