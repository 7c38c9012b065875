"""Every key of a config, once, with its type; a config file and its overrides frozen before any code sees them.

A config file is Python with a `get_config()` that returns a locked `ml_collections.ConfigDict` (configs/base.py lists
every key with a comment). It is the only code that gptjax executes on a user's behalf.
"""

import ast
import dataclasses
import difflib
import fnmatch
import importlib.util
import math
import pathlib
import sys
import types
import typing
from collections.abc import Mapping, Sequence


class BadInput(ValueError):
    """Something the user gave cannot be used; the message names the field or file and the nearest right value.

    Commands print it on one line and exit with 2: retrying cannot help.
    """


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    vocab_size: int
    context: int
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_hidden: int
    position: str
    rope_base: float
    norm: str
    norm_eps: float
    mlp: str
    bias: bool
    qk_norm: bool
    tied: bool
    parallel: bool
    logit_softcap: float
    dropout: float
    pad_vocab_to: int
    dtype: str
    attention: str
    scan: bool
    remat: str

    @property
    def d_head(self) -> int:
        return self.d_model // self.n_heads

    @property
    def padded_vocab(self) -> int:
        """Rows of the embedding: `vocab_size` rounded up to a multiple of `pad_vocab_to`."""
        return -(-self.vocab_size // self.pad_vocab_to) * self.pad_vocab_to


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    name: str
    path: str


@dataclasses.dataclass(frozen=True)
class DataConfig:
    corpora: tuple[str, ...]
    weights: tuple[float, ...]
    mask_documents: bool
    cache: str


@dataclasses.dataclass(frozen=True)
class LossConfig:
    z_weight: float
    n_chunks: int


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    name: str
    peak_lr: float
    schedule: str
    warmup_steps: int
    final_lr_fraction: float
    decay_fraction: float
    b1: float
    b2: float
    eps: float
    weight_decay: float
    clip_norm: float
    ema_decay: float


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    replica: int
    data: int
    tensor: int
    sequence: int


@dataclasses.dataclass(frozen=True)
class LogConfig:
    tensorboard: bool
    wandb_project: str
    trackio_project: str


@dataclasses.dataclass(frozen=True)
class Config:
    name: str
    note: str
    tags: tuple[str, ...]
    seed: int
    init_from: str
    n_steps: int
    batch_tokens: int
    accumulate: int
    log_every: int
    eval_every: int
    eval_tokens: int
    save_every: int
    keep_last: int
    keep_every: int
    sample_every: int
    sample_prompt: str
    sample_tokens: int
    stop_after_s: float
    profile_steps: tuple[int, ...]
    model: ModelConfig
    tokenizer: TokenizerConfig
    data: DataConfig
    loss: LossConfig
    optim: OptimConfig
    mesh: MeshConfig
    log: LogConfig

    @property
    def batch_size(self) -> int:
        """Sequences in a step's batch, over all devices and accumulated parts."""
        return self.batch_tokens // self.model.context


CHOICES = {
    "model.position": ("learned", "rope"),
    "model.norm": ("layer", "rms"),
    "model.mlp": ("gelu", "swiglu", "relu2"),
    "model.dtype": ("float32", "bfloat16"),
    "model.attention": ("reference",),
    "model.remat": ("none", "dots", "full"),
    "tokenizer.name": ("bytes", "characters", "gpt2", "bpe", "sentencepiece"),
    "optim.name": ("adamw", "adafactor", "lion", "muon", "sgd"),
    "optim.schedule": ("cosine", "linear", "wsd", "inverse_sqrt", "constant"),
}
AT_LEAST = {  # the smallest value a key takes
    "seed": 0, "n_steps": 1, "batch_tokens": 1, "accumulate": 1,
    "log_every": 1, "eval_every": 0, "eval_tokens": 1, "save_every": 0, "keep_last": 1, "keep_every": 0,
    "sample_every": 0, "sample_tokens": 1, "stop_after_s": 0,
    "model.vocab_size": 2, "model.context": 1, "model.n_layers": 1, "model.d_model": 1, "model.n_heads": 1,
    "model.n_kv_heads": 1, "model.d_hidden": 1, "model.rope_base": 1, "model.norm_eps": 0, "model.logit_softcap": 0,
    "model.dropout": 0, "model.pad_vocab_to": 1, "loss.z_weight": 0, "loss.n_chunks": 1,
    "optim.peak_lr": 0, "optim.warmup_steps": 0, "optim.final_lr_fraction": 0, "optim.decay_fraction": 0,
    "optim.b1": 0, "optim.b2": 0, "optim.eps": 0, "optim.weight_decay": 0, "optim.clip_norm": 0,
    "optim.ema_decay": 0, "mesh.replica": -1, "mesh.data": -1, "mesh.tensor": -1, "mesh.sequence": -1,
}  # fmt: skip
BELOW_ONE = ("model.dropout", "optim.b1", "optim.b2", "optim.ema_decay")
AT_MOST_ONE = ("optim.final_lr_fraction", "optim.decay_fraction")

# What may differ when a run is resumed (and is logged). `optim.*` and the z-loss need --change_optimizer; the rest never.
FREE_ON_RESUME = (
    "name", "note", "tags", "n_steps", "accumulate", "*_every", "eval_tokens", "keep_last", "sample_*",
    "stop_after_s", "profile_steps", "mesh.*", "log.*", "data.cache",
    "model.attention", "model.remat", "model.scan", "loss.n_chunks",
)  # fmt: skip
OPTIMIZER_ON_RESUME = ("optim.*", "loss.z_weight")


def load(file: str | pathlib.Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a file, with `key.path=value` overrides applied in order.

    Raises BadInput for a missing file, an unknown key (with its nearest neighbour), a wrong type, an impossible value.
    """
    values = read_file(pathlib.Path(file))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise BadInput(f"--config.{override}: expected --config.{override}=VALUE")
        section, path = values, key.split(".")
        for part in path[:-1]:
            section = section.get(part)
            if not isinstance(section, dict):
                raise unknown_key(key, flatten(values))
        if path[-1] not in section or isinstance(section[path[-1]], dict):
            raise unknown_key(key, flatten(values))
        section[path[-1]] = parse(key, text, key_types()[key])
    return from_dict(values)


def read_file(file: pathlib.Path) -> dict:
    """The nested dict that `get_config()` of a config file returns."""
    if not file.is_file():
        folder = file.parent if file.parent.is_dir() else pathlib.Path("configs")
        near = difflib.get_close_matches(file.name, [p.name for p in folder.glob("*.py")], n=1, cutoff=0.4)
        raise BadInput(
            f"--config={file}: no such file" + (f"; did you mean {folder / near[0]}?" if near else "")
        )
    spec = importlib.util.spec_from_file_location(f"gptjax_config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise BadInput(f"--config={file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(pathlib.Path.cwd()))  # so that a config can say `from configs import base`
    try:
        spec.loader.exec_module(module)
        values = module.get_config()
    except (AttributeError, KeyError, TypeError, ValueError, ImportError, SyntaxError) as error:
        raise BadInput(f"--config={file}: {' '.join(str(error).split())}") from error
    finally:
        sys.path.pop(0)
    return values.to_dict()


def from_dict(values: Mapping) -> Config:
    """The frozen config of a nested dict (a file's, or the `config` of a run.json); raises BadInput."""
    cfg = freeze(Config, values, "")
    validate(cfg)
    return cfg


def to_dict(cfg: Config) -> dict:
    """The nested dict of a config, as a file would write it."""
    return dataclasses.asdict(cfg)


def flatten(values: Mapping, prefix: str = "") -> dict[str, object]:
    """{"optim.peak_lr": 3e-4, ...}"""
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def key_types() -> dict[str, type]:
    """The type of every key, by its dotted path."""

    def types_of(kind, prefix):
        for name, hint in typing.get_type_hints(kind).items():
            yield from (
                types_of(hint, f"{prefix}{name}.")
                if dataclasses.is_dataclass(hint)
                else [(prefix + name, hint)]
            )

    return dict(types_of(Config, ""))


def parse(key: str, text: str, kind: type):
    """A value of the key's type from the command line; tuples are comma-separated or Python literals."""
    element = typing.get_args(kind)[0] if isinstance(kind, types.GenericAlias) else None
    if element is not None:
        try:
            items = ast.literal_eval(text) if text[:1] in "([" else [item for item in text.split(",") if item]
            return tuple(parse(key, str(item), element) for item in items)
        except (SyntaxError, TypeError, ValueError) as error:
            raise BadInput(f"{key}={text}: not a list of {element.__name__}") from error
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        if kind is int and not text.lstrip("+-").isdigit():
            number = float(text)
            if number != int(number):
                raise ValueError
            return int(number)  # 1e6 and 65_536 are integers too
        return kind(text)
    except (KeyError, ValueError, OverflowError) as error:
        raise BadInput(
            f"{key}={text}: not {'true or false' if kind is bool else f'a valid {kind.__name__}'}"
        ) from error


def freeze(kind: type, values: Mapping, prefix: str):
    """A dataclass of the values; raises BadInput for unknown and missing keys and for wrong types."""
    hints = typing.get_type_hints(kind)
    if extra := [key for key in values if key not in hints]:
        raise unknown_key(prefix + extra[0], key_types())
    if missing := [key for key in hints if key not in values]:
        raise BadInput(f"the config lacks {prefix}{missing[0]}; configs/base.py lists every key")
    return kind(**{key: checked(hint, values[key], prefix + key) for key, hint in hints.items()})


def checked(hint, value, key: str):
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, Mapping):
            raise BadInput(f"{key} is a section, not {value!r}")
        return freeze(hint, value, key + ".")
    if isinstance(hint, types.GenericAlias):
        if not isinstance(value, list | tuple):
            raise BadInput(f"{key}={value!r}: expected a tuple")
        return tuple(checked(typing.get_args(hint)[0], item, key) for item in value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise BadInput(f"{key}={value!r}: expected {hint.__name__}, got {type(value).__name__}")
    return value


def unknown_key(key: str, known: typing.Iterable[str]) -> BadInput:
    known = list(known)
    last = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = last or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return BadInput(
        f"config has no key {key}; "
        + (f"did you mean {near[0]}?" if near else "configs/base.py lists every key")
    )


def validate(cfg: Config) -> None:
    """Raises BadInput, naming the key and the nearest right value, for what no run could use."""
    flat = flatten(to_dict(cfg))
    for key, value in flat.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{key}={value}: must be a finite number")
    for key, allowed in CHOICES.items():
        if flat[key] not in allowed:
            near = difflib.get_close_matches(str(flat[key]), allowed, n=1, cutoff=0.0)
            raise BadInput(
                f"{key}={flat[key]!r}: did you mean {near[0]!r}? It is one of {', '.join(allowed)}"
            )
    for key, least in AT_LEAST.items():
        if flat[key] < least:
            raise BadInput(f"{key}={flat[key]}: must be at least {least}")
    for key in BELOW_ONE:
        if flat[key] >= 1:
            raise BadInput(f"{key}={flat[key]}: must be below 1")
    for key in AT_MOST_ONE:
        if flat[key] > 1:
            raise BadInput(f"{key}={flat[key]}: must be at most 1")
    validate_sizes(cfg)


def validate_sizes(cfg: Config) -> None:
    """The part of `validate` that holds several keys against each other."""
    m, sizes = cfg.model, dataclasses.astuple(cfg.mesh)
    if m.d_model % m.n_heads:
        near = max(m.n_heads, round(m.d_model / m.n_heads) * m.n_heads)
        raise BadInput(
            f"model.d_model={m.d_model} is not a multiple of model.n_heads={m.n_heads}; try {near}"
        )
    if m.n_heads % m.n_kv_heads:
        near = max(k for k in range(1, m.n_kv_heads + 1) if m.n_heads % k == 0)
        raise BadInput(
            f"model.n_kv_heads={m.n_kv_heads} does not divide model.n_heads={m.n_heads}; try {near}"
        )
    if m.position == "rope" and m.d_head % 2:
        raise BadInput(f"model.position='rope' needs an even head width, got d_model/n_heads={m.d_head}")
    if cfg.batch_tokens % (m.context * cfg.accumulate):
        unit = m.context * cfg.accumulate
        near = max(unit, round(cfg.batch_tokens / unit) * unit)
        raise BadInput(
            f"batch_tokens={cfg.batch_tokens} is not a multiple of model.context x accumulate={unit}; try {near}"
        )
    if m.context % cfg.loss.n_chunks:
        near = max(c for c in range(1, cfg.loss.n_chunks + 1) if m.context % c == 0)
        raise BadInput(
            f"loss.n_chunks={cfg.loss.n_chunks} does not divide model.context={m.context}; try {near}"
        )
    if len(cfg.data.weights) != len(cfg.data.corpora) or not cfg.data.corpora:
        raise BadInput(
            f"data.weights has {len(cfg.data.weights)} entries for {len(cfg.data.corpora)} data.corpora"
        )
    if min(cfg.data.weights) <= 0:
        raise BadInput(f"data.weights={cfg.data.weights}: every weight must be above 0")
    if cfg.optim.warmup_steps >= cfg.n_steps:
        raise BadInput(f"optim.warmup_steps={cfg.optim.warmup_steps} must be below n_steps={cfg.n_steps}")
    if sizes.count(-1) > 1 or 0 in sizes:
        raise BadInput(f"mesh={sizes}: sizes are above 0, and at most one may be -1 (inferred)")
    if len(cfg.profile_steps) not in (0, 2):
        raise BadInput(f"profile_steps={cfg.profile_steps}: give the first and last step, or nothing")


def resume_rule(key: str) -> str:
    """ "free", "optimizer" (needs a flag) or "never": whether a key may differ when a run is resumed."""
    if any(fnmatch.fnmatchcase(key, pattern) for pattern in FREE_ON_RESUME):
        return "free"
    return (
        "optimizer" if any(fnmatch.fnmatchcase(key, pattern) for pattern in OPTIMIZER_ON_RESUME) else "never"
    )
