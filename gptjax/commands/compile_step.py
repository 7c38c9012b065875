"""The child of `gptjax plan`: compiles the train step of a config for a machine and says what the compiler says.

    python -m gptjax.commands.compile_step ORDER.json RESULT.json

A process of its own, because libtpu ends the process over shapes that it cannot compile.
"""

import json
import pathlib
import re
import sys
import time
from typing import Any

import jax

from gptjax import config, mesh
from gptjax.commands import train
from gptjax.config import BadInput
from gptjax.planning import hlo, topology

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def main(order: str, result: str) -> None:
    asked = json.loads(pathlib.Path(order).read_text())
    try:
        found = compiled(config.from_dict(asked["config"]), asked["topology"])
    except BadInput as error:
        found = {"bad_input": str(error)}
    pathlib.Path(result).write_text(json.dumps(found))


def compiled(cfg: config.Config, on: str | None) -> dict[str, Any]:
    """Figures of one device. `on` None is the machine at hand."""
    devices = jax.devices() if on is None else topology.devices(topology.parse(on))
    grid = mesh.make(cfg.mesh, devices)
    flat = list(grid.devices.flat)
    islands = islands_of(flat)
    found = {"kind": flat[0].device_kind, "n_devices": len(flat), "n_islands": max(islands) + 1}
    lowered = train.trace_update(cfg, grid)
    started = time.monotonic()
    try:
        done = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return found | {"out_of_memory": " ".join(str(error).split())[:500]} | needed(str(error))
    found["compile_s"] = time.monotonic() - started
    memory = done.memory_analysis()
    if memory is not None:
        kinds = ("argument", "output", "alias", "temp", "generated_code")
        found |= {f"{kind}_bytes": getattr(memory, f"{kind}_size_in_bytes") for kind in kinds}
    program = hlo.read(done.as_text() or "", islands)
    sums = hlo.by_kind(program.collectives)
    return found | {
        "collectives": {kind: sent._asdict() for kind, sent in sums.items()},
        "cycles": program.cycles,
        "unknown_loops": program.unknown_loops,
    }


def islands_of(devices: list[Any]) -> list[int]:
    """The slice (TPU) or host (GPU) of each device, numbered from 0: what only the slow network joins."""
    of_tpu = devices[0].platform == "tpu"
    keys = [getattr(device, "slice_index", 0) if of_tpu else device.process_index for device in devices]
    return [sorted(set(keys)).index(key) for key in keys]


def needed(message: str) -> dict[str, float]:
    """Bytes that a program would have needed, and those that it could have had, where the refusal names them."""
    size = r"([\d.]+)([KMGT]?)"
    found = re.search(rf"Used {size} of {size}", message) or re.search(rf"\({size}\) exceeds[^()]*\({size}\)", message)
    if found is None:
        return {}
    return {"needed_bytes": float(found[1]) * UNITS[found[2]], "usable_bytes": float(found[3]) * UNITS[found[4]]}


if __name__ == "__main__":
    main(*sys.argv[1:])
