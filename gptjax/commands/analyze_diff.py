"""`gptjax analyze A B --diff`: two runs, or two groups of seeds, side by side."""

from collections.abc import Sequence
from typing import Any

from gptjax.analysis import compare
from gptjax.analysis.compare import Change, Comparison, End, Pair, Parting
from gptjax.analysis.frames import Run
from gptjax.analysis.noise import UNKNOWN
from gptjax.commands import analyze_files
from gptjax.config import BadInput
from gptjax.runs.log import encode

MOST_ENDS = 20  # seeds that are listed; JSON has all
WIDEST = 60  # letters of a value


def show(sides: Sequence[Sequence[Run]], json_file: str | None) -> None:
    """Prints the comparison of two sides, and writes it; raises BadInput where one has no run."""
    if not all(sides):
        raise BadInput("--diff: no run of one side fits --where; leave it out")
    one, other = sides
    found = compare.compare(one, other)
    analyze_files.tell(lines(found))
    if json_file is not None:
        analyze_files.put("json", json_file, encode(as_json(found), indent=1))


def lines(found: Comparison) -> list[str]:
    pair = found.pair
    told = [f"{pair.one} (A) against {pair.other} (B): {compare.same(pair)}", ""]
    told += section("config", pair.config) + section("environment", pair.environment)
    told += ["data order: " + data(pair), *parting(pair), ""]
    for seed, end in found.ends[:MOST_ENDS]:
        told.append(("" if seed is None else f"seed {seed}: ") + end_line(end))
    if not found.ends:
        told.append("end loss: no step of which both have one")
    return [*told, verdict(found)]


def section(title: str, changes: list[Change]) -> list[str]:
    if not changes:
        return [f"{title}: no difference that is recorded"]
    width = max(len(change.key) for change in changes)
    rows = [f"  {change.key:{width}}  {short(change.one)} | {short(change.other)}" for change in changes]
    marks = ["" if change.numbers or title != "config" else "  (changes no numbers)" for change in changes]
    return [f"{title}: {len(changes)} differ, A | B", *(row + mark for row, mark in zip(rows, marks, strict=True))]


def data(pair: Pair) -> str:
    n, first = pair.data
    if not n:
        return "not known: no step of which both logged data/batch_crc"
    return (
        f"the same batches at {n:,} steps" if first is None else f"other batches from step {first:,} on, of {n:,} steps"
    )


def parting(pair: Pair) -> list[str]:
    if pair.first is None:
        return [f"metrics: {pair.n_common:,} values in common, all the same"]
    told = [f"metrics: {pair.n_common:,} values in common; they first differ at {at(pair.first)}"]
    if pair.large is None:
        return [*told, f"  and never by more than {compare.ROUNDING:g} of the value"]
    return told if pair.large == pair.first else [*told, f"  by more than {compare.ROUNDING:g} at {at(pair.large)}"]


def at(found: Parting) -> str:
    return f"step {found.step:,}, {found.metric}: {found.one:.8g} | {found.other:.8g}"


def end_line(end: End) -> str:
    steps = f"{end.step:,}" if end.step == end.other_step else f"{end.step:,} | {end.other_step:,}"
    return f"{end.metric} at step {steps}: {end.one:.5g} | {end.other:.5g}, A - B = {end.one - end.other:+.4g}"


def verdict(found: Comparison) -> str:
    noise = found.noise
    if noise.verdict == UNKNOWN:
        return f"whether the difference exceeds seed noise: {UNKNOWN} ({noise.why})"
    n = f"{noise.n[0]} pairs of seeds" if noise.paired else f"{noise.n[0]} and {noise.n[1]} seeds, not paired"
    return f"the mean difference {noise.difference:+.4g} {noise.verdict} ({n}; {noise.why})"


def short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= WIDEST else text[: WIDEST - 3] + "..."


def as_json(found: Comparison) -> dict[str, Any]:
    pair = found.pair
    changed = lambda changes: [change._asdict() for change in changes]
    return {
        "a": pair.one,
        "b": pair.other,
        "same": compare.same(pair),
        "config": changed(pair.config),
        "environment": changed(pair.environment),
        "data": pair.data._asdict(),
        "n_common": pair.n_common,
        "first_difference": None if pair.first is None else pair.first._asdict(),
        "first_large_difference": None if pair.large is None else pair.large._asdict(),
        "ends": [{"seed": seed, **end._asdict()} for seed, end in found.ends],
        "noise": found.noise._asdict(),
    }
