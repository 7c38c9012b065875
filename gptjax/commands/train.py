"""`gptjax train`: every room put together into one run."""

import concurrent.futures
import contextlib
import ctypes
import dataclasses
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from gptjax import config
from gptjax.commands.opening import Opened, open_run
from gptjax.commands.private import Ledger, with_noise
from gptjax.commands.screen import Screen, describe, epilogue, unused_gpu
from gptjax.config import Config
from gptjax.data.batches import Batch, Prefetch
from gptjax.data.checksums import Checksums
from gptjax.evaluation import likelihood
from gptjax.generation import decode
from gptjax.model import lora
from gptjax.planning import flops, measured
from gptjax.runs.clock import Clock
from gptjax.runs.log import RunLog, environment
from gptjax.training import (
    checkpoint,
    divergence,
    hosts,
    loop,
    patience,
    preference,
    rounds,
    sharding,
    source,
    spikes,
    step,
    tuning,
)  # fmt: skip
from gptjax.training.checkpoint import Checkpoints
from gptjax.training.lock import RunLock
from gptjax.training.patience import Kept, Patience
from gptjax.training.step import TrainState
from gptjax.training.stop import Stop
from gptjax.training.watch import Watch

DONE, STOPPED = 0, 75
SAMPLE_TEMPERATURE = 0.8  # of samples.jsonl, as is the default of `gptjax generate`


def run(load: Callable[[], Config], workdir: str, change_optimizer: bool, clock: Clock) -> int:
    """Trains, or goes on training, the run in `workdir`; returns the exit code. Raises BadInput and Diverged."""
    clock("open")
    lock = RunLock(workdir.rstrip("/"))
    opening = lambda: open_run(load(), lock, change_optimizer)
    with Stop() as stop, contextlib.closing(lock):
        opened = hosts.agreed(opening, lambda opened: opened.shared)
        cfg = opened.cfg
        stop.after(cfg.stop_after_s)
        if opened.saved is not None and opened.saved >= cfg.n_steps:
            print(f"{opened.workdir} is done: {opened.saved:,} of {cfg.n_steps:,} steps.", end=" ")
            print("A larger --config.n_steps goes on from there.")
            return DONE
        if opened.best is not None and patience.is_over(opened.best, cfg):
            print(f"{opened.workdir} is done, stopped early: {patience.why(opened.best)}.", end=" ")
            print("A larger --config.stop_patience goes on from there.")
            return DONE
        return train(opened, stop, clock)


def train(opened: Opened, stop: Stop, clock: Clock) -> int:
    """The run from its first compile to its last line."""
    clock("compile")
    cfg, workdir, first_step = opened.cfg, opened.workdir, opened.saved or 0
    tuned = bool(cfg.lora.rank or cfg.tune.patterns)  # whose FLOPs are fewer than the formula's
    kinds = [device.device_kind for device in jax.devices()]
    for line in (f"{workdir}: {describe(cfg, kinds)}", *unused_gpu(kinds), *said_of_dialogs(opened)):
        print(line, flush=True)
    with contextlib.ExitStack() as stack:
        primary, reached = jax.process_index() == 0, first_step
        log = RunLog(workdir, cfg.log, primary=primary)
        stack.callback(log.close)
        stack.callback(lambda: log.write(reached, clock.seconds(), tokens=reached * cfg.batch_tokens))  # the last line
        stack.enter_context(Watch(clock, cfg.stuck_after_s, workdir, jax.process_index()))
        waiting = Patience(cfg, opened.saved_meta)
        keep = open_checkpoints(opened, waiting)
        stack.callback(keep.close)
        traced = trace_update(cfg, opened.mesh)  # not in the thread: JAX traces in one thread at a time
        with concurrent.futures.ThreadPoolExecutor(1) as pool:  # XLA compiles the step while the state is made or read
            compiling = pool.submit(compiled, traced.compile)
            clock("restore")
            state, origin = first_state(opened, keep)
            clock("compile")
            update = compiling.result()
        clock("open")
        planned = update.memory_analysis()
        ledger = stack.enter_context(contextlib.closing(Ledger(cfg, opened.private)))
        if primary:
            ledger.begin(workdir, first_step)
        log.header(header(opened, origin) | {"privacy": ledger.header})
        log.write(first_step, ledger.line(first_step, clock.seconds()), tokens=first_step * cfg.batch_tokens)
        if primary:
            source.write_tokenizer(opened.data.tokenizer, workdir)
            source.write_chat(opened.data.chat, workdir)
        screen = stack.enter_context(Screen(first_step, cfg.n_steps))
        sums = make_checksums(opened)
        ahead = stack.enter_context(Prefetch(sums, put=functools.partial(sharding.put, on=opened.mesh)))

        def batch_of(at: int) -> Batch:
            batch = ahead(at)
            sums.send(at)
            return batch

        def write(at: int, metrics: dict[str, float]) -> None:
            nonlocal reached
            reached = at
            if "perf/tokens_per_s" in metrics:
                mfu = None if tuned else flops.mfu(metrics["perf/tokens_per_s"], cfg.model, kinds)
                metrics |= {"perf/data_wait_s": ahead.waited_s} | ({} if mfu is None else {"perf/mfu": mfu})
                metrics["data/batch_crc"] = sums.taken(at)
                metrics |= measured.against_plan(jax.local_devices()[0].memory_stats(), planned)
            metrics = ledger.line(at, metrics)
            log.write(at, metrics | clock.seconds(), tokens=at * cfg.batch_tokens)
            screen.show(at, metrics)
            if "spike/z" in metrics and metrics["spike/z"] > cfg.spike.threshold:
                log.spike(at, metrics["spike/z"], cfg.spike.action)

        check_state = divergence.make_check(cfg.seed, opened.mesh)

        def save(at: int, state: TrainState, eval_nll: float | None) -> None:
            check_state(at, state)
            keep.save(at, state, opened.meta | waiting.meta, eval_nll)

        tools = loop.Tools(
            update=with_noise(update, opened.private, opened.mesh),
            batches=batch_of,
            evaluate=make_evaluate(opened),
            sample=functools.partial(write_sample, opened, log),
            write=write,
            save=save,
            check=keep.check,
            wait=keep.wait,
            go_back=functools.partial(older_state, opened, keep, waiting),
            stop=rounds.together(stop),
            patience=waiting,
            clock=clock,
            profile_dir=f"{workdir}/profile",
        )
        state, last = loop.train(cfg, state, first_step, tools)
        clock("end")
    if waiting.best is not None and waiting.over:
        print(f"stopped early at step {last:,} of {cfg.n_steps:,}: {patience.why(waiting.best)};", end=" ")
        print(f"--from={workdir} opens step {waiting.best.step:,}")
    elif last < cfg.n_steps:
        print(f"stopped by {stop.reason} at step {last:,} of {cfg.n_steps:,}, saved;", end=" ")
        print("the same command goes on from there")
        return STOPPED
    epilogue(workdir, cfg.sample_prompt, screen.latest, log.last_sample if cfg.sample_tokens else None)
    return DONE


def trace_update(cfg: Config, on: Mesh) -> jax.stages.Lowered:
    """The train step, to be compiled ahead of time: an executable refuses other shapes, so nothing recompiles it."""
    sharding.check_rows(cfg.batch_size, cfg.accumulate, on)
    places = sharding.place(sharding.BATCH, on)
    shape = cfg.batch_size, cfg.model.context
    of_documents = np.int32 if cfg.data.mask_documents else None
    kinds = Batch(np.int32, np.int32, np.float32, of_documents, of_documents)
    batch = jax.tree.map(lambda kind: jax.ShapeDtypeStruct(shape, kind, sharding=places), kinds)
    key = jax.ShapeDtypeStruct((2,), np.uint32, sharding=sharding.place(PartitionSpec(), on))
    return step.make_update(cfg, on).lower(step.abstract_state(cfg, on), batch, *([key] if cfg.privacy.on else []))


def compiled(compile: Callable[[], Any]) -> Any:
    """The executable that `compile` returns. What the compiler freed goes back to the system: glibc would keep some
    0.35 GiB of it, for ever beside the state."""
    done = compile()
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "malloc_trim"):  # glibc's alone
        libc.malloc_trim(0)
    return done


def first_state(opened: Opened, keep: Checkpoints) -> tuple[TrainState, dict | None]:
    """The state to start from: the run's own checkpoint, the weights that `init_from` names, or fresh ones."""
    cfg, on = opened.cfg, opened.mesh
    if opened.saved is not None:
        return restored(cfg, on, keep, opened.saved), None
    if not cfg.init_from:
        return step.init_state(cfg, on), None
    given = source.open_run(cfg.init_from)
    weights = jax.device_get(given.params)  # from the host each process can fill its part of a mesh over several
    return step.state_from(weights, cfg, on), {"run": given.run, "step": given.step}


def restored(cfg: Config, on: Mesh, keep: Checkpoints, saved: int) -> TrainState:
    """A verified checkpoint; its window of losses is empty where it was saved with another than is asked for."""
    was = spikes.saved_with(checkpoint.read_meta(keep.folder, saved)["config"])
    state = keep.read(step.abstract_state(dataclasses.replace(cfg, spike=was), on), saved)
    wanted = step.abstract_state(cfg, on).losses_W
    if state.losses_W is None or wanted is None or state.losses_W.shape != wanted.shape:
        empty = functools.partial(spikes.window, cfg.spike)
        return state._replace(losses_W=wanted and jax.jit(empty, out_shardings=wanted.sharding)())
    return state


def open_checkpoints(opened: Opened, waiting: Patience) -> Checkpoints:
    cfg, folder = opened.cfg, f"{opened.workdir}/checkpoints"
    also = Kept(waiting) if cfg.stop_patience else None
    return Checkpoints(folder, keep_last=cfg.keep_last, keep_every=cfg.keep_every, also=also)


def older_state(opened: Opened, keep: Checkpoints, waiting: Patience, at: int) -> TrainState:
    """What a run goes on with at a step after a spike: the newest state that is kept for good, or else the first.

    A checkpoint that somebody's signal made is not taken, so an interrupted run goes back to where any other would.
    """
    there = checkpoint.steps(keep.folder)
    kept = [saved for saved in there if saved < at and loop.every(opened.cfg.keep_every, saved)]
    saved = checkpoint.verified(keep.folder, max(kept)) if kept else None
    waiting.go_back(None if saved is None else checkpoint.read_meta(keep.folder, saved))
    state, _ = first_state(opened._replace(saved=saved), keep)
    return spikes.moved_on(state, at - max(kept, default=0))


def make_checksums(opened: Opened) -> Checksums:
    size = opened.cfg.batch_size
    own = sharding.own_rows(size, opened.mesh)
    return Checksums(
        opened.batches, opened.cfg.log_every, rows=opened.rows, own=own, n_rows=size, share=rounds.shared()
    )


def make_evaluate(opened: Opened) -> Callable[[dict], dict[str, float]]:
    """`evaluate(params) -> metrics` over the held-out windows, adapters merged in first."""
    cfg, tokenizer = opened.cfg, opened.data.tokenizer
    size = cfg.batch_size // cfg.accumulate
    of_store = functools.partial(
        opened.fixed,
        batch_size=size,
        context=cfg.model.context,
        n_tokens=cfg.eval_tokens,
        end_of_text=tokenizer.end_of_text,
        rows=sharding.rows(size, opened.mesh),
    )
    windows = {name: of_store(store) for name, store in opened.data.valid.items()}
    if cfg.data.preferences:
        return preference.make_evaluate(windows, tokenizer.token_bytes, cfg, opened.mesh)
    judge = likelihood.make_evaluate(windows, tokenizer.token_bytes, cfg.model, cfg.loss, opened.mesh)
    return lambda params: judge(lora.merged(params, cfg.lora))


def write_sample(opened: Opened, log: RunLog, at: int, params: dict) -> None:
    cfg, tokenizer = opened.cfg, opened.data.tokenizer
    prompt = tokenizer.encode(cfg.sample_prompt)
    (tokens_T,) = decode.generate(
        lora.merged(tuning.policy(params), cfg.lora),
        prompt,
        cfg.model,
        n_tokens=cfg.sample_tokens,
        seed=cfg.seed,
        temperature=SAMPLE_TEMPERATURE,
    )
    log.sample(at, cfg.sample_prompt, tokenizer.decode(decode.until_end(tokens_T, tokenizer.end_of_text)))


def said_of_dialogs(opened: Opened) -> Iterator[str]:
    of = "pairs" if opened.cfg.data.preferences else "dialogs"
    for name, found in opened.told.items():
        rows = f" in {found['rows']:,} rows, {found['filled']:.0%} full" if "rows" in found else ""
        yield (
            f"{name}: {found['dialogs']:,} {of}{rows}; longer than the context: {found['left_out']:,} left out, "
            f"{found['cut']:,} cut (data.too_long={opened.cfg.data.too_long})"
        )


def header(opened: Opened, origin: dict | None) -> dict:
    """What run.json says of this session."""
    return {
        "name": opened.cfg.name,
        "tags": list(opened.cfg.tags),
        "note": opened.cfg.note,
        "config": config.to_dict(opened.asked),
        **environment(),
        "devices": [device.device_kind for device in jax.devices()],
        "attention": opened.cfg.model.attention,
        "data": opened.data.provenance,
        "dialogs": opened.told or None,
        "init_from": origin,
        "first_step": opened.saved or 0,
        "changed": opened.changed,
    }
