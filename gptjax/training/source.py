"""What `--from` and `config.init_from` name: a run directory, one checkpoint in it, or a model folder of Hugging Face;
opened for its weights."""

import dataclasses
import functools
import json
import pathlib
import sys
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
from jax.sharding import Mesh, SingleDeviceSharding

from gptjax import config, tree
from gptjax.config import BadInput, Config, ModelConfig
from gptjax.data import tokenizers
from gptjax.data.tokenizers import Tokenizer
from gptjax.interop import huggingface
from gptjax.model import gpt, lora
from gptjax.runs.faults import told_of_storage
from gptjax.runs.log import file_system
from gptjax.training import checkpoint, patience, resume, sharding, tuning
from gptjax.training.integrity import DamagedCheckpoint
from gptjax.training.step import with_adapters

GENERATION, CHAT = huggingface.GENERATION, huggingface.SETTINGS  # the files' names are the same in a run
Found = TypeVar("Found")


class Source(NamedTuple):
    """A model with what its run knows of it; `step` is 0 of a model folder, and `run` its path."""

    cfg: Config
    tokenizer: Tokenizer
    params: dict  # the averaged ones where the run keeps an average, with its adapters merged in
    run: str
    step: int
    generation: dict[str, Any]  # generation_config.json of the model folder it came from; empty where there was none
    chat: dict[str, str]  # `chat_template` and what it calls `bos_token` and the like; empty where there is none


def open_run(path: str, on: Mesh | None = None) -> Source:
    """The weights that a path names, on a mesh or on this process's first device, wherever they were trained: those of
    a run's newest good checkpoint (its best one where it has `stop_patience`), of the one named, or of a model folder.

    A kernel that the run was forced to is not kept: this device may not have it. Raises BadInput."""
    if huggingface.is_model_folder(path):
        found = huggingface.open_model(pathlib.Path(path), functools.partial(placed, on=on))
        return Source(found.cfg, found.tokenizer, found.params, path.rstrip("/"), 0, found.generation, found.chat)
    found = chosen(path, functools.partial(open_step, on=on))
    if not found.cfg.lora.rank:
        return found
    return found._replace(params=lora.merged(found.params, found.cfg.lora))


def open_adapters(path: str) -> Source:
    """As `open_run`, but with the adapters beside the weights that they were trained for. Raises BadInput."""
    if huggingface.is_model_folder(path) or not chosen(path, config_of).lora.rank:
        raise BadInput(f"{path}: has no adapters; a run with lora.rank above 0 has")
    return chosen(path, functools.partial(open_step, on=None))


def config_of(run: str, step: int) -> Config:
    return config.from_dict(checkpoint.read_meta(f"{run}/checkpoints", step)["config"])


def open_step(run: str, step: int, on: Mesh | None) -> Source:
    """A checkpoint, adapters apart."""
    folder, cfg = f"{run}/checkpoints", config_of(run, step)
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, attention="auto"))
    shapes = jax.eval_shape(lambda: with_adapters(gpt.init(jax.random.key(0), cfg.model), cfg))
    structs = jax.tree.map(
        lambda leaf, at: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=at), shapes, placed(shapes, on=on)
    )
    trained, frozen = tuning.split(structs, cfg)
    fields = {"ema": trained, "params": frozen} if cfg.optim.ema_decay else {"params": structs}
    fields = {name: part for name, part in fields.items() if part}
    params = tree.joined(*checkpoint.restore_fields(folder, fields, step)[0].values())
    return Source(cfg, read_tokenizer(run), params, run, step, read_json(run, GENERATION), read_json(run, CHAT))


def placed(shapes: Any, *, on: Mesh | None) -> Any:
    """A tree of shardings for a tree of parameters' shapes."""
    here = SingleDeviceSharding(jax.local_devices()[0])
    return jax.tree.map(lambda _: here, shapes) if on is None else sharding.of_params(shapes, on)


def read_json(run: str, name: str) -> dict[str, Any]:
    """A file beside run.json; {} where there is none."""
    fs, root = file_system(run)
    path = f"{root}/{name}"
    return json.loads(fs.cat_file(path)) if fs.exists(path) else {}


def chosen(path: str, opened: Callable[[str, int], Found]) -> Found:
    """What `opened(run, step)` gives for the checkpoint that is named, or for the newest good one. Raises BadInput."""
    run, step = locate(path)
    there = checkpoint.steps(f"{run}/checkpoints")
    if step is not None and step not in there:
        raise BadInput(f"{path}: the run has no checkpoint {step}; it has {', '.join(map(str, there))}")
    if step is not None:
        return opened(run, step)
    found = checkpoint.newest_good(f"{run}/checkpoints", functools.partial(best_or, opened, run))
    if found is None:
        raise BadInput(f"{path}: has no checkpoint yet; `gptjax train --workdir={run}` makes one")
    return found


def best_or(opened: Callable[[str, int], Found], run: str, step: int) -> Found:
    """What `opened` gives for the best checkpoint that this one knows of, where the run looks for it and it is good;
    else for this one."""
    folder = f"{run}/checkpoints"
    best = patience.saved(checkpoint.read_meta(folder, step))
    if best is not None and best.step != step and best.step in checkpoint.steps(folder):
        try:
            return opened(run, best.step)
        except DamagedCheckpoint as error:
            print(f"gptjax: {error}", file=sys.stderr, flush=True)
    return opened(run, step)


def check_origin(cfg: Config, tokenizer: Tokenizer) -> None:
    """Raises BadInput where the weights that `init_from` names are not of the model and the tokenizer asked for."""
    model, fingerprint = described(cfg.init_from)
    resume.check_weights(model, cfg.model, origin=cfg.init_from)
    if fingerprint != tokenizer.fingerprint:
        raise BadInput(f"init_from={cfg.init_from}: its tokenizer is not this run's; {tokenizer_keys(cfg.init_from)}")


def tokenizer_keys(path: str) -> str:
    """What a run sets that is to have the tokenizer of what a path names."""
    if huggingface.is_model_folder(path):
        return f"set tokenizer.name=gpt2 tokenizer.path={path}"
    named = read_tokenizer(locate(path)[0]).name
    return f"set tokenizer.name={named}" + (f" tokenizer.path={locate(path)[0]}/tokenizer" if named != "bytes" else "")


def described(path: str) -> tuple[ModelConfig, str]:
    """The model and the tokenizer's fingerprint of what a path names, without its weights. Raises BadInput."""
    if huggingface.is_model_folder(path):
        return huggingface.described(pathlib.Path(path))
    saved = chosen(path, lambda run, step: checkpoint.read_meta(f"{run}/checkpoints", step))
    return config.from_dict(saved["config"]).model, saved["tokenizer"]


def write_tokenizer(tokenizer: Tokenizer, run: str) -> None:
    """Puts the tokenizer's files into RUN/tokenizer, local or remote."""
    fs, root = file_system(run)
    with told_of_storage(f"{run}/tokenizer"), tempfile.TemporaryDirectory() as folder:
        tokenizer.save(pathlib.Path(folder))
        fs.makedirs(f"{root}/tokenizer", exist_ok=True)
        for file in pathlib.Path(folder).iterdir():
            fs.pipe_file(f"{root}/tokenizer/{file.name}", file.read_bytes())


def write_chat(chat: dict[str, str], run: str) -> None:
    """Puts a chat template where `open_run` finds it; nothing where there is none."""
    if chat:
        fs, root = file_system(run)
        with told_of_storage(f"{run}/{CHAT}"):
            fs.pipe_file(f"{root}/{CHAT}", json.dumps(chat).encode())


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
    """The run directory and, where the path names one checkpoint in it, that step; or the model folder."""
    folder = pathlib.PurePosixPath(path.rstrip("/"))
    if folder.name.isdigit() and folder.parent.name == "checkpoints":
        return path.rstrip("/")[: -len(f"/checkpoints/{folder.name}")], int(folder.name)
    if "://" not in path and not (pathlib.Path(path) / "run.json").is_file() and not huggingface.is_model_folder(path):
        raise BadInput(f"{path}: not a run directory (it has no run.json) nor a model folder (it has no config.json)")
    return path.rstrip("/"), None
