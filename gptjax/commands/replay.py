"""`gptjax train --replay=STEP`: the updates of a run once more, up to one batch, to look at what it gave."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable

from gptjax.commands import train
from gptjax.commands.opening import Opened, open_run
from gptjax.commands.private import with_noise
from gptjax.config import BadInput, Config
from gptjax.data.batches import Prefetch
from gptjax.training import checkpoint, divergence, hosts, loop, sharding
from gptjax.training.checkpoint import Checkpoints
from gptjax.training.lock import RunLock
from gptjax.training.patience import Patience


def run(load: Callable[[], Config], workdir: str, change_optimizer: bool, at: int) -> int:
    """Does again what led to update `at` of the run in `workdir`, prints its metrics bit by bit, and writes nothing.

    Nobody may train there meanwhile. The loop is the run's own: on the same layout each number has the bits it had, and
    Diverged is raised where it was. Raises BadInput too.
    """
    with contextlib.closing(RunLock(workdir.rstrip("/"))) as lock:
        opening = lambda: before(at, open_run(load(), lock, change_optimizer))
        return again(hosts.agreed(opening, lambda opened: opened.shared), at)


def again(opened: Opened, at: int) -> int:
    cfg, first_step = opened.cfg, opened.saved or 0
    print(f"{opened.workdir}: from step {first_step:,} to batch {at:,} again; nothing is written", flush=True)
    update = with_noise(train.compiled(train.trace_update(cfg, opened.mesh).compile), opened.private, opened.mesh)
    waiting = Patience(dataclasses.replace(cfg, stop_patience=0), None)
    keep = Checkpoints(f"{opened.workdir}/checkpoints", keep_last=cfg.keep_last, keep_every=cfg.keep_every)
    state, _ = train.first_state(opened, keep)
    check = divergence.make_check(cfg.seed, opened.mesh)
    to_do = iter(range(first_step, at + 1))
    with Prefetch(opened.batches, put=functools.partial(sharding.put, on=opened.mesh)) as ahead:
        tools = loop.Tools(
            update=update,
            batches=ahead,
            evaluate=train.make_evaluate(opened),
            sample=lambda step, params: None,
            write=lambda step, metrics: show(metrics) if step == at else None,
            save=lambda step, state, nll: check(step, state) if step == at else None,
            check=lambda: None,
            wait=lambda: None,
            go_back=lambda step: train.older_state(opened, keep, waiting, step),
            stop=lambda: next(to_do, None) is None,
            patience=waiting,
            clock=lambda kind: None,
            profile_dir="",
        )
        loop.train(only(cfg, at), state, first_step, tools)
    keep.close()
    print(f"all was finite up to batch {at:,}")
    return train.DONE


def before(at: int, opened: Opened) -> Opened:
    """The run with its newest checkpoint of step `at` or earlier as the one to start from."""
    if not 0 <= at <= opened.cfg.n_steps:
        raise BadInput(f"--replay={at}: must be a step of the run, 0 to {opened.cfg.n_steps}")
    folder = f"{opened.workdir}/checkpoints"
    saved = [step for step in checkpoint.steps(folder) if step <= at]
    return opened._replace(saved=checkpoint.verified(folder, max(saved)) if saved else None)


def only(cfg: Config, at: int) -> Config:
    """The loop's config with a line for every step, and with what it does besides updates at this step alone."""
    once = {key: at if loop.every(getattr(cfg, key), at) else 0 for key in ("eval_every", "save_every")}
    return dataclasses.replace(cfg, **once, sample_every=0, log_every=1, profile_steps=())


def show(metrics: dict[str, float]) -> None:
    for name, value in metrics.items():
        if not name.startswith("perf/"):
            print(f"  {name} is {divergence.bits(value)}")
