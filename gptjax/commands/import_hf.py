"""`gptjax import-hf`: a model folder of Hugging Face becomes a run."""

import hashlib
import os
import pathlib
import time

import jax

from gptjax import config
from gptjax.config import BadInput
from gptjax.interop import hub, huggingface
from gptjax.planning import flops
from gptjax.runs.log import RunLog, encode, environment, file_system, read_header, write_whole
from gptjax.training import checkpoint, source


def run(hf: str, to: str) -> int:
    """Writes RUN/checkpoints/0, tokenizer, generation config and run.json; returns the exit code. Raises BadInput."""
    started, to = time.monotonic(), to.rstrip("/")
    if os.path.isfile(to):
        raise BadInput(f"--to={to}: is a file; name a directory")
    checkpoint.place(to)  # refuses stores that cannot hold one
    if read_header(to) is not None:
        raise BadInput(f"--to={to}: is a run already; name a new directory")
    folder = hub.folder_of(hf)
    if not huggingface.is_model_folder(folder):
        raise BadInput(f"--hf={hf}: is no model folder: it has no config.json" + ran(folder))
    given = source.open_run(str(folder))
    print(f"{to}: writing {flops.n_params(given.cfg.model):,} parameters from {folder}", flush=True)
    written = {"config": config.to_dict(given.cfg), "tokenizer": given.tokenizer.fingerprint}
    checkpoint.save_weights(f"{to}/checkpoints", 0, given.params, written | {"data": None})
    source.write_tokenizer(given.tokenizer, to)
    fs, root = file_system(to)
    for name, kept in ((source.GENERATION, given.generation), (source.CHAT, given.chat)):
        if kept:
            write_whole(fs, f"{root}/{name}", encode(kept, indent=1))
    log = RunLog(to, given.cfg.log)
    log.header(header(given, hf, folder))
    log.close()
    m = given.cfg.model
    print(f"{m.n_layers} layers of width {m.d_model}, {m.vocab_size:,} tokens, context {m.context:,}")
    print(f"run: {to} (run.json, checkpoints/0, tokenizer/), in {time.monotonic() - started:.1f} s")
    print(f'next:\n  gptjax generate --from={to} --prompt="Hello, my name is "')
    return 0


def ran(folder: pathlib.Path) -> str:
    return " (it is a run: --from takes it as it is)" if (folder / "run.json").is_file() else ""


def header(given: source.Source, hf: str, folder: pathlib.Path) -> dict:
    """What run.json says."""
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    origin = {
        "hugging_face": hf,
        "revision": hub.revision_of(folder),
        "config_sha256": hashlib.sha256((folder / "config.json").read_bytes()).hexdigest(),
        "files": sizes,  # bytes
    }
    return {
        "name": given.cfg.name,
        "tags": [],
        "note": "",
        "config": config.to_dict(given.cfg),
        **environment(),
        "devices": [device.device_kind for device in jax.devices()],
        "data": None,
        "init_from": origin,
        "first_step": 0,
        "changed": {},
    }
