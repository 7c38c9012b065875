"""Checkpoints: RUN/checkpoints/<step>/, written by Orbax: the items `params` and `ema` (weights), `state` (the rest of
the arrays) and `meta` (JSON), and a manifest of hashes (integrity.py), which is verified before any array is used.

A step's folder gets its name only when it is whole, and loses it before its files go, so neither a killed save nor a
killed clean-up is ever chosen. Saves run in the background; an error in one is raised by the next `check`, `save` or
`wait`. The module's functions only read, but for `newest_good(..., quarantine=True)`, so they are safe on a run that is
still being trained; that and `Checkpoints` are for the one job that writes.
Folders may be local or gs:// (never run: Orbax documents it, we have no bucket). Orbax 0.12.8 cannot write to s3://.
"""

import contextlib
import json
import logging
import math
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as keeping

from gptjax import tree
from gptjax.config import BadInput
from gptjax.runs.faults import PassingOver, told_of_storage
from gptjax.runs.log import file_system
from gptjax.training import integrity
from gptjax.training.integrity import FORMAT, DamagedCheckpoint
from gptjax.training.items import WEIGHTS, fields_of, items_of
from gptjax.version import VERSION

Opened = TypeVar("Opened")
REMOVED = "removed"  # old checkpoints lie there while their files go

# Orbax reports each save to absl's log, and each failed one with a traceback; the failures reach us as exceptions.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


def place(folder: str) -> str:
    """The folder as Orbax takes it: gs:// as it is, a local path made absolute; raises BadInput for other stores."""
    if "://" in folder and not folder.startswith("gs://"):
        raise BadInput(
            f"{folder}: checkpoints need a local folder or gs://; Orbax cannot write to {folder.split(':')[0]}://"
        )
    return folder if "://" in folder else os.path.abspath(os.path.expanduser(folder))


def steps(folder: str) -> list[int]:
    """The finished checkpoints of a folder, oldest first."""
    folder = place(folder)
    if "://" not in folder and not os.path.isdir(folder):
        return []
    return sorted(found.step for found in ocp.path.step.standard_name_format().find_all(folder))


def latest(folder: str) -> int | None:
    """The newest finished checkpoint."""
    return max(steps(folder), default=None)


def newest_good(folder: str, opened: Callable[[int], Opened], *, quarantine: bool = False) -> Opened | None:
    """What `opened(step)` gives for the newest checkpoint that it finds undamaged; None where none was ever made.

    Each damaged one is named on stderr; with `quarantine` it is put aside under another name too, and so are older ones
    of which Orbax cannot read what it reads of each. Raises BadInput where no good one is left.
    """
    found = None
    for step in reversed(steps(folder)):
        path = f"{place(folder)}/{step}"
        try:
            if found is None:
                found = opened(step)
            elif quarantine:
                integrity.verify(path, ("meta", "metrics"))
        except DamagedCheckpoint as error:
            put_aside = f"; it is now {integrity.quarantine(path)}" if quarantine else ""
            print(f"gptjax: {error}{put_aside}", file=sys.stderr, flush=True)
    left = integrity.quarantined(place(folder)) + [str(step) for step in steps(folder)]
    if found is None and left:
        raise BadInput(f"{folder}: every checkpoint is damaged ({', '.join(left)}); start a run in another --workdir")
    return found


def verified(folder: str, step: int) -> int:
    """The step, once every file of it is as it was saved. Raises DamagedCheckpoint."""
    integrity.verify(f"{place(folder)}/{step}")
    return step


def read_meta(folder: str, step: int) -> dict:
    """What was saved beside the arrays, verified, without reading them."""
    path = f"{place(folder)}/{step}"
    integrity.verify(path, ("meta",))
    fs, root = file_system(path)
    return json.loads(fs.cat_file(f"{root}/meta/metadata"))


def restore_fields(folder: str, abstract: Mapping[str, Any], step: int) -> tuple[dict, dict]:
    """Some fields of the state, {"params": tree of jax.ShapeDtypeStruct}, and the meta; nothing else is read from disk.

    Each array goes to its struct's sharding, whatever mesh it was saved from; without one, to the first local device.
    Raises BadInput where the checkpoint holds other arrays, DamagedCheckpoint where a file of theirs is not as it was.
    """
    path = f"{place(folder)}/{step}"
    parts = items_of(dict(abstract))
    integrity.verify(path, ("meta", *parts))
    found = {name: read_item(path, name, fields, partial=True) for name, fields in parts.items()}
    return {field: value for fields in found.values() for field, value in fields.items()}, read_meta(folder, step)


class Checkpoints:
    """The checkpoints of a run: keeps the last `keep_last`, every step that `keep_every` divides (0 = none), the one
    with the lowest `eval_nll`, and what `also` names. Opening it removes what a killed save or clean-up left behind."""

    def __init__(self, folder: str, *, keep_last: int, keep_every: int, also: Any = None):
        self.folder, self.local = place(folder), "://" not in folder
        self.saving = 0  # the step whose save was started last
        self.removing: threading.Thread | None = None  # since that save was over
        keep = [
            keeping.LatestN(keep_last),
            keeping.BestN(get_metric_fn=eval_nll_of, reverse=True, n=1, keep_checkpoints_without_metrics=False),
        ]
        keep += [keeping.EveryNSteps(keep_every)] if keep_every else []
        keep += [also] if also else []
        if not isinstance(sys.unraisablehook, PassingOver):
            sys.unraisablehook = PassingOver(sys.unraisablehook)
        with told_of_storage(self.folder):
            self.remove()
            self.manager = ocp.CheckpointManager(
                self.folder,
                options=ocp.CheckpointManagerOptions(
                    preservation_policy=keeping.AnyPreservationPolicy(keep),
                    best_fn=eval_nll_of,  # without it Orbax does not write the metric
                    best_mode="min",
                    cleanup_tmp_directories=True,
                    todelete_subdir=REMOVED if self.local else None,
                    # Called by process 0 when every process has written its files, before the folder gets its name.
                    async_options=ocp.AsyncOptions(post_finalization_callback=self.seal),
                ),
            )

    def save(self, step: int, state: Any, meta: Mapping, eval_nll: float | None) -> None:
        """Starts a save and returns once the arrays may be donated; a step that is already there is left as it is.

        Every process calls it. A save without a finite `eval_nll` (nats per token) is never the best.
        """
        self.wait()
        if step in self.manager.all_steps():
            return
        scored = eval_nll is not None and math.isfinite(eval_nll)
        arrays = {name: ocp.args.StandardSave(fields) for name, fields in items_of(fields_of(state)).items()}
        self.saving, self.removing = step, None
        with told_of_storage(f"{self.folder}/{step}"):
            self.manager.save(
                step,
                args=ocp.args.Composite(**arrays, meta=ocp.args.JsonSave({**written_by(), **meta})),
                metrics={"eval_nll": eval_nll} if scored else None,
                force=True,
            )

    def seal(self) -> None:
        """Writes the manifest of hashes into the step that was saved; called by process 0 alone."""
        final = f"{self.folder}/{self.saving}"
        integrity.seal(f"{final}.orbax-checkpoint-tmp" if self.local else final, self.saving)

    def check(self) -> None:
        """Raises the error of a save that has failed since the last call; costs microseconds."""
        if self.manager.is_saving_in_progress():
            return
        with told_of_storage(f"{self.folder}/{self.saving}"):
            self.manager.wait_until_finished()
        if self.saving and self.removing is None:
            self.removing = threading.Thread(target=self.remove)
            self.removing.start()

    def remove(self) -> None:
        """Takes the files of old checkpoints from the disk, where they are this process's to take."""
        if self.local and jax.process_index() == 0:
            shutil.rmtree(f"{self.folder}/{REMOVED}", ignore_errors=True)

    def wait(self) -> None:
        """Returns when no save is under way; raises the error of one that failed."""
        with told_of_storage(f"{self.folder}/{self.saving}"):
            self.manager.wait_until_finished()
        if self.removing is not None:
            self.removing.join()
        self.remove()

    def close(self) -> None:
        """Raises the error of a save that failed, as `wait` does."""
        self.wait()
        self.manager.close()

    def steps(self) -> list[int]:
        """The finished ones, ascending; read from the folder, so those of other processes too."""
        return steps(self.folder)

    def latest(self) -> int | None:
        """None where none is finished."""
        return latest(self.folder)

    def best(self) -> int | None:
        """The finished checkpoint with the lowest `eval_nll`, the newest of equals; None where none has one."""
        scored = {step: metrics for step in self.steps() if (metrics := self.manager.metrics(step)) is not None}
        return min(reversed(scored), key=lambda step: eval_nll_of(scored[step]), default=None)

    def restore(self, abstract_state: Any, step: int) -> tuple[Any, dict]:
        """The whole state, in the structure of `abstract_state`, and the meta, once every file is verified.

        Raises like `restore_fields`.
        """
        verified(self.folder, step)
        return self.read(abstract_state, step), read_meta(self.folder, step)

    def read(self, abstract_state: Any, step: int) -> Any:
        """The whole state of a step that has been verified."""
        fields, found = fields_of(abstract_state), {}
        parts, path = items_of(fields), f"{self.folder}/{step}"
        held = {name.split("/")[0] for name in integrity.read_manifest(path)["files"]}
        for name in dict.fromkeys(("state", *WEIGHTS)):
            if name in parts or name in held:
                found |= read_item(path, name, parts.get(name, {}), partial=False, held=name in held)
        _, structure = jax.tree.flatten(abstract_state, is_leaf=lambda node: node is not abstract_state)
        return jax.tree.unflatten(structure, [found.get(field) for field in fields])


def save_weights(folder: str, step: int, params: Any, meta: Mapping) -> None:
    """A checkpoint of weights alone, written when this returns; one of that step that is there is replaced.

    Neither compressed nor merged into large files, as the checkpoints of a run are: of weights in 32 bits compression
    saves a tenth, takes three times as long, and holds a second copy in memory."""
    final, local = f"{place(folder)}/{step}", "://" not in folder
    written = f"{final}.writing" if local else final
    arrays = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False)
    handler = ocp.CompositeCheckpointHandler(params=arrays, meta=ocp.JsonCheckpointHandler())
    items = ocp.args.Composite(
        params=ocp.args.PyTreeSave({"params": params}), meta=ocp.args.JsonSave({**written_by(), **meta})
    )
    with told_of_storage(final):
        with ocp.Checkpointer(handler) as writer:
            writer.save(written, args=items, force=True)
        integrity.seal(written, step)
        if local:
            shutil.rmtree(final, ignore_errors=True)
            os.rename(written, final)


def written_by() -> dict:
    return {"format": FORMAT, "gptjax": VERSION}


def eval_nll_of(metrics: Mapping) -> float:
    return metrics["eval_nll"]


@contextlib.contextmanager
def damage_named(path: str) -> Iterator[None]:
    """Names the checkpoint in whatever Orbax raises for files that it cannot read, though each is as it was saved."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError):  # no room on the device or host says nothing of the files
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise DamagedCheckpoint(path, f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}") from error


def read_item(path: str, item: str, abstract: Mapping[str, Any], *, partial: bool, held: bool = True) -> dict[str, Any]:
    """The arrays of an item, or of a part of it; the shapes are checked before any is read."""
    saved = {}
    if held:
        with damage_named(path), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
            described = reader.metadata(f"{path}/{item}").item_metadata.tree
            saved = {name: tuple(leaf.shape) for name, leaf in tree.named(described).items()}
    wanted = {name: tuple(leaf.shape) for name, leaf in tree.named(abstract).items()}
    for name in wanted if partial else wanted | saved:
        holds, asked = (shapes[name] if name in shapes else "nothing" for shapes in (saved, wanted))
        if holds != asked:
            raise BadInput(
                f"{path} is of another model or optimizer: as {name} it holds {holds}, asked for was {asked}"
            )
    placed = jax.tree.map(with_sharding, dict(abstract))
    with damage_named(path), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        return reader.restore(
            f"{path}/{item}",
            args=ocp.args.PyTreeRestore(
                placed, restore_args=ocp.checkpoint_utils.construct_restore_args(placed), partial_restore=partial
            ),
        )


def with_sharding(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or here)
