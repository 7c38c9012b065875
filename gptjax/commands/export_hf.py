"""`gptjax export-hf`: a run becomes a model folder of Hugging Face."""

import os
import pathlib
import time

from gptjax.config import BadInput
from gptjax.interop import export, options
from gptjax.planning import flops
from gptjax.training import source


def run(folder: str, to: str) -> int:
    """Writes config.json, weights and tokenizer; returns the exit code. Raises BadInput."""
    started, target = time.monotonic(), pathlib.Path(to.rstrip("/"))
    if "://" in to:
        raise BadInput(f"--to={to}: must be a local folder")
    if target.is_file() or target.is_dir() and os.listdir(target):
        raise BadInput(f"--to={to}: is there already; name a new folder")
    given = source.open_run(folder)
    family = options.family_of(given.cfg.model)
    print(f"{to}: writing {flops.n_params(given.cfg.model):,} parameters as {family}", flush=True)
    notes = export.write_model(target, given.params, given.cfg.model, given.tokenizer, given.generation, given.chat)
    for note in notes:
        print(f"note: {note}")
    print(f"folder: {to} (config.json, safetensors, tokenizer), in {time.monotonic() - started:.1f} s")
    print(f"next:\n  transformers.AutoModelForCausalLM.from_pretrained({to!r})")
    return 0
