"""`gptjax export-hf`: a run becomes a model folder of Hugging Face, or its adapters a folder of PEFT's."""

import os
import pathlib
import time

from gptjax.config import BadInput
from gptjax.interop import export, options, peft
from gptjax.planning import flops, parameters
from gptjax.training import source


def run(folder: str, to: str, adapter: bool) -> int:
    """Writes config.json, weights and tokenizer, or the adapters alone; returns the exit code. Raises BadInput."""
    started, target = time.monotonic(), pathlib.Path(to.rstrip("/"))
    if "://" in to:
        raise BadInput(f"--to={to}: must be a local folder")
    if target.is_file() or target.is_dir() and os.listdir(target):
        raise BadInput(f"--to={to}: is there already; name a new folder")
    if adapter:
        return write_adapters(folder, target)
    given = source.open_run(folder)
    family = options.family_of(given.cfg.model)
    print(f"{to}: writing {flops.n_params(given.cfg.model):,} parameters as {family}", flush=True)
    notes = export.write_model(target, given.params, given.cfg.model, given.tokenizer, given.generation, given.chat)
    for note in notes:
        print(f"note: {note}")
    print(f"folder: {to} (config.json, safetensors, tokenizer), in {time.monotonic() - started:.1f} s")
    print(f"next:\n  transformers.AutoModelForCausalLM.from_pretrained({to!r})")
    return 0


def write_adapters(folder: str, target: pathlib.Path) -> int:
    given = source.open_adapters(folder)
    peft.write_adapters(target, given.params, given.cfg)
    base, (n_trained, _) = given.cfg.init_from, parameters.count(given.cfg)
    print(f"folder: {target} ({peft.SETTINGS}, {peft.WEIGHTS}), {n_trained:,} trained numbers")
    print(f"next:\n  gptjax export-hf --from={base} --to=BASE, where that is no folder of Hugging Face yet")
    print(
        f"  peft.PeftModel.from_pretrained(transformers.AutoModelForCausalLM.from_pretrained('BASE'), {str(target)!r})"
    )
    return 0
