"""Makes tests/interop/golden/ with torch and transformers, which no test needs: python -m tests.interop.make_golden

Each folder is a small random model as transformers saves it, and `golden.npz`: what transformers computes with it.
`tokens_BT` with `mask_BT` (left-padded, right-padded and full rows) gives `logits_BTV`; `prompt_T` gives `greedy_T`.
"""

import importlib
import pathlib
from typing import Any

import numpy as np

FOLDER = pathlib.Path(__file__).parent / "golden"
SMALL: dict[str, Any] = dict(bos_token_id=0, eos_token_id=0)
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", SMALL | dict(vocab_size=261, n_positions=32, n_embd=24, n_layer=3, n_head=4, n_inner=40)),
    "gpt2_scaled": (  # as Mistral and CodeParrot are, and with every other option away from its default
        "GPT2",
        SMALL | dict(vocab_size=67, n_positions=24, n_embd=20, n_layer=2, n_head=2, activation_function="gelu")
        | dict(scale_attn_weights=False, scale_attn_by_inverse_layer_idx=True, reorder_and_upcast_attn=True)
        | dict(tie_word_embeddings=False, layer_norm_epsilon=1e-3),
    ),
    "llama": (
        "Llama",
        SMALL | dict(vocab_size=71, max_position_embeddings=32, hidden_size=24, num_hidden_layers=2)
        | dict(num_attention_heads=6, num_key_value_heads=2, intermediate_size=36, rms_norm_eps=1e-5),
    ),
}  # fmt: skip
TEXTS = ["the cat sat on the mat", "it's we'll 12 3.14 naïve é 日本 👩‍👩 \n\n x"]


def library(name: str) -> Any:
    """torch or transformers, which are not in the environment of the tests."""
    return importlib.import_module(name)


def make_model(kind: str, options: dict[str, Any], seed: int) -> Any:
    """A model of transformers whose weights are large enough for logits to differ by units, and text not to repeat."""
    torch, transformers = library("torch"), library("transformers")
    torch.manual_seed(seed)
    config = getattr(transformers, f"{kind}Config")(**options)
    model = getattr(transformers, f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            is_scale = weight.ndim == 1 and name.endswith("weight")
            std = 0.15 if weight.ndim == 1 or weight.shape[0] == config.vocab_size else 2 / weight.shape[-1] ** 0.5
            weight.copy_(torch.randn_like(weight) * std + is_scale)
    return model.eval()


def padded(vocab_size: int, length: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and mask of three rows: padded at the left, full, padded at the right."""
    tokens_BT = np.random.default_rng(seed).integers(1, vocab_size, (3, length))
    mask_BT = np.ones((3, length), np.int64)
    n_pad = length // 3
    tokens_BT[0, :n_pad], mask_BT[0, :n_pad] = 0, 0
    tokens_BT[2, length - n_pad :], mask_BT[2, length - n_pad :] = 0, 0
    return tokens_BT, mask_BT


def logits(model: Any, tokens_BT: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
    """What transformers gives, positions counted from the first real token as its `generate` does."""
    torch = library("torch")
    positions_BT = np.maximum(np.cumsum(mask_BT, axis=1) - 1, 0)
    given = dict(input_ids=tokens_BT, attention_mask=mask_BT, position_ids=positions_BT)
    with torch.no_grad():
        return model(**{name: torch.tensor(array) for name, array in given.items()}).logits.numpy()


def greedy(model: Any, prompt_T: np.ndarray, n_tokens: int) -> np.ndarray:
    torch = library("torch")
    ends = dict(eos_token_id=None, pad_token_id=0)
    found = model.generate(torch.tensor(prompt_T)[None], max_new_tokens=n_tokens, do_sample=False, **ends)
    return found[0, len(prompt_T) :].numpy()


def write_tokenizer(folder: pathlib.Path, vocab_size: int) -> None:
    """vocab.json and merges.txt of a byte-level BPE, learned here."""
    from tokenizers import ByteLevelBPETokenizer

    learned = ByteLevelBPETokenizer()
    learned.train_from_iterator(TEXTS * 9, vocab_size=vocab_size, special_tokens=["<|endoftext|>"], show_progress=False)
    learned.save_model(str(folder))


def main() -> None:
    transformers = library("transformers")
    for seed, (name, (kind, options)) in enumerate(MODELS.items()):
        folder = FOLDER / name
        model = make_model(kind, options, seed)
        model.save_pretrained(folder, max_shard_size="20KB" if name == "gpt2_scaled" else "5GB")
        tokens_BT, mask_BT = padded(options["vocab_size"], 11, seed)
        prompt_T = tokens_BT[1, :5]
        more: dict[str, Any] = {}
        if name == "gpt2":
            write_tokenizer(folder, options["vocab_size"])
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            more = {f"ids_{number}": np.array(tokenizer(text)["input_ids"]) for number, text in enumerate(TEXTS)}
        np.savez_compressed(
            folder / "golden.npz",
            tokens_BT=tokens_BT,
            mask_BT=mask_BT,
            logits_BTV=logits(model, tokens_BT, mask_BT),
            prompt_T=prompt_T,
            greedy_T=greedy(model, prompt_T, 16),
            **more,
        )


if __name__ == "__main__":
    main()
