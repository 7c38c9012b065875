"""`gptjax train`: every room put together into one run."""

import concurrent.futures
import functools
import pathlib
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh

from gptjax import config
from gptjax.commands.screen import Screen
from gptjax.config import BadInput, Config
from gptjax.data import batches, prepared
from gptjax.data.batches import Batch, Batches, Prefetch
from gptjax.data.prepared import Prepared
from gptjax.evaluation import likelihood
from gptjax.generation import decode
from gptjax.planning import flops
from gptjax.runs.log import RunLog, environment, read_header
from gptjax.training import loop, resume, sharding, source, step
from gptjax.training.checkpoint import Checkpoints
from gptjax.training.step import TrainState
from gptjax.training.stop import Stop

DONE, STOPPED = 0, 75


def run(file: str, overrides: list[str], workdir: str, change_optimizer: bool) -> int:
    """Trains, or goes on training, the run in `workdir`; returns the exit code. Raises BadInput and Diverged."""
    cfg = config.load(file, overrides)
    with Stop(cfg.stop_after_s) as stop:
        return fit(cfg, workdir.rstrip("/"), change_optimizer, stop)


def fit(cfg: Config, workdir: str, change_optimizer: bool, stop: Stop) -> int:
    """The run from its first look at the directory to its last line."""
    past = read_header(workdir)
    changed = {}
    if past is not None:
        changed = resume.check_resume(
            past["config"], config.to_dict(cfg), run=workdir, change_optimizer=change_optimizer
        )
    mesh = sharding.mesh(cfg.mesh)
    rows = sharding.rows(cfg.batch_size, mesh)
    step.abstract_state(cfg, mesh)  # raises BadInput where the mesh does not fit the model
    data = prepared.prepare(cfg)
    train = train_batches(cfg, data, rows)

    checkpoints = Checkpoints(f"{workdir}/checkpoints", keep_last=cfg.keep_last, keep_every=cfg.keep_every)
    saved = checkpoints.latest()
    meta = {"config": config.to_dict(cfg), **data.fingerprints}
    if saved is not None:
        resume.check_fingerprints(checkpoints.meta(saved), meta, run=workdir)
        if saved >= cfg.n_steps:
            print(
                f"{workdir} is done: {saved:,} of {cfg.n_steps:,} steps. A larger --config.n_steps goes on from there."
            )
            return DONE

    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # XLA compiles the step while the state is made or read
        compiling = pool.submit(compile_update, cfg, mesh)
        state, origin = first_state(cfg, mesh, checkpoints, saved, data)
        update = compiling.result()

    log = RunLog(workdir, cfg.log, primary=jax.process_index() == 0)
    log.header(header(cfg, data, saved or 0, changed, origin))
    data.tokenizer.save(pathlib.Path(workdir) / "tokenizer")
    kinds = [device.device_kind for device in jax.devices()]
    print(f"{workdir}: {describe(cfg, kinds)}")

    with Screen(saved or 0, cfg.n_steps) as screen, Prefetch(lambda at: sharding.put(train(at), mesh)) as ahead:

        def write(at: int, metrics: dict[str, float]) -> None:
            if "perf/tokens_per_s" in metrics:
                mfu = flops.mfu(metrics["perf/tokens_per_s"], cfg.model, kinds)
                metrics |= {"perf/data_wait_s": ahead.waited_s} | ({} if mfu is None else {"perf/mfu": mfu})
            log.write(at, metrics, tokens=at * cfg.batch_tokens)
            screen.show(at, metrics)

        tools = loop.Tools(
            update=update,
            batches=ahead,
            evaluate=make_evaluate(cfg, data, mesh, rows),
            sample=functools.partial(write_sample, cfg, data, log),
            write=write,
            save=lambda at, state, nll: checkpoints.save(at, state, meta, nll),
            check=checkpoints.check,
            wait=checkpoints.wait,
            stop=stop,
            profile_dir=f"{workdir}/profile",
        )
        state, last = loop.train(cfg, state, saved or 0, tools)
    checkpoints.close()
    log.close()
    if last < cfg.n_steps:
        print(
            f"stopped by {stop.reason} at step {last:,} of {cfg.n_steps:,}, saved; the same command goes on from there"
        )
        return STOPPED
    epilogue(workdir, screen.latest, log.last_sample)
    return DONE


def train_batches(cfg: Config, data: Prepared, rows: slice) -> Batches:
    return Batches(
        list(data.train.values()),
        cfg.data.weights,
        batch_size=cfg.batch_size,
        context=cfg.model.context,
        seed=cfg.seed,
        mask_documents=cfg.data.mask_documents,
        end_of_text=data.tokenizer.end_of_text,
        rows=rows,
    )


def compile_update(cfg: Config, mesh: Mesh) -> Callable:
    """The train step as an executable: it refuses other shapes, so nothing can recompile it later."""
    places = jax.sharding.NamedSharding(mesh, sharding.BATCH)
    shape = cfg.batch_size, cfg.model.context
    kinds = Batch(np.int32, np.int32, np.float32, np.int32, np.int32)
    batch = Batch(*(jax.ShapeDtypeStruct(shape, kind, sharding=places) for kind in kinds))
    return step.make_update(cfg, mesh).lower(step.abstract_state(cfg, mesh), batch).compile()


def first_state(
    cfg: Config, mesh: Mesh, checkpoints: Checkpoints, saved: int | None, data: Prepared
) -> tuple[TrainState, dict | None]:
    """The state to start from: the run's own checkpoint, the weights that `init_from` names, or fresh ones."""
    if saved is not None:
        return checkpoints.restore(step.abstract_state(cfg, mesh), saved)[0], None
    if not cfg.init_from:
        return step.init_state(cfg, mesh), None
    given = source.open_run(cfg.init_from)
    resume.check_weights(given.cfg.model, cfg.model, origin=cfg.init_from)
    if given.tokenizer.fingerprint != data.tokenizer.fingerprint:
        raise BadInput(f"init_from={cfg.init_from}: its tokenizer is not this run's; set tokenizer.* as that run did")
    return step.state_from(given.params, cfg, mesh), {"run": given.run, "step": given.step}


def make_evaluate(cfg: Config, data: Prepared, mesh: Mesh, rows: slice) -> Callable[[dict], dict[str, float]]:
    windows = {
        name: batches.fixed(
            store,
            batch_size=cfg.batch_size // cfg.accumulate,
            context=cfg.model.context,
            n_tokens=cfg.eval_tokens,
            mask_documents=cfg.data.mask_documents,
            end_of_text=data.tokenizer.end_of_text,
            rows=rows,
        )
        for name, store in data.valid.items()
    }
    return likelihood.make_evaluate(windows, data.tokenizer.token_bytes, cfg.model, cfg.loss, mesh)


def write_sample(cfg: Config, data: Prepared, log: RunLog, at: int, params: dict) -> None:
    prompt = data.tokenizer.encode(cfg.sample_prompt)
    tokens = decode.generate(params, prompt, cfg.model, n_tokens=cfg.sample_tokens, seed=cfg.seed)
    log.sample(at, cfg.sample_prompt, data.tokenizer.decode(decode.until_end(tokens[0], data.tokenizer.end_of_text)))


def header(cfg: Config, data: Prepared, first_step: int, changed: dict, origin: dict | None) -> dict:
    """What run.json says of this session."""
    return {
        "name": cfg.name,
        "tags": list(cfg.tags),
        "note": cfg.note,
        "config": config.to_dict(cfg),
        **environment(),
        "devices": [device.device_kind for device in jax.devices()],
        "attention": cfg.model.attention,
        "data": data.provenance,
        "init_from": origin,
        "first_step": first_step,
        "changed": changed,
    }


def describe(cfg: Config, kinds: list[str]) -> str:
    """The first line printed: what is trained, on what."""
    millions = flops.n_params(cfg.model) / 1e6
    return (
        f"{millions:,.1f}M parameters, {cfg.model.attention} attention, {len(kinds)} x {kinds[0]}, "
        f"{cfg.n_steps:,} steps of {cfg.batch_tokens:,} tokens"
    )


def epilogue(workdir: str, latest: dict[str, float], sample: str) -> None:
    """The result, a sample and the next commands to try."""
    print(f"\nvalidation: {latest['eval/nll']:.4f} nats a token, {latest['eval/bits_per_byte']:.4f} bits a byte")
    print(f"sample:\n{sample}\n")
    print(f"run: {workdir} (run.json, metrics.jsonl, samples.jsonl, checkpoints/)")
    print(f"next: gptjax generate --from={workdir} --prompt='def '")
