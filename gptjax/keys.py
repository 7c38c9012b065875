"""Every key of a config, once: its type, the values it can take, and whether it may differ when a run is resumed."""

import dataclasses
import difflib
import fnmatch
import math
from collections.abc import Mapping
from typing import Any


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
    saved: tuple[str, ...]
    offloaded: tuple[str, ...]

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
    momentum_dtype: str
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


SAVABLE = ("residual_in", "mixed_heads", "attn_out", "mlp_hidden", "mlp_out")  # points of a layer
CHOICES = {
    "model.position": ("learned", "rope"),
    "model.norm": ("layer", "rms"),
    "model.mlp": ("gelu", "gelu_exact", "relu", "swiglu", "relu2"),
    "model.dtype": ("float32", "bfloat16"),
    "model.attention": ("auto", "reference", "blockwise", "splash", "cudnn", "ring"),
    "model.remat": ("none", "dots", "full"),
    "model.saved": SAVABLE,
    "model.offloaded": SAVABLE,
    "tokenizer.name": ("bytes", "characters", "gpt2", "bpe", "sentencepiece"),
    "optim.name": ("adamw", "adafactor", "lion", "muon", "sgd"),
    "optim.momentum_dtype": ("float32", "bfloat16"),
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

# What may differ when a run is resumed, and is logged. The optimizer needs --change_optimizer; the rest never may.
FREE_ON_RESUME = (
    "name", "note", "tags", "n_steps", "accumulate", "*_every", "eval_tokens", "keep_last", "sample_*",
    "stop_after_s", "profile_steps", "mesh.*", "log.*", "data.cache",
    "model.attention", "model.remat", "model.saved", "model.offloaded", "model.scan", "loss.n_chunks",
)  # fmt: skip
OPTIMIZER_ON_RESUME = ("optim.*", "loss.z_weight")


def flatten(values: Mapping, prefix: str = "") -> dict[str, Any]:
    """{"optim.peak_lr": 3e-4, ...}"""
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def validate(cfg: Config) -> None:
    """Raises BadInput, naming the key and the nearest right value, for what no run could use."""
    flat = flatten(dataclasses.asdict(cfg))
    for key, value in flat.items():
        numbers = value if isinstance(value, tuple) else (value,)
        if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
            raise BadInput(f"{key}={value}: must be a finite number")
    for key, allowed in CHOICES.items():
        for value in flat[key] if isinstance(flat[key], tuple) else (flat[key],):
            if value not in allowed:
                near = difflib.get_close_matches(str(value), allowed, n=1, cutoff=0.0)
                raise BadInput(f"{key}={value!r}: did you mean {near[0]!r}? It is one of {', '.join(allowed)}")
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
        raise BadInput(f"model.d_model={m.d_model} is not a multiple of model.n_heads={m.n_heads}; try {near}")
    if m.n_heads % m.n_kv_heads:
        near = max(k for k in range(1, m.n_kv_heads + 1) if m.n_heads % k == 0)
        raise BadInput(f"model.n_kv_heads={m.n_kv_heads} does not divide model.n_heads={m.n_heads}; try {near}")
    if m.position == "rope" and m.d_head % 2:
        raise BadInput(f"model.position='rope' needs an even head width, got d_model/n_heads={m.d_head}")
    if m.remat == "none" and (m.saved or m.offloaded):
        key = "saved" if m.saved else "offloaded"
        raise BadInput(f"model.{key}: model.remat='none' keeps everything; try model.remat='full'")
    if twice := sorted(set(m.saved) & set(m.offloaded)):
        raise BadInput(f"model.offloaded={m.offloaded}: {twice[0]} is in model.saved too; leave it in one")
    if cfg.batch_tokens % (m.context * cfg.accumulate):
        unit = m.context * cfg.accumulate
        near = max(unit, round(cfg.batch_tokens / unit) * unit)
        raise BadInput(
            f"batch_tokens={cfg.batch_tokens} is not a multiple of model.context x accumulate={unit}; try {near}"
        )
    if m.context % cfg.loss.n_chunks:
        near = max(c for c in range(1, cfg.loss.n_chunks + 1) if m.context % c == 0)
        raise BadInput(f"loss.n_chunks={cfg.loss.n_chunks} does not divide model.context={m.context}; try {near}")
    if len(cfg.data.weights) != len(cfg.data.corpora) or not cfg.data.corpora:
        raise BadInput(f"data.weights has {len(cfg.data.weights)} entries for {len(cfg.data.corpora)} data.corpora")
    if min(cfg.data.weights) <= 0:
        raise BadInput(f"data.weights={cfg.data.weights}: every weight must be above 0")
    if cfg.optim.warmup_steps >= cfg.n_steps:
        raise BadInput(f"optim.warmup_steps={cfg.optim.warmup_steps} must be below n_steps={cfg.n_steps}")
    if sizes.count(-1) > 1 or 0 in sizes:
        raise BadInput(f"mesh={sizes}: sizes are above 0, and at most one may be -1 (inferred)")
    if len(cfg.profile_steps) not in (0, 2) or list(cfg.profile_steps) != sorted(cfg.profile_steps):
        raise BadInput(f"profile_steps={cfg.profile_steps}: give the first and last step, or nothing")
    if min(cfg.profile_steps, default=0) < 0:
        raise BadInput(f"profile_steps={cfg.profile_steps}: steps are at least 0")


def resume_rule(key: str) -> str:
    """ "free", "optimizer" (needs a flag) or "never": whether a key may differ when a run is resumed."""
    if any(fnmatch.fnmatchcase(key, pattern) for pattern in FREE_ON_RESUME):
        return "free"
    return "optimizer" if any(fnmatch.fnmatchcase(key, pattern) for pattern in OPTIMIZER_ON_RESUME) else "never"
