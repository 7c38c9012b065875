"""Makes tests/interop/golden/peft/ with torch, transformers and peft: python -m tests.interop.make_peft

Each file holds what `peft` computes with a golden model and adapters that gptjax exported: `logits_BTV` of the golden
folder's `tokens_BT` and `mask_BT`. The adapters are drawn here by name, so a test draws the same.
"""

import dataclasses
import pathlib
import tempfile
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gptjax import tree
from gptjax.config import Config, LoraConfig, TokenizerConfig
from gptjax.interop import export, huggingface, peft
from gptjax.model import adapters, lora
from tests.interop import folders, make_golden
from tests.interop.folders import GOLDEN

FOLDER = GOLDEN / "peft"
MATRICES = {  # by file: the golden model, and which of its matrices have adapters
    "gpt2": ("gpt2", "blocks/attn/w_[qv]"),
    "gpt2_all": ("gpt2", "w_pos|blocks/.*"),
    "gpt2_scaled": ("gpt2_scaled", "w_tok|w_head|blocks/attn/w_(k|out)"),
    "llama": ("llama", "blocks/attn/w_[qv]"),
    "llama_all": ("llama", ".*"),
}


def adapted(name: str) -> tuple[dict, Config]:
    """A golden model with adapters that have learned something, and its config."""
    model, matrices = MATRICES[name]
    params, cfg = folders.read(GOLDEN / model)
    run = huggingface.run_config(cfg, TokenizerConfig("bytes", ""), model)
    run = dataclasses.replace(run, init_from=model, lora=LoraConfig(3, 4.5, matrices))
    return tree.map_named(drawn, lora.with_adapters(jax.random.key(0), params, run.lora)), run


def drawn(name: str, leaf: Any) -> Any:
    if not adapters.is_adapter(name):
        return leaf
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return jnp.asarray(0.3 * rng.standard_normal(leaf.shape, np.float32))


def loaded(params: dict, run: Config, tokenizer: Any, folder: pathlib.Path) -> Any:
    """The base as transformers loads it, with the adapters as peft does, both exported by gptjax."""
    transformers, theirs = make_golden.library("transformers"), make_golden.library("peft")
    base = {leaf: x for leaf, x in tree.named(params).items() if not adapters.is_adapter(leaf)}
    export.write_model(folder / "base", tree.nested(base), run.model, tokenizer, {}, {})
    peft.write_adapters(folder / "adapters", params, run)
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "base")
    return theirs.PeftModel.from_pretrained(model, folder / "adapters").eval()


def main() -> None:
    from gptjax.data.alphabets import Bytes

    FOLDER.mkdir(exist_ok=True)
    for name, (model, _) in MATRICES.items():
        params, run = adapted(name)
        golden = np.load(GOLDEN / model / "golden.npz")
        with tempfile.TemporaryDirectory() as folder:
            theirs = loaded(params, run, Bytes({}), pathlib.Path(folder))
            found = make_golden.logits(theirs, golden["tokens_BT"], golden["mask_BT"])
        np.savez_compressed(FOLDER / f"{name}.npz", logits_BTV=found)


if __name__ == "__main__":
    main()
