"""What a reader of another format gives, and our names for what it calls otherwise."""

import collections
import dataclasses
import math
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

OURS = {  # theirs: ours and what to multiply by. Where a run has several that mean the same, the first of them counts.
    **dict.fromkeys(("train/loss", "learning/loss", "training/loss", "loss/train", "train_loss"), ("train/nll", 1.0)),
    **dict.fromkeys(
        ("eval/loss", "eval/avg_loss", "val/loss", "valid/loss", "validation/loss", "loss/val", "val_loss"),
        ("eval/nll", 1.0),
    ),
    "eval/bpb": ("eval/bits_per_byte", 1.0),
    **dict.fromkeys(
        ("optim/learning_rate", "learning/current_learning_rate", "train/learning_rate", "learning_rate", "lr"),
        ("optim/lr", 1.0),
    ),
    # of MaxText, the norm before clipping, as ours is, goes before the one after
    **dict.fromkeys(
        ("learning/raw_grad_norm", "learning/grad_norm", "grad/norm/total", "train/grad_norm", "grad_norm"),
        ("grad/norm", 1.0),
    ),
    "throughput/tokens_per_second": ("perf/tokens_per_s", 1.0),
    **dict.fromkeys(("throughput/mfu", "mfu"), ("perf/mfu", 0.01)),  # Levanter and nanoGPT write per cent
}
TOKENS = ("tokens", "train/num_input_tokens_seen", "tokens_seen", "total_tokens")
TOKENS_AFTER = "throughput/total_tokens"  # of Levanter: with the batch of the step, which ours does not count yet


@dataclasses.dataclass
class Imported:
    """A run as another format has it. Losses are taken to be nats a token, as every program here writes them."""

    objects: list[dict[str, Any]]  # as the lines of metrics.jsonl: "step", where known "tokens" and "time_s", metrics
    name: str = ""  # within its file, where that holds several runs
    config: dict[str, Any] = dataclasses.field(default_factory=dict)  # nested
    header: dict[str, Any] = dataclasses.field(default_factory=dict)  # more of run.json
    left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


def renamed(found: Imported) -> tuple[Imported, dict[str, str]]:
    """The run with our names, and which of its own they stand for."""
    seen = dict.fromkeys(key for line in found.objects for key in line)
    names: dict[str, tuple[str, float]] = {}
    for theirs, (ours, factor) in OURS.items():
        if theirs in seen and ours not in seen and ours not in {name for name, _ in names.values()}:
            names[theirs] = ours, factor
    tokens = next((name for name in TOKENS if name in seen), TOKENS_AFTER if TOKENS_AFTER in seen else None)
    objects = [with_ours(line, names, tokens) for line in found.objects]
    return dataclasses.replace(found, objects=objects), {theirs: ours for theirs, (ours, _) in names.items()}


def with_ours(line: Mapping[str, Any], names: Mapping[str, tuple[str, float]], tokens: str | None) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for key, value in line.items():
        ours, factor = names[key] if key in names else (key, 1.0)
        made[ours] = value * factor if factor != 1.0 and is_number(value) else value
    if tokens is not None and tokens in line and is_number(line[tokens]) and "step" in line and is_number(line["step"]):
        step = max(0, line["step"])
        done = step / (step + 1) if tokens == TOKENS_AFTER else 1.0  # exact where all batches are of one size
        made["tokens"] = line[tokens] * done
    return made


def flattened(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The numbers of nested objects, by their path with slashes."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{before}{key}/")
        else:
            yield before + key, value


def is_number(value: Any) -> bool:
    """Whether it can be computed with: not NaN, not infinite, no string."""
    return isinstance(value, int | float) and math.isfinite(value)


def text_of(path: pathlib.Path) -> str:
    """A text file, whatever bytes are in it."""
    return path.read_bytes().decode("utf-8", "replace")
