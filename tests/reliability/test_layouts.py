"""A run goes on in another number of processes, devices or another mesh: from the same bits, with the same batches in
the same order, to the same losses but for rounding."""

import functools
import pathlib
import shutil
from typing import NamedTuple

import numpy as np
import pytest

from gptjax import config, tree
from gptjax.mesh import AXES
from gptjax.training import checkpoint, step
from tests.reliability.draws import draw
from tests.reliability.forks import forks
from tests.reliability.test_interruptions import TINY, lines
from tests.tiny import mesh_of

FIRST, LAST = 10, 110
SAME = "from the same bits, the same batches, losses within 1e-5 over 100 steps"
SIZES = {
    "model.n_heads": 4,
    "model.n_kv_heads": 4,
    "optim.schedule": "constant",
    "keep_every": FIRST,
    "save_every": FIRST,
}


class Layout(NamedTuple):
    processes: int
    devices: int  # of each
    mesh: tuple[int, int, int, int]  # replica, data, tensor, sequence


ALONE = Layout(1, 1, (1, 1, 1, 1))
LAYOUTS = [  # the layouts in turn, each up to a step of its own
    {LAST: Layout(1, 8, (2, 2, 2, 1))},
    {40: Layout(4, 1, (1, 4, 1, 1)), 70: Layout(2, 1, (1, 2, 1, 1)), LAST: ALONE},
    {LAST: Layout(1, 4, (1, 4, 1, 1))},
    {LAST: Layout(1, 2, (1, 1, 2, 1))},
    {LAST: Layout(1, 2, (1, 1, 1, 2))},
    {LAST: Layout(1, 4, (4, 1, 1, 1))},
    {LAST: Layout(1, 8, (1, 2, 2, 2))},
    {LAST: Layout(2, 1, (1, 2, 1, 1))},
    {LAST: Layout(2, 2, (1, 2, 2, 1))},
    {LAST: Layout(2, 1, (1, 1, 1, 2))},
    {LAST: Layout(4, 2, (2, 2, 2, 1))},
    {60: Layout(1, 8, (1, 4, 1, 2)), LAST: Layout(2, 2, (2, 2, 1, 1))},
]


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """The exit codes of a run's processes, on a layout, up to a step; RUN.begun gets what the loop begins with."""
    cache = tmp_path_factory.mktemp("cache")
    with forks() as server:

        def train(run: pathlib.Path, layout: Layout, n_steps: int) -> list[int]:
            mesh = {f"mesh.{axis}": n for axis, n in zip(AXES, layout.mesh, strict=True)}
            keys = TINY | SIZES | mesh | {"n_steps": n_steps, "data.cache": cache}
            words = [
                "train",
                "--config=configs/base.py",
                f"--workdir={run}",
                *(f"--config.{k}={v}" for k, v in keys.items()),
            ]
            errors, begun = f"{run}.errors", f"{run}.begun"
            ids = server.start(words, layout.processes, pathlib.Path(errors), layout.devices, begun)
            return server.wait(ids)

        yield train


@pytest.fixture(scope="module")
def whole(train, tmp_path_factory):
    """The run on one device."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train(run, ALONE, LAST) == [0]
    return run


def went_on(train, whole: pathlib.Path, work: pathlib.Path, rng: np.random.Generator, i: int) -> str:
    run = work / str(i)
    shutil.copytree(whole, run)
    for folder in (run / "checkpoints").iterdir():
        if folder.name != str(FIRST):
            shutil.rmtree(folder)
    (run / "metrics.jsonl").unlink()
    for n_steps, layout in LAYOUTS[i].items():
        if (ended := train(run, layout, n_steps)) != [0] * layout.processes:
            return f"layout {i} ended with {ended}: {(work / f'{i}.errors').read_text()[-300:]}"
    if other := other_bits(run, [FIRST, *LAYOUTS[i]][:-1]):
        return f"layout {i}: begins with another {other}"
    found, expected = lines(run), lines(whole)
    apart = max(abs(found[step][0] - expected[step][0]) for step in range(FIRST, LAST))
    others = sum(found[step][1] != expected[step][1] for step in range(FIRST, LAST))
    if apart > 1e-5 or others:
        return f"layout {i}: losses {apart:.1e} apart, {others} other batches"
    return SAME


def other_bits(run: pathlib.Path, begun_at: list[int]) -> str:
    """The first array of which a layout began with other bits than the checkpoint that it was to go on from has."""
    for at in begun_at:
        folders = f"{run}/checkpoints", f"{run}.begun"
        cfg = config.from_dict(checkpoint.read_meta(folders[0], at)["config"])
        shapes = step.abstract_state(cfg, mesh_of(1, 1, 1, 1))._asdict()
        saved, begun = (tree.named(checkpoint.restore_fields(folder, shapes, at)[0]) for folder in folders)
        assert {"step", "params", "opt_state"} == {name.split("/")[0] for name in saved}
        for name, array in saved.items():
            if np.asarray(array).tobytes() != np.asarray(begun[name]).tobytes():
                return f"{name} at step {at}"
    return ""


@pytest.mark.prove
def test_twelve_layouts_go_on(train, whole, tmp_path):
    found = draw("layouts", len(LAYOUTS), functools.partial(went_on, train, whole, tmp_path), keep=True)
    assert set(found) == {SAME}, found
