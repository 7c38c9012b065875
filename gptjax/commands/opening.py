"""Opening a run: all that can be refused before the first compile is refused here."""

import functools
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from jax.sharding import Mesh

from gptjax import config, mesh
from gptjax.commands import private
from gptjax.commands.private import Private
from gptjax.config import BadInput, Config
from gptjax.data import batches, dialog_batches, prepared
from gptjax.data.batches import Batch, Batches
from gptjax.data.dialog_batches import DialogBatches, Packed
from gptjax.data.examples import Examples
from gptjax.data.poisson import PoissonBatches
from gptjax.data.preference_batches import PackedPairs
from gptjax.data.prepared import Prepared
from gptjax.model import choice
from gptjax.privacy import secret
from gptjax.runs import workdir as directory
from gptjax.runs.log import read_header
from gptjax.training import checkpoint, hosts, patience, resume, sharding, source, step
from gptjax.training import private as gradients
from gptjax.training.lock import RunLock
from gptjax.training.patience import Best


class Opened(NamedTuple):
    """A run whose input has been checked: nothing is compiled yet, and nothing is written."""

    cfg: Config  # with the kernel that attends in `model.attention`
    asked: Config  # as given, where that may be "auto"
    workdir: str
    mesh: Mesh
    rows: list[int]  # of the global batch, read by this process
    data: Prepared
    batches: Batches | DialogBatches | PoissonBatches
    private: Private | None
    told: dict[str, dict]  # of dialogs: how many of each split, how many left out or cut
    saved: int | None  # the newest good checkpoint's step
    saved_meta: dict | None  # what that holds beside the state
    changed: dict  # keys that a resumed run changes, {key: [old, new]}

    @property
    def fixed(self) -> Callable[..., Sequence[Batch]]:
        """The batches of an evaluation, as `batches.fixed` makes them."""
        data = self.cfg.data
        if not data.dialogs:
            return functools.partial(batches.fixed, mask_documents=data.mask_documents)
        return functools.partial(dialog_batches.fixed, too_long=data.too_long, kind=kind_of(self.cfg))

    @property
    def shared(self) -> dict:
        """What every process of a run must have found alike, by what its user calls it."""
        return {
            "their config": config.to_dict(self.cfg),
            "the newest checkpoint of --workdir": self.saved,
            "the tokens and the tokenizer": self.data.fingerprints,
        }

    @property
    def best(self) -> Best | None:
        """What the newest checkpoint remembers of the run's evaluations."""
        return patience.saved(self.saved_meta)

    @property
    def meta(self) -> dict:
        """What a checkpoint holds beside the state."""
        noise = {} if self.private is None else {"noise_multiplier": self.private.step.noise_multiplier}
        return {"config": config.to_dict(self.asked), **self.data.fingerprints, **noise}


def open_run(cfg: Config, lock: RunLock, change_optimizer: bool) -> Opened:
    """All that can be refused before the first compile is refused here, by BadInput."""
    workdir = lock.workdir
    directory.check(workdir, cfg.log)
    folder = f"{workdir}/checkpoints"
    saved, past = hosts.of_first(lambda: newest_good(folder, lock), "saved"), read_header(workdir)
    saved_meta = None if saved is None else checkpoint.read_meta(folder, saved)
    before = saved_meta or past  # the newest checkpoint knows of changes that came after run.json
    changed = {}
    if before is not None:
        now = config.to_dict(cfg)
        changed = resume.check_resume(before["config"], now, run=workdir, change_optimizer=change_optimizer)
        if cfg.privacy.on and any(config.resume_rule(key) == "optimizer" for key in changed):
            raise BadInput(
                "--change_optimizer: steps done again by another optimizer would have the noise they had, which then "
                f"can be taken off; start a new run with --config.init_from={workdir} --workdir=NEW"
            )
    on = mesh.make(cfg.mesh)
    rows = sharding.rows(cfg.batch_size, on)
    sharding.check_rows(cfg.batch_size, cfg.accumulate, on)
    shapes = step.abstract_state(cfg, on)  # for its refusal of a mesh that does not divide the model
    gradients.check(shapes.params, cfg)
    chosen = choice.resolved(cfg, on)
    data = prepared.prepare(cfg)
    if cfg.init_from:
        source.check_origin(cfg, data.tokenizer)
    drawn = train_batches(cfg, data, rows)
    told = dialogs_told(cfg, data, drawn) if isinstance(drawn, DialogBatches) else {}
    own = None
    if cfg.privacy.on:
        key = hosts.of_first(lambda: secret.opened(workdir, before is not None), "secret")
        own = private.opened(cfg, data, drawn, rows, key, before)
        chosen, drawn = private.resolved(chosen, own.step), own.batches
    opened = Opened(chosen, cfg, workdir, on, rows, data, drawn, own, told, saved, saved_meta, changed)
    if saved_meta is not None:
        resume.check_fingerprints(saved_meta, opened.meta, run=workdir)
    hosts.of_first(lock.take, "lock")
    return opened


def newest_good(folder: str, lock: RunLock) -> int | None:
    """The step to go on from, every file of it verified; damaged checkpoints are put aside by the job that trains."""
    if os.path.isdir(lock.workdir):
        lock.take()
    return checkpoint.newest_good(folder, functools.partial(checkpoint.verified, folder), quarantine=True)


def dialogs_told(cfg: Config, data: Prepared, drawn: DialogBatches) -> dict[str, dict]:
    """What becomes of the dialogs of every corpus and split; raises BadInput where none of a split can be used."""
    told = {f"{name}/train": counts for name, counts in drawn.told.items()}
    for name, store in data.valid.items():
        found = Examples(store, data.tokenizer.end_of_text)
        told[f"{name}/valid"] = kind_of(cfg).fitted(found, cfg.model.context, cfg.data.too_long).counts
    return told


def kind_of(cfg: Config) -> type[Packed]:
    """What the rows of dialogs are packed of."""
    return PackedPairs if cfg.data.preferences else Packed


def train_batches(cfg: Config, data: Prepared, rows: list[int]) -> Batches | DialogBatches:
    """A run's batches by step, of dialogs or of text; this process reads the `rows` of each."""
    if cfg.data.dialogs:
        return DialogBatches(
            data.train,
            cfg.data.weights,
            batch_size=cfg.batch_size,
            context=cfg.model.context,
            seed=cfg.seed,
            fill=cfg.data.fill,
            too_long=cfg.data.too_long,
            end_of_text=data.tokenizer.end_of_text,
            rows=rows,
            kind=kind_of(cfg),
        )
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
