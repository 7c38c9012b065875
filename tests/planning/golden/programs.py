"""Memory that XLA gives whole train steps on TPU v5e, to hold the formula to where no libtpu is; makes memory.json.

python -m tests.planning.golden.programs        # minutes; needs the [plan] extra
"""

import json
import pathlib

from gptjax import config
from gptjax.commands import plan
from gptjax.planning import memory, topology

HELD = pathlib.Path(__file__).with_name("memory.json")
MODERN = ["model.n_kv_heads=4", "model.mlp=swiglu", "model.norm=rms", "model.position=rope", "model.tied=False"]
LONG = ["model.context=2048"]
WHOLE = ["accumulate=1", "batch_tokens=16384"]
FOUR = ["accumulate=1", "batch_tokens=65536"]
TWELVE = [  # config, topology, changes
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, "model.remat=dots"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, "model.remat=none"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, "model.remat=full", "loss.n_chunks=1", "batch_tokens=8192"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, *MODERN, *LONG, "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:1x1", [*WHOLE, *MODERN, *LONG, "model.remat=dots", "optim.name=lion"]),
    ("configs/gpt2_124m.py", "v5e:1x1", ["accumulate=4", "batch_tokens=65536", "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:2x2", [*FOUR, "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:2x2", [*FOUR, "model.remat=dots"]),
    ("configs/gpt2_124m.py", "v5e:2x2", [*FOUR, *MODERN, *LONG, "model.remat=full"]),
    ("configs/gpt2_124m.py", "v5e:4x4", ["model.remat=full"]),
    ("configs/smoke_gpu.py", "v5e:1x1", ["model.scan=True", "model.remat=dots"]),
]
SHIPPED = [  # configs on the chips of their docstrings
    ("configs/gpt2_1b5.py", "v5e:16x16", []),
    ("configs/gpt3_6b7.py", "v5e:16x16", []),
    ("configs/gpt3_175b.py", "v5p:8x8x8", []),
    ("configs/llama_8b.py", "v5e:16x16", []),
]


def compiled(file: str, on: str, changes: list[str]) -> dict:
    """What the compiler says of a program; "temp_bytes" is there where it could be compiled."""
    return plan.in_child(config.load(file, changes), on)


def estimated(file: str, on: str, changes: list[str]) -> float:
    """Bytes of arguments and temporaries by the formula."""
    cfg, asked = config.load(file, changes), topology.parse(on)
    ways = plan.resolve(cfg, asked.n_devices, asked.n_slices)
    return memory.estimate(cfg, ways, asked.family.kind).total


def name(file: str, on: str, changes: list[str]) -> str:
    return " ".join([file, on, *changes])


def main() -> None:
    held = {}
    for one in TWELVE + SHIPPED:
        said = compiled(*one)
        held[name(*one)] = said["argument_bytes"] + said["temp_bytes"]
        off = estimated(*one) / held[name(*one)] - 1
        print(f"{name(*one)}: XLA {held[name(*one)] / 2**30:.2f} GiB, the formula {off:+.1%}", flush=True)
        HELD.write_text(json.dumps(held, indent=1) + "\n")


if __name__ == "__main__":
    main()
