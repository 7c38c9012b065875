"""A model folder of Hugging Face, opened: config.json, safetensors, a tokenizer, generation_config.json."""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

from gptjax import config
from gptjax.config import BadInput, Config, ModelConfig, TokenizerConfig
from gptjax.data import subwords, tokenizers
from gptjax.data.tokenizers import Tokenizer
from gptjax.interop import options, safetensors_file, weights
from gptjax.interop.options import Options

GENERATION = "generation_config.json"
SETTINGS = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"  # which goes before the one in SETTINGS
OURS = "gptjax_tokenizer"  # the folder of a tokenizer that gptjax exported, as it was


class Model(NamedTuple):
    cfg: Config
    tokenizer: Tokenizer
    params: dict
    generation: dict[str, Any]
    chat: dict[str, str]


def is_model_folder(path: str | pathlib.Path) -> bool:
    """Whether it holds a config.json and is no run, whose run.json would say more."""
    folder = pathlib.Path(path)
    return (folder / "config.json").is_file() and not (folder / "run.json").is_file()


def open_model(folder: pathlib.Path, places: Callable[[Any], Any]) -> Model:
    """The model of a folder; `places` gives the shardings of a tree of shapes. Raises BadInput."""
    asked = options.read(folder)
    generation = options.read_json(folder / GENERATION) if (folder / GENERATION).is_file() else {}
    tokenizer = read_tokenizer(folder, asked)
    cfg = run_config(asked.model, TokenizerConfig(tokenizer.name, str(folder)), folder.name)
    tensors = safetensors_file.open_folder(folder)
    params = weights.read(tensors, asked, places(weights.shapes_of(asked.model)))
    return Model(cfg, tokenizer, params, generation, read_chat(folder))


def described(folder: pathlib.Path) -> tuple[ModelConfig, str]:
    """The model of a folder and its tokenizer's fingerprint, without the weights. Raises BadInput."""
    asked = options.read(folder)
    return asked.model, read_tokenizer(folder, asked).fingerprint


def read_tokenizer(folder: pathlib.Path, asked: Options) -> Tokenizer:
    """The folder's tokenizer. It may have fewer entries than the model, whose other rows then stand for no text."""
    if (folder / OURS).is_dir():
        found = tokenizers.load(folder / OURS)
    else:
        try:
            found = subwords.read_gpt2(str(folder))
        except BadInput as error:
            raise BadInput(f"{folder}: {error}") from error
    vocab_size, ends = asked.model.vocab_size, options.read_json(folder / "config.json").get("eos_token_id")
    if found.vocab_size > vocab_size:
        raise BadInput(f"{folder}: its tokenizer has {found.vocab_size} entries, but vocab_size={vocab_size}")
    if ends is not None and ends not in (found.end_of_text, [found.end_of_text]):
        raise BadInput(
            f"{folder}/config.json: eos_token_id={ends}, but the tokenizer's eos_token is {found.end_of_text}"
        )
    return found


def read_chat(folder: pathlib.Path) -> dict[str, str]:
    """The chat template of a folder and the tokens that it may name; {} where there is none. Raises BadInput."""
    settings = options.read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    template = settings.get("chat_template")
    try:
        if (folder / TEMPLATE).is_file():
            template = (folder / TEMPLATE).read_text(encoding="utf-8")
        elif isinstance(template, list):  # of several, by name
            template = {one["name"]: one["template"] for one in template}.get("default")
        if template is None:
            return {}
        tokens = {name: settings.get(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
        texts = {name: token["content"] if isinstance(token, dict) else token for name, token in tokens.items()}
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise BadInput(f"{folder}: its chat template cannot be read ({error})") from error
    found = {"chat_template": template, **{name: text for name, text in texts.items() if text is not None}}
    if wrong := [name for name, text in found.items() if not isinstance(text, str)]:
        raise BadInput(f"{folder / SETTINGS}: {wrong[0]} is not a string")
    return found


def run_config(model: ModelConfig, tokenizer: TokenizerConfig, name: str) -> Config:
    """The config of a run that holds given weights and was never trained: what no weights say takes plain values."""
    values = {
        "name": name, "note": "", "tags": (), "seed": 0, "init_from": "",
        "n_steps": 1, "batch_tokens": model.context, "accumulate": 1,
        "log_every": 1, "eval_every": 0, "eval_tokens": model.context, "save_every": 0, "keep_last": 1, "keep_every": 0,
        "sample_every": 0, "sample_prompt": "\n", "sample_tokens": 1, "stop_after_s": 0.0, "stuck_after_s": 0.0,
        "stop_patience": 0, "stop_metric": "eval/nll", "profile_steps": (),
        "spike": {"action": "none", "threshold": 6.0, "window": 128},
        "data": {"corpora": ("unknown",), "weights": (1.0,), "mask_documents": True,
            "chat_template": "", "fill": "budget", "too_long": "drop", "cache": "~/.cache/gptjax"},
        "loss": {"z_weight": 0.0, "n_chunks": 1},
        "optim": {
            "name": "adamw", "peak_lr": 0.0, "schedule": "constant", "warmup_steps": 0, "final_lr_fraction": 1.0,
            "decay_fraction": 0.0, "b1": 0.9, "momentum_dtype": "float32", "b2": 0.95, "eps": 1e-8,
            "weight_decay": 0.0, "clip_norm": 0.0, "ema_decay": 0.0,
        },
        "tune": {"patterns": (), "rates": ()},
        "lora": {"rank": 0, "alpha": 16.0, "matrices": "blocks/attn/w_[qv]"},
        "dpo": {"beta": 0.1},
        "privacy": {"clip_norm": 0.0, "noise_multiplier": 0.0, "epsilon": 0.0, "delta": 1e-5, "max_batch": 0,
            "method": "vmap"},
        "mesh": {"replica": 1, "data": -1, "tensor": 1, "sequence": 1},
        "log": {"tensorboard": False, "wandb_project": "", "trackio_project": ""},
    }  # fmt: skip
    return config.from_dict(values | {"model": vars(model), "tokenizer": vars(tokenizer)})
