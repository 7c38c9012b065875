"""`gptjax plan`: whether a config fits a machine, what it moves and how long it takes, before anyone pays for one.

What a formula knows takes no jax and a second; the rest says the compiler, in a child process. Nothing is run.
"""

import importlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from typing import Any, NamedTuple

from gptjax import config
from gptjax.commands import plan_text
from gptjax.config import BadInput, Config
from gptjax.planning import chips, flops, memory, parameters, roofline, search, topology
from gptjax.planning.chips import Chip
from gptjax.planning.hlo import Traffic
from gptjax.planning.memory import Ways
from gptjax.planning.topology import Topology

DAY_S = 86_400
# Of the units that `estimated_cycles` counts, in Hz: Jouppi et al. 2023 of v4; of v5e and v5p the clock at which as
# many 128 x 128 matrix units as Google's pages name reach their peak. Others are not known.
CLOCK_HZ = {"TPU v4": 1.05e9, "TPU v5 lite": 1.5e9, "TPU v5": 1.75e9}
# The compiler is asked, and no device: so no metadata server, and other processes may have libtpu loaded.
NO_DEVICE = {"JAX_PLATFORMS": "cpu", "TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
WHOLE_ERRORS = {"JAX_TRACEBACK_FILTERING": "off"}  # so that the last line is the error
NEEDS = {  # platform: (a module that compiles for it, what installs it)
    "tpu": (("libtpu",), "libtpu is not installed: pip install 'gptjax[plan]'"),
    "cuda": (
        ("jax_cuda12_plugin", "jax_cuda13_plugin"),
        "JAX's CUDA plugin is not installed: pip install 'gptjax[cuda12]'",
    ),
}


class Machine(NamedTuple):
    """What is planned for."""

    name: str
    kind: str
    n_devices: int
    n_islands: int  # slices or hosts, which only the slow network joins

    @property
    def chip(self) -> Chip | None:
        return chips.find(self.kind)


def run(
    file: str,
    overrides: list[str],
    on: str | None,
    searching: bool,
    compiling: bool,
    save_target: str | None,
    json_file: str | None,
) -> int:
    """Prints the plan, and writes it; raises BadInput."""
    cfg = config.load(file, overrides)
    if save_target is not None:
        write_target(save_target)
    if searching:
        return propose(cfg, file, on, json_file)
    asked = None if on is None else topology.parse(on)
    if asked is None and not compiling:
        raise BadInput("--no_compile: name a machine too, such as --topology=v5e:4x4")
    missing = "not asked for" if not compiling else missing_compiler(asked)
    said: dict[str, Any] = {}
    if asked is not None:
        resolve(cfg, asked.n_devices, asked.n_slices)  # before the compiler starts
    if missing is None:
        said = in_child(cfg, on)
        missing = said.get("failed")
    if asked is None and "kind" not in said:
        raise BadInput(f"the step could not be compiled on this machine ({missing}); name one: --topology=v5e:4x4")
    if asked is None:
        machine = Machine("this machine", said["kind"], said["n_devices"], said["n_islands"])
    else:
        machine = Machine(asked.text, asked.family.kind, asked.n_devices, asked.n_islands)
    found = figures(cfg, machine, resolve(cfg, machine.n_devices, 1), said) | {"missing": missing}
    found |= {"config": file, "overrides": overrides}
    plan_text.show(found)
    write(json_file, found)
    return 1 if "failed" in said else 0


def figures(cfg: Config, machine: Machine, ways: Ways, said: dict[str, Any]) -> dict[str, Any]:
    """All that is known of the plan, as JSON has it; `said` is the compiler's, empty without it. Unknown is None."""
    chip, by_formula = machine.chip, memory.estimate(cfg, ways, machine.kind)
    compiled = "temp_bytes" in said
    total: float | None = by_formula.total
    if compiled:
        total = said["argument_bytes"] + said["output_bytes"] - said["alias_bytes"] + said["temp_bytes"]
    elif "out_of_memory" in said:
        total = said.get("needed_bytes")
    hbm = said.get("usable_bytes", None if chip is None else chip.hbm_bytes)
    fits = None if hbm is None or total is None else total <= hbm
    moved = roofline.traffic(cfg, ways, machine.n_islands)
    if "collectives" in said:
        moved = {kind: Traffic(**sent) for kind, sent in said["collectives"].items()}
    bound = roofline.bound(cfg, ways, chip, moved)
    n_trained, n_all = parameters.count(cfg)
    return {
        "topology": machine.name,
        "device_kind": machine.kind,
        "n_devices": machine.n_devices,
        "mesh": ways._asdict(),
        "source": "compiled, never run" if compiled else "formula",
        "fits": False if "out_of_memory" in said else fits,
        "memory_bytes": total,
        "hbm_bytes": hbm,
        "memory": by_formula._asdict() | {"temporaries": by_formula.temporaries, "total": by_formula.total},
        "compiler": said,
        "collectives": {kind: sent._asdict() for kind, sent in moved.items()},
        "n_params": n_all,
        "n_trained": n_trained,
        "flops": {
            "model_per_token": flops.train_flops_per_token(cfg.model),
            "model_per_step": flops.train_flops_per_token(cfg.model) * cfg.batch_tokens,
            "hardware_per_step": roofline.hardware_flops(cfg),
        },
        "roofline": bound._asdict() | {"binding": bound.binding, "step_s": bound.step_s},
        "estimate": estimate(cfg, machine, bound.step_s, said.get("cycles")),
    }


def estimate(cfg: Config, machine: Machine, least_s: int | float | None, cycles: int | float | None) -> dict[str, Any]:
    """Step time, MFU and the length of the run: by the compiler's cycles where it counts them, else the roofline."""
    clock = CLOCK_HZ.get(machine.kind)
    compiler_s = cycles / clock if cycles and clock else None
    step_s = least_s if compiler_s is None else max(compiler_s, least_s or 0.0)
    found = {"basis": "roofline" if compiler_s is None else "compiler", "compiler_s": compiler_s, "step_s": step_s}
    if step_s is None:
        return found | dict.fromkeys(("mfu", "tokens_per_day", "days", "chip_hours"))
    per_s = cfg.batch_tokens / step_s
    n_chips = machine.n_devices / (2 if machine.kind == "TPU7x" else 1)
    return found | {
        "mfu": flops.mfu(per_s, cfg.model, [machine.kind] * machine.n_devices),
        "tokens_per_day": per_s * DAY_S,
        "days": cfg.n_steps * step_s / DAY_S,
        "chip_hours": cfg.n_steps * step_s / 3600 * n_chips,
    }


def resolve(cfg: Config, n_devices: int, n_slices: int) -> Ways:
    """The mesh with its -1 filled in; raises BadInput with the nearest one that fits."""
    asked = Ways(cfg.mesh.replica, cfg.mesh.data, cfg.mesh.tensor, cfg.mesh.sequence)
    fixed = asked.replica * asked.data * asked.tensor * asked.sequence
    found = Ways(*(n_devices // abs(fixed) if size == -1 else size for size in asked))
    if found.replica * found.data * found.tensor * found.sequence == n_devices and found.replica % n_slices == 0:
        return found
    from gptjax import mesh  # which loads jax

    return Ways(*mesh.resolve(cfg.mesh, n_devices, n_slices))


def missing_compiler(asked: Topology | None) -> str | None:
    """What would have to be installed to compile for a machine; None where nothing is missing."""
    if asked is None:
        return None
    if asked.family.name == topology.NO_TARGET:
        return f"the compiler knows no {asked.family.kind} from afar; on one, --save-target=FILE describes it"
    modules, advice = NEEDS[asked.family.platform]
    return None if any(importlib.util.find_spec(module) for module in modules) else advice


def in_child(cfg: Config, on: str | None) -> dict[str, Any]:
    """What compile_step.py finds, in a process of its own; {"failed": why} where that ends without an answer."""
    environment = os.environ | WHOLE_ERRORS
    if on is not None:
        environment |= NO_DEVICE
    with tempfile.TemporaryDirectory() as folder:
        order, result = pathlib.Path(folder, "order.json"), pathlib.Path(folder, "result.json")
        order.write_text(json.dumps({"config": config.to_dict(cfg), "topology": on}))
        command = [sys.executable, "-m", "gptjax.commands.compile_step", str(order), str(result)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
        if not result.is_file():
            last = [line for line in done.stderr.splitlines() if line.strip()][-1:] or ["it said nothing"]
            return {"failed": f"the compiler ended with exit code {done.returncode}: {last[0].strip()[:300]}"}
        found = json.loads(result.read_text())
    if "bad_input" in found:
        raise BadInput(found["bad_input"])
    return found


def propose(cfg: Config, file: str, on: str | None, json_file: str | None) -> int:
    """The best few layouts, by formula."""
    if on is None:
        raise BadInput("--search: name a machine too, such as --topology=v5e:4x4")
    asked = topology.parse(on)
    found = []
    for one in search.best(cfg, asked):
        ways, machine = one.ways, Machine(asked.text, asked.family.kind, asked.n_devices, asked.n_islands)
        found.append(figures(one.cfg, machine, ways, {}) | {"overrides": list(one.overrides)})
    plan_text.show_search(found, file)
    write(json_file, {"config": file, "topology": on, "choices": found})
    return 0


def write_target(file: str) -> None:
    """The compiler's description of the GPU at hand, for --topology=FILE:HOSTSxGPUS elsewhere. Never run."""
    import jax

    xla_client: Any = importlib.import_module("jaxlib.xla_client")  # JAX's public names do not reach the description
    devices = jax.devices()
    if devices[0].platform != "gpu":
        raise BadInput(f"--save-target={file}: this machine has no GPU to describe, only {devices[0].device_kind}")
    described = xla_client.get_topology_for_devices(devices)
    pathlib.Path(file).write_text(described.target_config)


def write(file: str | None, found: dict[str, Any]) -> None:
    if file is None:
        return
    try:
        pathlib.Path(file).write_text(json.dumps(found, indent=1) + "\n")
    except OSError as error:
        raise BadInput(f"--json={file}: {error.strerror}; name a file that can be written") from error
