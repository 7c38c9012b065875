"""Runs whose every number is known: what `gptjax train` would have written, by formula."""

import functools
import json
import math
import os
import pathlib
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from gptjax import config
from gptjax.planning import flops
from gptjax.runs.log import encode

BEGAN = 1_760_000_000.0  # Unix time
BATCH = 4096  # tokens
N_STEPS = 200
STEP_S = 0.25
SMALL, LARGE = 32, 64  # d_model


class Planted(NamedTuple):
    """A run of the sweep, and what is the matter with it."""

    name: str
    lr: float
    width: int
    seed: int
    fate: str = "done"  # or "diverged", "stopped", "stale", "restarted", "slow"
    end: int = N_STEPS


@functools.cache
def base() -> dict[str, Any]:
    file = pathlib.Path(__file__).parents[2] / "configs/base.py"
    return config.to_dict(config.load(file))


def nested(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The base config with dotted keys changed."""
    made = json.loads(json.dumps(base()))
    for key, value in overrides.items():
        *path, last = key.split(".")
        section = made
        for part in path:
            section = section[part]
        assert last in section, key
        section[last] = value
    return made


def write_run(folder: pathlib.Path, overrides: Mapping[str, Any], lines: list[dict[str, Any]], **header: Any) -> None:
    folder.mkdir(parents=True)
    told = {
        "config": nested(overrides),
        "name": folder.name,
        "started": "2025-10-09T08:53:20.000+00:00",
        "sessions": [],
    }
    told |= {"command": "gptjax train", "devices": ["cpu"], "versions": {}, "git_commit": None, "tags": [], "note": ""}
    (folder / "run.json").write_bytes(encode(told | header, indent=1))
    (folder / "metrics.jsonl").write_bytes(b"".join(map(encode, lines)))


def as_device(value: float) -> float:
    """As a number comes from the device: float32."""
    return float(np.float32(value))


def session(
    first: int, last: int, nll: Callable[[int], float], *, began: float, start_s: float, ended: bool, step_s: float
) -> Iterator[dict[str, Any]]:
    """The lines of a process that does the updates from `first` up to `last`, and says at the end that it ended."""
    noise = random.Random(f"{began} {first}")

    def line(step: int, **metrics: float) -> dict[str, Any]:
        spent = {"time/began": began, "time/start": 2.0, "time/compile": start_s - 2.0}
        done = step - first + ("train_nll" in metrics)
        spent |= {"time/step": round(done * step_s, 3), "time/data": round(done * step_s / 100, 3)} if done else {}
        time_s = round(began - BEGAN + start_s + 1.01 * done * step_s, 3)
        named = {name.replace("_", "/", 1): as_device(value) for name, value in metrics.items()}
        return {"step": step, "tokens": step * BATCH, "time_s": time_s, **named, **spent}

    yield line(first)
    for step in range(first, last):
        if step % 50 == 0 and step > first:
            yield line(step, eval_nll=nll(step) + 0.05)
        if step % 2 == 0 or not math.isfinite(nll(step)):
            grad = math.exp(noise.gauss(0, 0.1)) if math.isfinite(nll(step)) else math.nan
            rate = BATCH / step_s * (1 + noise.gauss(0, 0.01))
            yield line(step, train_nll=nll(step) + noise.gauss(0, 0.01), grad_norm=grad, perf_tokens_per_s=rate)
        if not math.isfinite(nll(step)):
            return
    if last == N_STEPS:
        yield line(last, eval_nll=nll(last) + 0.05)
    if ended:
        yield line(last) | {"time/end": 0.5}


def loss(one: Planted) -> Callable[[int], float]:
    """A power of the step; lowest at a rate of 3e-3, lower for the wide model, and 0.01 apart for each seed."""
    off = 0.15 * math.log10(one.lr / 3e-3) ** 2 + (0.0 if one.width == LARGE else 0.3) + 0.01 * (one.seed - 1)

    def nll(step: int) -> float:
        if one.fate == "diverged" and step >= one.end:
            return math.nan
        return 2.0 + off + 3.5 / (1 + step) ** 0.5

    return nll


def sweep() -> list[Planted]:
    """Four rates, two widths and three seeds, with a fate for some of them."""
    made = [
        Planted(f"lr{lr:g}-d{width}-s{seed}", lr, width, seed)
        for lr in (1e-3, 3e-3, 1e-2, 3e-2)
        for width in (SMALL, LARGE)
        for seed in (0, 1, 2)
    ]
    fates = {
        "lr0.03-d64-s1": ("diverged", 60),
        "lr0.01-d32-s2": ("stopped", 120),
        "lr0.001-d32-s0": ("stale", 90),
        "lr0.003-d64-s2": ("restarted", N_STEPS),
        "lr0.001-d64-s1": ("slow", N_STEPS),
    }
    return [one._replace(fate=fates[one.name][0], end=fates[one.name][1]) if one.name in fates else one for one in made]


def overrides(one: Planted) -> dict[str, Any]:
    sizes = {"model.d_model": one.width, "model.n_heads": 2, "model.n_kv_heads": 2, "model.d_hidden": 4 * one.width}
    return {
        **sizes, "model.n_layers": 2, "model.context": 64, "batch_tokens": BATCH, "n_steps": N_STEPS,
        "optim.peak_lr": one.lr, "seed": one.seed, "name": one.name,
    }  # fmt: skip


def write(one: Planted, root: pathlib.Path) -> None:
    nll = loss(one)
    step_s = STEP_S * (one.width / SMALL) * (3 if one.fate == "slow" else 1)
    run = functools.partial(session, nll=nll, start_s=10.0, step_s=step_s)
    if one.fate == "restarted":  # killed after 130 updates, of which 100 were saved
        lines = [*run(0, 130, began=BEGAN, ended=False), *run(100, N_STEPS, began=BEGAN + 300, ended=True)]
    else:
        lines = list(run(0, min(one.end + 1, N_STEPS) if one.fate == "diverged" else one.end, began=BEGAN,
                         ended=one.fate not in ("stale", "diverged")))  # fmt: skip
    write_run(root / one.name, overrides(one), lines)


def write_sweep(root: pathlib.Path) -> None:
    """All of them, last written to long ago."""
    for one in sweep():
        write(one, root)
        os.utime(root / one.name / "metrics.jsonl", (BEGAN, BEGAN))


def flops_per_token(one: Planted) -> float:
    return flops.train_flops_per_token(config.from_dict(nested(overrides(one))).model)


if __name__ == "__main__":
    write_sweep(pathlib.Path(sys.argv[1]))
