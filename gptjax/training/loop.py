"""The training loop, as a paragraph: evaluate, save, sample, update, log."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Iterator

import jax

from gptjax.config import Config
from gptjax.data.batches import Batch
from gptjax.training import divergence
from gptjax.training.patience import Patience
from gptjax.training.spikes import Spiked
from gptjax.training.step import TrainState


@dataclasses.dataclass(frozen=True)
class Tools:
    """What the loop is given; it imports nothing that stands above it."""

    update: Callable[[TrainState, Batch], tuple[TrainState, dict]]
    batches: Callable[[int], Batch]
    evaluate: Callable[[dict], dict[str, float]]
    sample: Callable[[int, dict], None]
    write: Callable[[int, dict[str, float]], None]
    save: Callable[[int, TrainState, float | None], None]  # refuses a state that is not finite
    check: Callable[[], None]  # raises what an asynchronous save has failed with
    wait: Callable[[], None]  # until all saves are done
    go_back: Callable[[int], TrainState]  # an older state that goes on at this step, without the batches between
    stop: Callable[[], bool]
    patience: Patience
    clock: Callable[[str], None]  # is told what the loop does from now on: one of runs.clock.KINDS
    profile_dir: str


def train(cfg: Config, state: TrainState, first_step: int, tools: Tools) -> tuple[TrainState, int]:
    """`updates`, which begin again from an older state after a spike of the loss where `spike.action` is "rollback"."""
    while True:
        try:
            return updates(cfg, state, first_step, tools)
        except Spiked as spike:
            tools.wait()
            tools.clock("restore")
            first_step = spike.step + 1
            state = tools.go_back(first_step)


def updates(cfg: Config, state: TrainState, first_step: int, tools: Tools) -> tuple[TrainState, int]:
    """Updates from `first_step` to `cfg.n_steps`, or until told to stop or out of patience; the last state is saved.
    Returns its step too.

    Step s is the state after s updates: its line holds the loss of that state on batch s, and its gradient's norm.
    Raises Diverged before anything that is not finite is saved, and whatever an asynchronous save failed with.
    """
    lines, tracing = Lines(cfg, tools.write, first_step), Trace(cfg, tools.profile_dir)
    metrics, step = {}, first_step
    for step in range(first_step, cfg.n_steps):
        tools.check()
        if tools.stop():
            break
        if step > first_step and due(cfg, step) or tools.patience.missed(step):
            with lines.paused(step):
                look(cfg, step, state, tools)
            if tools.patience.over:
                break
        tracing.at(step, metrics)
        tools.clock("data")
        batch = tools.batches(step)
        tools.clock("step")
        state, metrics = tools.update(state, batch)
        lines.read_late()
        lines.late = step, metrics
    else:
        step = cfg.n_steps
    with lines.paused(step):
        tracing.close()
        if step == cfg.n_steps:
            look(cfg, step, state, tools)
        elif not tools.patience.over:
            tools.clock("save")
            tools.save(step, state, None)
    tools.clock("save")
    tools.wait()
    return state, step


def every(n: int, step: int) -> bool:
    """Whether a thing of every n-th step is due; never where n is 0, always at step 0 else."""
    return n > 0 and step % n == 0


def due(cfg: Config, step: int) -> bool:
    """Whether the loop looks up from its updates at this step."""
    return any(every(n, step) for n in (cfg.eval_every, cfg.save_every, cfg.sample_every))


def look(cfg: Config, step: int, state: TrainState, tools: Tools) -> None:
    """Evaluates, saves and samples, each if its turn has come; all of them at the end. The best state is saved too."""
    last, best = step == cfg.n_steps, False
    eval_nll = None
    if last or every(cfg.eval_every, step):
        tools.clock("eval")
        found = tools.evaluate(state.eval_params)
        tools.write(step, found)
        divergence.refuse(step, cfg.seed, found)
        eval_nll = found["eval/nll"]
        best = tools.patience.judge(step, found)
        last = last or tools.patience.over
    if last or best or every(cfg.save_every, step):
        tools.clock("save")
        tools.save(step, state, eval_nll)
    if cfg.sample_tokens and (last or every(cfg.sample_every, step)):
        tools.clock("sample")
        tools.sample(step, state.eval_params)


class Lines:
    """Metrics on their way to the log: read one step late, so that the device always has the next step to do."""

    def __init__(self, cfg: Config, write: Callable[[int, dict[str, float]], None], first_step: int):
        self.cfg, self.write = cfg, write
        self.late: tuple[int, dict] | None = None
        self.mark = first_step, time.perf_counter()  # so many updates were done at that time

    def read_late(self) -> None:
        """Reads the metrics that wait, if any; writes those of a logging step, of a spike, or what is not finite."""
        if self.late is None:
            return
        (step, metrics), self.late = self.late, None
        found = divergence.read(metrics)
        spiked = "spike/z" in found and found["spike/z"] > self.cfg.spike.threshold
        if every(self.cfg.log_every, step):
            (n_done, since), self.mark = self.mark, (step + 1, time.perf_counter())
            rate = (step + 1 - n_done) * self.cfg.batch_tokens / (self.mark[1] - since)
            self.write(step, found | {"perf/tokens_per_s": rate})
        elif spiked or not all(map(math.isfinite, found.values())):
            self.write(step, found)
        divergence.refuse(step, self.cfg.seed, found)
        if spiked and self.cfg.spike.action == "rollback":
            raise Spiked(step)

    @contextlib.contextmanager
    def paused(self, step: int) -> Iterator[None]:
        """Time that is not training's; begins by waiting for update `step - 1` and refusing what is not finite."""
        self.read_late()
        yield
        self.mark = step, time.perf_counter()


class Trace:
    """The trace of `cfg.profile_steps`, for XProf and TensorBoard."""

    def __init__(self, cfg: Config, folder: str):
        self.steps, self.folder, self.running = cfg.profile_steps, folder, False

    def at(self, step: int, metrics: dict) -> None:
        """Starts or stops, if step is the first or follows the last; both wait for the updates before."""
        if self.steps and step in (self.steps[0], self.steps[1] + 1):
            jax.block_until_ready(metrics)
            if step == self.steps[0]:
                jax.profiler.start_trace(self.folder)
                self.running = True
            else:
                self.close()

    def close(self) -> None:
        if self.running:
            jax.profiler.stop_trace()
            self.running = False
