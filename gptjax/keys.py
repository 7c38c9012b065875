"""Every key of a config, once: its type, the values it can take, and whether it may differ when a run is resumed."""

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Any


class BadInput(ValueError):
    """Something the user gave cannot be used; the message names the field or file and the nearest right value.

    Commands print it on one line and exit with 2: retrying cannot help.
    """


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The network's sizes, and how it is computed. configs/base.py explains every key, of the other sections too."""

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
    mup_base_width: int
    dtype: str
    attention: str
    scan: bool
    remat: str
    saved: tuple[str, ...]
    offloaded: tuple[str, ...]

    @property
    def d_head(self) -> int:
        """H, the width of a head."""
        return self.d_model // self.n_heads

    @property
    def wider(self) -> float:
        """How many times wider than the width that muP's rules start from; 1 in the standard parametrisation."""
        return self.d_model / self.mup_base_width if self.mup_base_width else 1.0

    @property
    def padded_vocab(self) -> int:
        """Rows of the embedding: `vocab_size` rounded up to a multiple of `pad_vocab_to`."""
        return -(-self.vocab_size // self.pad_vocab_to) * self.pad_vocab_to


@dataclasses.dataclass(frozen=True)
class TokenizerConfig:
    """What makes text tokens; `path` is empty where the kind needs none."""

    name: str
    path: str


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """What is trained on, and how documents or dialogs become rows."""

    corpora: tuple[str, ...]
    weights: tuple[float, ...]
    mask_documents: bool
    chat_template: str
    fill: str
    too_long: str
    cache: str

    @property
    def dialogs(self) -> bool:
        """Whether the corpora are examples to fine-tune on, or pairs of them."""
        return self.preferences or any(spec.startswith("dialogs:") for spec in self.corpora)

    @property
    def preferences(self) -> bool:
        """Whether the corpora are pairs of examples, of which one is preferred."""
        return any(spec.startswith("preferences:") for spec in self.corpora)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """What is added to the nats of the next token, and how much of the logits is held at once."""

    z_weight: float
    n_chunks: int


@dataclasses.dataclass(frozen=True)
class OptimConfig:
    """The optimizer, and its learning rate over the steps."""

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
class TuneConfig:
    """Which parameters are trained, at what multiple of the learning rate; empty, all of them at 1."""

    patterns: tuple[str, ...]
    rates: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class LoraConfig:
    """Adapters beside frozen weights (Hu et al. 2021); none where the rank is 0."""

    rank: int
    alpha: float
    matrices: str


@dataclasses.dataclass(frozen=True)
class DpoConfig:
    """Learning from pairs of answers (Rafailov et al. 2023), of which one is preferred."""

    beta: float


@dataclasses.dataclass(frozen=True)
class PrivacyConfig:
    """DP-SGD (Abadi et al. 2016): epsilon and delta are of one example more or less."""

    clip_norm: float
    noise_multiplier: float
    epsilon: float
    delta: float
    max_batch: int
    method: str

    @property
    def on(self) -> bool:
        """Whether the gradients of examples are clipped, without which no noise is enough."""
        return self.clip_norm > 0


@dataclasses.dataclass(frozen=True)
class SpikeConfig:
    """What a spike of the loss is, and what is done about it (training/spikes.py)."""

    action: str
    threshold: float
    window: int


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    """Devices along the mesh's four names; their product is that of all devices."""

    replica: int
    data: int
    tensor: int
    sequence: int


@dataclasses.dataclass(frozen=True)
class LogConfig:
    """Where the lines of metrics.jsonl go besides; an empty project is nowhere."""

    tensorboard: bool
    wandb_project: str
    trackio_project: str


@dataclasses.dataclass(frozen=True)
class Config:
    """All that a run is asked for. `load` of config.py makes it, and nothing changes it."""

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
    stop_patience: int
    stop_metric: str
    stuck_after_s: float
    profile_steps: tuple[int, ...]
    model: ModelConfig
    tokenizer: TokenizerConfig
    data: DataConfig
    loss: LossConfig
    optim: OptimConfig
    tune: TuneConfig
    lora: LoraConfig
    dpo: DpoConfig
    privacy: PrivacyConfig
    spike: SpikeConfig
    mesh: MeshConfig
    log: LogConfig

    @property
    def batch_size(self) -> int:
        """Sequences in a step's batch, over all devices and accumulated parts; of a private run some are empty."""
        return self.privacy.max_batch if self.privacy.on else self.batch_tokens // self.model.context

    @property
    def mean_rows(self) -> int:
        """Sequences that a step is made of, of a private run on average."""
        return self.batch_tokens // self.model.context


SAVABLE = ("residual_in", "mixed_heads", "attn_out", "mlp_hidden", "mlp_out")  # points of a layer
OFF = {"qk_norm": False, "parallel": False, "logit_softcap": 0.0}  # of model.*: what GPT-2 and Llama do without
GATES = {"gelu": 1, "gelu_exact": 1, "relu": 1, "swiglu": 2, "relu2": 1}  # of each model.mlp: what its activation takes
MOMENTS = {"adamw": 2, "adafactor": 1, "lion": 1, "muon": 1, "sgd": 1}  # of each optimizer, as large as the parameters
CHOICES = {
    "model.position": ("learned", "rope"), "model.norm": ("layer", "rms"), "model.mlp": tuple(GATES),
    "model.dtype": ("float32", "bfloat16"), "model.remat": ("none", "dots", "full"),
    "model.attention": ("auto", "reference", "blockwise", "splash", "cudnn", "ring"),
    "model.saved": SAVABLE, "model.offloaded": SAVABLE,
    "tokenizer.name": ("bytes", "characters", "gpt2", "bpe", "sentencepiece"),
    "data.fill": ("budget", "buckets", "fixed"), "data.too_long": ("drop", "cut_prompt", "cut_answer", "refuse"),
    "optim.name": tuple(MOMENTS), "optim.momentum_dtype": ("float32", "bfloat16"),
    "optim.schedule": ("cosine", "linear", "wsd", "inverse_sqrt", "constant"),
    "privacy.method": ("vmap", "ghost"), "spike.action": ("none", "log", "skip", "rollback"),
}  # fmt: skip
AT_LEAST = {  # the smallest value that a number takes, where it is not 0
    "n_steps": 1, "batch_tokens": 1, "accumulate": 1, "log_every": 1, "eval_tokens": 1, "keep_last": 1,
    "model.vocab_size": 2, "model.context": 1, "model.n_layers": 1, "model.d_model": 1, "model.n_heads": 1,
    "model.n_kv_heads": 1, "model.d_hidden": 1, "model.rope_base": 1, "model.pad_vocab_to": 1, "loss.n_chunks": 1,
    "spike.window": 8, "mesh.replica": -1, "mesh.data": -1, "mesh.tensor": -1, "mesh.sequence": -1,
}  # fmt: skip
FREE_TEXT = ("note", "sample_prompt")  # may hold line ends
BASE_WORDS = {  # of configs/base.py
    "name": "base", "sample_prompt": "\n", "data.cache": "~/.cache/gptjax", "lora.matrices": "blocks/attn/w_[qv]",
}  # fmt: skip
BELOW_ONE = ("model.dropout", "optim.b1", "optim.b2", "optim.ema_decay", "privacy.delta")
AT_MOST = {  # the largest value a key takes; sizes are those that no machine holds, and their products fit 63 bits
    "seed": 2**32 - 1,  # JAX drops the higher bits
    "batch_tokens": 2**28, "model.vocab_size": 2**31 - 1, "model.context": 2**27, "model.n_layers": 10_000,
    "model.d_model": 2**20, "model.d_hidden": 2**24, "optim.final_lr_fraction": 1, "optim.decay_fraction": 1,
}  # fmt: skip
LARGEST_INT = 2**31 - 1  # of every other whole number: steps are counted in int32 on the device

# What may differ when a run is resumed, and is logged. The optimizer needs --change_optimizer; the rest never may.
FREE_ON_RESUME = (
    "name", "note", "tags", "n_steps", "accumulate", "*_every", "eval_tokens", "keep_last", "sample_*", "stop_after_s",
    "stop_patience", "stuck_after_s", "profile_steps", "mesh.*", "log.*", "spike.*", "data.cache", "model.attention",
    "model.remat", "model.saved", "model.offloaded", "model.scan", "loss.n_chunks", "privacy.method",
)  # fmt: skip
OPTIMIZER_ON_RESUME = ("optim.*", "tune.*", "dpo.*", "loss.z_weight")


def flatten(values: Mapping, prefix: str = "") -> dict[str, Any]:
    """{"optim.peak_lr": 3e-4, ...}"""
    flat = {}
    for key, value in values.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {prefix + key: value}
    return flat


def resume_rule(key: str) -> str:
    """ "free", "optimizer" (needs a flag) or "never": whether a key may differ when a run is resumed."""
    if any(fnmatch.fnmatchcase(key, pattern) for pattern in FREE_ON_RESUME):
        return "free"
    return "optimizer" if any(fnmatch.fnmatchcase(key, pattern) for pattern in OPTIMIZER_ON_RESUME) else "never"
