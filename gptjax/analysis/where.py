"""`--where` and `--sort`: comparisons such as optim.peak_lr>=1e-3, status=done, name~warm, eval/nll<3.2."""

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from gptjax.analysis import summary
from gptjax.analysis.frames import Run
from gptjax.config import BadInput

OWN: dict[str, Callable[[Run], Any]] = {  # what a run has besides its config and its metrics
    "name": lambda run: run.name,
    "path": lambda run: run.path,
    "status": lambda run: run.status,
    "step": lambda run: run.last_step,
    "tokens": lambda run: summary.last_known(run.rows.tokens),
    "time_s": lambda run: summary.last_known(run.time_s),
    "tokens_per_s": lambda run: summary.usual(run, "perf/tokens_per_s"),
    "mfu": lambda run: summary.usual(run, "perf/mfu"),
    "goodput": lambda run: None if run.goodput is None else run.goodput.fraction,
    "redone": lambda run: run.redone,
}
FORM = re.compile(r"\s*([^\s<>=!~]+)\s*(>=|<=|!=|==|=|>|<|~)\s*(.*?)\s*")
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt,
}  # fmt: skip
EQUAL = {"=": True, "==": True, "!=": False}


class Where(NamedTuple):
    text: str
    field: str
    sign: str
    value: str


def parse(text: str) -> Where:
    """A comparison, not yet held against runs; BadInput for what has no sign, or no regular expression after ~."""
    match = FORM.fullmatch(text)
    if match is None:
        raise BadInput(f"--where={text}: expected KEY>=VALUE, or one of > < <= = != ~, such as optim.peak_lr>=1e-3")
    found = Where(text, match[1], match[2], match[3])
    if found.sign == "~":
        try:
            re.compile(found.value)
        except re.error as error:
            raise BadInput(f"--where={text}: {found.value} is no regular expression: {error}") from error
    return found


def kept(runs: Sequence[Run], asked: Sequence[Where]) -> tuple[list[Run], dict[str, int]]:
    """The runs that fit every comparison; and how many do not say what one is about, by its field.

    Raises BadInput for a field that no run has, and for what cannot be compared."""
    unknown = {}
    for where in asked:
        values = [value(run, where.field) for run in runs]
        if runs and all(one is None for one in values):
            raise no_field("--where", where.field, runs)
        if n := sum(one is None for one in values):
            unknown[where.field] = n
        runs = [run for run, one in zip(runs, values, strict=True) if one is not None and fits(one, where)]
    return list(runs), unknown


def value(run: Run, field: str) -> Any:
    """A run's own word, a key of its config, or the last value of a metric; None where it does not say."""
    if field in OWN:
        return OWN[field](run)
    if field in run.config:
        return run.config[field]
    return run.final(field) if field in run.rows.columns else None


def no_field(flag: str, field: str, runs: Sequence[Run]) -> BadInput:
    known = dict.fromkeys([*OWN, *(key for run in runs for key in (*run.config, *run.metrics))])
    return summary.no_such(flag, field, list(known))


def fits(found: Any, where: Where) -> bool:
    if where.sign == "~":
        return re.search(where.value, spelled(found)) is not None
    if isinstance(found, bool) or not isinstance(found, int | float):
        if where.sign in ORDER:
            raise BadInput(f"--where={where.text}: {where.field} is {spelled(found)}, no number; use =, != or ~")
        return (spelled(found).lower() == where.value.lower()) == EQUAL[where.sign]
    try:
        wanted = float(where.value)
    except ValueError as error:
        raise BadInput(
            f"--where={where.text}: {where.field} is a number, and {where.value or 'nothing'} is none"
        ) from error
    if where.sign in ORDER:
        return ORDER[where.sign](found, wanted)
    same = found == wanted or math.isnan(wanted) and isinstance(found, float) and math.isnan(found)
    return same == EQUAL[where.sign]


def spelled(found: Any) -> str:
    """As on the command line: true, adamw, a,b."""
    if isinstance(found, tuple):
        return ",".join(map(spelled, found))
    return str(found).lower() if isinstance(found, bool) else str(found)


def ordered(rows: Sequence[summary.Row], field: str) -> list[summary.Row]:
    """By a field, ascending; with a - before it, descending. What is unknown comes last. Raises BadInput."""
    name, sign = (field[1:], -1) if field.startswith("-") else (field, 1)
    values = [value(row.run, name) for row in rows]
    if rows and all(one is None for one in values):
        raise no_field("--sort", name, [row.run for row in rows])
    known = [number for number, one in enumerate(values) if one is not None and one == one]
    if any(isinstance(values[number], str | tuple) for number in known):
        values = [spelled(one) for one in values]
    rest = [number for number in range(len(rows)) if number not in set(known)]
    return [rows[number] for number in [*sorted(known, key=lambda n: values[n], reverse=sign < 0), *rest]]
