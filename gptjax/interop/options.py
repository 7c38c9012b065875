"""config.json of a model folder, read into a ModelConfig and written from one.

Every option that changes a number is honoured or refused by its name; so is one that this file has never heard of.
"""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from gptjax.config import BadInput, ModelConfig
from gptjax.keys import OFF

PAD_VOCAB_TO = 128  # as configs/base.py has it, so that `init_from` fits
ACTIVATIONS = {  # activation_function: model.mlp; the first name of each is the one written
    "gelu_new": "gelu", "gelu_fast": "gelu", "gelu_pytorch_tanh": "gelu", "gelu_accurate": "gelu",
    "gelu": "gelu_exact", "gelu_python": "gelu_exact", "relu": "relu", "relu2": "relu2",
}  # fmt: skip
GPT2 = {  # what is read, and what a missing option means
    "vocab_size": 50_257, "n_positions": 1024, "n_embd": 768, "n_layer": 12, "n_head": 12, "n_inner": None,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "tie_word_embeddings": True,
    "scale_attn_weights": True, "scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False,
    "resid_pdrop": 0.1, "embd_pdrop": 0.1, "attn_pdrop": 0.1,
}  # fmt: skip
LLAMA = {
    "vocab_size": 32_000, "max_position_embeddings": 2048, "hidden_size": 4096, "intermediate_size": 11_008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": None, "head_dim": None,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "rope_theta": 10_000.0,
    "rope_scaling": None, "rope_parameters": None, "attention_bias": False, "mlp_bias": False,
    "attention_dropout": 0.0,
}  # fmt: skip
# Options that change no number of this model's: how it was made, how it is trained, sampled from or labelled.
# reorder_and_upcast_attn asks for scores in float32, which they always are here.
HARMLESS = set(
    """architectures model_type _name_or_path name_or_path transformers_version torch_dtype dtype initializer_range
    use_cache n_ctx n_special predict_special_tokens task_specific_params bos_token_id eos_token_id pad_token_id
    unk_token_id sep_token_id id2label label2id num_labels return_dict tokenizer_class prefix finetuning_task
    problem_type output_attentions output_hidden_states output_scores return_dict_in_generate do_sample max_length
    min_length max_new_tokens temperature top_k top_p typical_p repetition_penalty length_penalty no_repeat_ngram_size
    encoder_no_repeat_ngram_size bad_words_ids num_beams num_beam_groups num_return_sequences diversity_penalty
    early_stopping remove_invalid_values gradient_checkpointing reorder_and_upcast_attn pretraining_tp summary_type
    summary_use_proj summary_activation summary_proj_to_labels summary_first_dropout language license _num_labels
    output_past cls_token_id mask_token_id decoder_start_token_id forced_bos_token_id forced_eos_token_id
    chunk_size_feed_forward _attn_implementation _attn_implementation_autoset""".split()
)
ARCHITECTURES = {
    "gpt2": ("GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel"),
    "llama": ("LlamaForCausalLM", "LlamaModel"),
}


class Options(NamedTuple):
    """What config.json says."""

    family: str
    model: ModelConfig
    scale_by_head: bool = True  # scores are divided by sqrt(H), as ours are
    scale_by_layer: bool = False  # and by 1 + the layer


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """The object that a file holds; BadInput, with the path, where it cannot be read or holds none."""
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: is not JSON ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(found, dict):
        raise BadInput(f"{path}: is not a JSON object")
    return found


def read(folder: pathlib.Path) -> Options:
    """The options of a model folder; raises BadInput, naming the option, for a model that ours cannot compute."""
    path = folder / "config.json"
    given = read_json(path)
    try:
        family = given.get("model_type")
        if family not in ARCHITECTURES:
            raise BadInput(f"model_type={family!r}: gptjax reads {' and '.join(ARCHITECTURES)}")
        for key in ("auto_map", "quantization_config"):
            if key in given:
                raise BadInput(f"{key}: the model needs code of its own; gptjax reads plain {family} in float types")
        for name in given.get("architectures") or []:
            if name not in ARCHITECTURES[family]:
                raise BadInput(f"architectures={name!r}: is not a plain {family} language model")
        defaults, make = {"gpt2": (GPT2, of_gpt2), "llama": (LLAMA, of_llama)}[family]
        for key, value in given.items():
            if value and key not in defaults and key not in HARMLESS:
                raise BadInput(
                    f"{key}={str(value)[:60]}: gptjax does not know this option of {family}; "
                    "if it changes no number, take it out of config.json"
                )
        return make(defaults | {key: value for key, value in given.items() if key in defaults})
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def of_gpt2(values: Mapping[str, Any]) -> Options:
    demand(values, "add_cross_attention", False)
    activation = values["activation_function"]
    if activation not in ACTIVATIONS:
        raise BadInput(f"activation_function={activation!r}: gptjax has {', '.join(ACTIVATIONS)}")
    width, dropouts = whole(values, "n_embd"), {values[f"{place}_pdrop"] for place in ("resid", "embd", "attn")}
    model = model_config(
        vocab_size=whole(values, "vocab_size"),
        context=whole(values, "n_positions"),
        n_layers=whole(values, "n_layer"),
        d_model=width,
        n_heads=whole(values, "n_head"),
        n_kv_heads=whole(values, "n_head"),
        d_hidden=4 * width if values["n_inner"] is None else whole(values, "n_inner"),
        position="learned",
        rope_base=10_000.0,  # unused; as configs/base.py has it
        norm="layer",
        norm_eps=number(values, "layer_norm_epsilon"),
        mlp=ACTIVATIONS[activation],
        bias=True,
        tied=flag(values, "tie_word_embeddings"),
        dropout=number(values, "resid_pdrop") if len(dropouts) == 1 else 0.0,
    )
    return Options("gpt2", model, flag(values, "scale_attn_weights"), flag(values, "scale_attn_by_inverse_layer_idx"))


def of_llama(values: Mapping[str, Any]) -> Options:
    for key, only in (("hidden_act", "silu"), ("attention_bias", False), ("mlp_bias", False), ("rope_scaling", None)):
        demand(values, key, only)
    heads, width = whole(values, "num_attention_heads"), whole(values, "hidden_size")
    if values["head_dim"] not in (None, width / heads):
        raise BadInput(f"head_dim={values['head_dim']}: must be hidden_size / num_attention_heads = {width / heads:g}")
    rope = values["rope_parameters"] or {"rope_theta": values["rope_theta"]}
    if extra := {key: value for key, value in rope.items() if key not in ("rope_theta", "rope_type")}:
        raise BadInput(f"rope_parameters={extra}: gptjax has plain rope only")
    demand({"rope_type": "default"} | rope, "rope_type", "default")
    model = model_config(
        vocab_size=whole(values, "vocab_size"),
        context=whole(values, "max_position_embeddings"),
        n_layers=whole(values, "num_hidden_layers"),
        d_model=width,
        n_heads=heads,
        n_kv_heads=heads if values["num_key_value_heads"] is None else whole(values, "num_key_value_heads"),
        d_hidden=whole(values, "intermediate_size"),
        position="rope",
        rope_base=number(rope, "rope_theta"),
        norm="rms",
        norm_eps=number(values, "rms_norm_eps"),
        mlp="swiglu",
        bias=False,
        tied=flag(values, "tie_word_embeddings"),
        dropout=number(values, "attention_dropout"),
    )
    return Options("llama", model)


def model_config(**architecture: Any) -> ModelConfig:
    """A ModelConfig of the architecture, with what neither family has switched off."""
    rest: dict[str, Any] = OFF | dict(pad_vocab_to=PAD_VOCAB_TO, dtype="float32")
    run: dict[str, Any] = dict(mup_base_width=0, attention="auto", scan=True, remat="none", saved=(), offloaded=())
    return ModelConfig(**architecture, **rest, **run)


def demand(values: Mapping[str, Any], key: str, only: Any) -> None:
    if values[key] != only:
        raise BadInput(f"{key}={values[key]!r}: gptjax has only {json.dumps(only)}")


def whole(values: Mapping[str, Any], key: str) -> int:
    if type(values[key]) is not int or not 1 <= values[key] < 2**31:
        raise BadInput(f"{key}={str(values[key])[:40]}: must be a whole number, at least 1")
    return values[key]


def number(values: Mapping[str, Any], key: str) -> float:
    if type(values[key]) not in (int, float) or not math.isfinite(values[key]) or values[key] < 0:
        raise BadInput(f"{key}={str(values[key])[:40]}: must be a finite number, at least 0")
    return float(values[key])


def flag(values: Mapping[str, Any], key: str) -> bool:
    if type(values[key]) is not bool:
        raise BadInput(f"{key}={str(values[key])[:40]}: must be true or false")
    return values[key]


def family_of(cfg: ModelConfig) -> str:
    """ "gpt2" or "llama", whichever can express the model; raises BadInput naming each option that it cannot."""
    rope = cfg.position == "rope"
    wanted: dict[str, tuple] = {"norm": ("rms",), "mlp": ("swiglu",), "bias": (False,)}
    if not rope:
        wanted = {"norm": ("layer",), "mlp": tuple(ACTIVATIONS.values())}
    wanted |= {key: (value,) for key, value in OFF.items()}
    wrong = [
        f"model.{key}={getattr(cfg, key)!r}" for key, allowed in wanted.items() if getattr(cfg, key) not in allowed
    ]
    if wrong:
        family = "Llama (model.position='rope')" if rope else "GPT-2 (model.position='learned')"
        raise BadInput(f"{', '.join(wrong)}: cannot be expressed by {family}; no other architecture is exported")
    return "llama" if rope else "gpt2"


def to_json(cfg: ModelConfig, end_of_text: int) -> dict[str, Any]:
    """The config.json of a model that `family_of` allows."""
    shared = dict(
        vocab_size=cfg.vocab_size,
        tie_word_embeddings=cfg.tied,
        bos_token_id=end_of_text,
        eos_token_id=end_of_text,
        dtype="float32",
    )
    if family_of(cfg) == "gpt2":
        names = {mlp: name for name, mlp in reversed(ACTIVATIONS.items())}
        return shared | dict(
            model_type="gpt2",
            architectures=["GPT2LMHeadModel"],
            n_positions=cfg.context,
            n_embd=cfg.d_model,
            n_layer=cfg.n_layers,
            n_head=cfg.n_heads,
            n_inner=cfg.d_hidden,
            activation_function=names[cfg.mlp],
            layer_norm_epsilon=cfg.norm_eps,
            resid_pdrop=cfg.dropout,
            embd_pdrop=cfg.dropout,
            attn_pdrop=cfg.dropout,
        )
    return shared | dict(
        model_type="llama",
        architectures=["LlamaForCausalLM"],
        max_position_embeddings=cfg.context,
        hidden_size=cfg.d_model,
        intermediate_size=cfg.d_hidden,
        num_hidden_layers=cfg.n_layers,
        num_attention_heads=cfg.n_heads,
        num_key_value_heads=cfg.n_kv_heads,
        head_dim=cfg.d_head,
        hidden_act="silu",
        rms_norm_eps=cfg.norm_eps,
        rope_theta=cfg.rope_base,  # transformers 4
        rope_parameters={"rope_type": "default", "rope_theta": cfg.rope_base},  # transformers 5
        attention_dropout=cfg.dropout,
        attention_bias=False,
        mlp_bias=False,
    )
