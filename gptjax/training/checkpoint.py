"""Checkpoints: RUN/checkpoints/<step>/ with the items `state` (arrays) and `meta` (JSON), written by Orbax.

A step's folder gets its name only when it is whole, so a save that was killed is never chosen. Saves run in the
background; an error in one is raised by the next `check`, `save` or `wait`. The module's functions only read, so they
are safe on a run that is still being trained; `Checkpoints` is for the one job that writes.
Folders may be local or gs:// (never run: Orbax documents it, we have no bucket). Orbax 0.12.8 cannot write to s3://.
"""

import contextlib
import logging
import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as keeping

from gptjax import tree
from gptjax.config import BadInput

FORMAT = 1

# Orbax reports each save to absl's log, and each failed one with a traceback; the failures reach us as exceptions.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class DamagedCheckpoint(BadInput):
    """A checkpoint that should be whole cannot be read."""


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


def read_meta(folder: str, step: int) -> dict:
    """What was saved beside the arrays, without reading them."""
    path = f"{place(folder)}/{step}"
    with damage_named(path):
        meta = ocp.Checkpointer(ocp.CompositeCheckpointHandler()).restore(
            path, args=ocp.args.Composite(meta=ocp.args.JsonRestore())
        )["meta"]
        saved_format = meta["format"]
    if saved_format != FORMAT:
        raise BadInput(f"{path} has format {saved_format}; this gptjax reads format {FORMAT}")
    return meta


def restore_fields(folder: str, abstract: Mapping[str, Any], step: int | None = None) -> tuple[dict, dict]:
    """Some fields of the state, {"params": tree of jax.ShapeDtypeStruct}, and the meta; nothing else is read from disk.

    Each array goes to its struct's sharding, whatever mesh it was saved from; without one, to the first local device.
    `step` None is the newest. Raises BadInput where the checkpoint holds other arrays, DamagedCheckpoint where it
    cannot be read.
    """
    step = newest(folder) if step is None else step
    meta = read_meta(folder, step)
    return read_arrays(f"{place(folder)}/{step}", dict(abstract), partial=True), meta


class Checkpoints:
    """The checkpoints of a run: keeps the last `keep_last`, every step that `keep_every` divides (0 = none), and the
    one with the lowest `eval_nll`. Opening it removes what a killed save left behind."""

    def __init__(self, folder: str, *, keep_last: int, keep_every: int):
        self.folder = place(folder)
        keep = [
            keeping.LatestN(keep_last),
            keeping.BestN(get_metric_fn=eval_nll_of, reverse=True, n=1, keep_checkpoints_without_metrics=False),
        ]
        if keep_every:
            keep.append(keeping.EveryNSteps(keep_every))
        self.manager = ocp.CheckpointManager(
            self.folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=keeping.AnyPreservationPolicy(keep),
                best_fn=eval_nll_of,  # without it Orbax does not write the metric
                best_mode="min",
                cleanup_tmp_directories=True,
            ),
        )

    def save(self, step: int, state: Any, meta: Mapping, eval_nll: float | None) -> None:
        """Starts a save and returns once the arrays may be donated; a step that is already there is left as it is.

        Every process calls it. A save without a finite `eval_nll` (nats per token) is never the best.
        """
        self.check()
        if step in self.manager.all_steps():
            return
        scored = eval_nll is not None and math.isfinite(eval_nll)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave({"format": FORMAT, **meta})
        )
        self.manager.save(step, args=items, metrics={"eval_nll": eval_nll} if scored else None, force=True)

    def check(self) -> None:
        """Raises the error of a save that has failed since the last call; costs microseconds."""
        if not self.manager.is_saving_in_progress():
            self.manager.wait_until_finished()

    def wait(self) -> None:
        """Returns when no save is under way; raises the error of one that failed."""
        self.manager.wait_until_finished()

    def close(self) -> None:
        self.manager.close()

    def steps(self) -> list[int]:
        return steps(self.folder)

    def latest(self) -> int | None:
        return latest(self.folder)

    def best(self) -> int | None:
        """The finished checkpoint with the lowest `eval_nll`, the newest of equals; None where none has one."""
        scored = {step: metrics for step in self.steps() if (metrics := self.manager.metrics(step)) is not None}
        return min(reversed(scored), key=lambda step: eval_nll_of(scored[step]), default=None)

    def meta(self, step: int) -> dict:
        return read_meta(self.folder, step)

    def restore(self, abstract_state: Any, step: int | None = None) -> tuple[Any, dict]:
        """The whole state, in the structure of `abstract_state`, and the meta; raises like `restore_fields`."""
        step = newest(self.folder) if step is None else step
        meta = read_meta(self.folder, step)
        return read_arrays(f"{self.folder}/{step}", abstract_state, partial=False), meta


def save_weights(folder: str, step: int, params: Any, meta: Mapping) -> None:
    """A checkpoint of weights alone, written when this returns; one of that step that is there is replaced.

    Neither compressed nor merged into large files, as the checkpoints of a run are: of weights in 32 bits compression
    saves a tenth, takes three times as long, and holds a second copy in memory."""
    state = ocp.PyTreeCheckpointHandler(use_ocdbt=False, use_compression=False)
    handler = ocp.CompositeCheckpointHandler(state=state, meta=ocp.JsonCheckpointHandler())
    items = ocp.args.Composite(
        state=ocp.args.PyTreeSave({"params": params}), meta=ocp.args.JsonSave({"format": FORMAT, **meta})
    )
    with ocp.Checkpointer(handler) as writer:
        writer.save(f"{place(folder)}/{step}", args=items, force=True)


def eval_nll_of(metrics: Mapping) -> float:
    return metrics["eval_nll"]


def newest(folder: str) -> int:
    step = latest(folder)
    if step is None:
        raise BadInput(f"{folder} holds no finished checkpoint")
    return step


@contextlib.contextmanager
def damage_named(path: str) -> Iterator[None]:
    """Names the checkpoint in whatever Orbax raises for files that are missing or do not parse: any type at all."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, MemoryError):  # no room on the device or host says nothing of the files
        raise
    except Exception as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = f"{type(cause).__name__}: {' '.join(str(cause).split())[:200]}"
        raise DamagedCheckpoint(f"{path} is damaged ({reason}); move it away to go on from an older one") from error


def read_arrays(path: str, abstract: Any, *, partial: bool) -> Any:
    """The arrays of the item `state`, checked against the shapes asked for before any is read."""
    handler = ocp.PyTreeCheckpointHandler()
    with damage_named(path), ocp.Checkpointer(handler) as reader:
        saved = {
            name: tuple(leaf.shape)
            for name, leaf in tree.named(reader.metadata(f"{path}/state").item_metadata.tree).items()
        }
    wanted = {name: tuple(leaf.shape) for name, leaf in tree.named(abstract).items()}
    for name in wanted if partial else wanted | saved:
        held, asked = (shapes[name] if name in shapes else "nothing" for shapes in (saved, wanted))
        if held != asked:
            raise BadInput(f"{path} is of another model or optimizer: as {name} it holds {held}, asked for was {asked}")
    placed = jax.tree.map(with_sharding, abstract)
    with damage_named(path), ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as reader:
        return reader.restore(
            f"{path}/state",
            args=ocp.args.PyTreeRestore(
                placed, restore_args=ocp.checkpoint_utils.construct_restore_args(placed), partial_restore=partial
            ),
        )


def with_sharding(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding or here)
