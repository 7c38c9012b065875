"""`--html`: a page that holds runs, pictures and the library that draws them, and loads nothing (pages.py)."""

import datetime
import importlib.resources
import math
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from gptjax import pages
from gptjax.analysis import thinning, trouble
from gptjax.analysis.run import Run, Series, counted
from gptjax.analysis.summary import WORDS, Found, Row, best, more_is_better
from gptjax.config import BadInput

PAGE = pathlib.Path(__file__).parent / "page"
SCRIPTS = ("data.js", "table.js", "curves.js", "sweep.js", "run.js", "main.js")
NO_CURVES = ("time/", "data/batch_crc")  # beginnings of metrics that nobody looks at as a curve
LOWER = ("nll", "loss", "bits_per_byte")  # ends of metrics that are best where they are lowest
ALL_POINTS = 100_000  # raw values in a page, all curves together: some 2.5 MB
POINTS = (100, 1000)  # raw values of a curve, at least and at most
ALL_SAMPLES, SAMPLES = 600, (3, 20)  # texts in a page, and of a run
LONGEST = 2000  # characters of a sample, and of a value of a config
KNOTS = 120  # steps of a run whose tokens and time the page knows; between them it interpolates
GAPS = 20  # the longest pauses of a run, both of whose ends are such steps


def html(found: Found) -> str:
    """The page, whole. Raises BadInput where plotly is not installed."""
    return pages.filled("gptjax analyze", PAGE, SCRIPTS, data(found), [plotly()])


def plotly() -> str:
    """plotly.js, as the Python package of that name has it (MIT licence)."""
    try:
        file = importlib.resources.files("plotly") / "package_data/plotly.min.js"
    except ModuleNotFoundError as error:
        raise BadInput("--html needs the package plotly: pip install 'gptjax[analysis]'") from error
    return file.read_text(encoding="utf-8").replace("</script", r"<\/script").replace("<!--", r"<\!--").strip()


def data(found: Found) -> dict[str, Any]:
    """What the page knows."""
    runs = [row.run for row in found.rows]
    metrics = sorted({name for run in runs for name in run.metrics if not name.startswith(NO_CURVES)})
    n_points = within(ALL_POINTS // max(1, len(runs) * len(metrics)), POINTS)
    n_samples = within(ALL_SAMPLES // max(1, len(runs)), SAMPLES)
    common = [key for key in (runs[0].config if runs else {}) if key not in (*found.keys, *WORDS)]
    return {
        "written": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "remark": " ".join(f"{note}." for note in found.notes),
        "metric": found.metric,
        "metrics": metrics,
        "points": n_points,
        "longest_sample": LONGEST,
        "by_tokens": len({per_step(run) for run in runs}) > 1,
        "keys": found.keys,
        "common": {key: plain(runs[0].config[key]) for key in common},
        "runs": [of_run(row, n_points, n_samples) for row in found.rows],
    }


def within(value: int, limits: tuple[int, int]) -> int:
    return min(max(value, limits[0]), limits[1]) // 2 * 2


def of_run(row: Row, n_points: int, n_samples: int) -> dict[str, Any]:
    run = row.run
    series = {name: run.series(name) for name in run.metrics if not name.startswith(NO_CURVES)}
    curves = {name: of_curve(one, n_points) for name, one in series.items() if len(one.value)}
    bests = {name: best(one, name) for name, one in series.items() if name.endswith(LOWER) or more_is_better(name)}
    texts = run.samples()
    return {
        "name": run.name,
        "path": run.path,
        "status": run.status,
        "config": {key: plain(value) for key, value in row.config.items()},
        "environment": environment(run.header),
        "final": {name: number(value) for name, value in row.final.items() if name in curves},
        "best": {name: number(found[0]) for name, found in bests.items() if found is not None},
        "step": run.last_step,
        **{name: number(getattr(row, name), 12) for name in ("tokens", "flops")},
        **{name: number(getattr(row, name)) for name in ("tokens_per_s", "mfu", "goodput")},
        "flops_per_token": run.flops_per_token,
        "clock": clock(run),
        "curves": curves,
        "sessions": sessions(run),
        "seconds": None if run.goodput is None else {kind: round(s, 3) for kind, s in run.goodput.seconds.items()},
        "trouble": [*reading(run), *trouble.find(run)],
        "samples": [of_sample(one) for one in spread(texts, n_samples)],
        "n_samples": len(texts),
    }


def of_curve(series: Series, n_points: int) -> dict[str, Any]:
    made = thinning.curve(series, n_points)
    return {
        "raw": [series.step[made.raw].tolist(), numbers(series.value[made.raw])],
        "at": series.step[made.some].tolist(),
        "means": [numbers(mean) for mean in made.means],
    }


def numbers(values: np.ndarray) -> list[float | None]:
    return [number(value) for value in values.tolist()]


def number(value: float | None, digits: int = 6) -> float | None:
    """A number that JSON has, with no more digits than a picture shows."""
    return float(f"{value:.{digits}g}") if value is not None and math.isfinite(value) else None


def clock(run: Run) -> list[list[int | float | None]]:
    """Steps of the run, with tokens and seconds: some of all, and both ends of the longest pauses."""
    steps, last = np.unique(run.rows.step[::-1], return_index=True)
    rows = len(run.rows.step) - 1 - last
    pauses = np.argsort(np.nan_to_num(np.diff(run.time_s[rows])))[-GAPS:]
    chosen = (
        np.unique(np.concatenate([thinning.places(len(steps), KNOTS), pauses, pauses + 1])) if len(steps) > 1 else rows
    )
    tokens, times = run.rows.tokens[rows], run.time_s[rows]
    return [steps[chosen].tolist(), *([number(v, 12) for v in part[chosen].tolist()] for part in (tokens, times))]


def per_step(run: Run) -> float | None:
    """Tokens of an update; None where the log does not say."""
    rows = np.flatnonzero((run.rows.step > 0) & np.isfinite(run.rows.tokens))
    return float(np.round(run.rows.tokens[rows[-1]] / run.rows.step[rows[-1]], 6)) if len(rows) else None


def sessions(run: Run) -> list[dict[str, Any]]:
    """Each process, with its start in seconds after the first one's."""
    known = [one for one in run.sessions if one.began is not None and any(one.seconds.values())]
    zero = min((one.began for one in known if one.began is not None), default=0.0)
    return [
        {
            "began": round(one.began - zero, 3),
            "first": one.first_step,
            "last": one.last_step,
            "seconds": {kind: number(seconds, 8) for kind, seconds in one.seconds.items()},
        }
        for one in known
        if one.began is not None
    ]


def reading(run: Run) -> Iterable[tuple[int, str, str]]:
    """What the reader of the log has to say."""
    if run.left_out:
        yield 0, "log", f"left out: {counted(run.left_out)}"
    yield from ((0, "log", note) for note in run.notes)


def environment(header: Mapping[str, Any]) -> dict[str, Any]:
    """Of the machine and the program, as run.json has it; a list of equal devices is a count."""
    found = {key: plain(header[key]) for key in ("command", "git_commit", "git_dirty", "attention") if key in header}
    if isinstance(devices := header.get("devices"), list):
        names = [str(device) for device in devices]
        found["devices"] = ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
    if isinstance(versions := header.get("versions"), Mapping):
        found |= {str(name): plain(version) for name, version in versions.items()}
    return found


def plain(value: Any) -> Any:
    """A value for JSON and for a cell of a table."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, tuple | list):
        return [plain(one) for one in value]
    return cut(str(value))


def cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def spread(texts: Sequence[dict], most: int) -> list[dict]:
    """The first, the last, and some of those between."""
    chosen = np.unique(np.linspace(0, len(texts) - 1, min(most, len(texts))).round().astype(int))
    return [texts[at] for at in chosen]


def of_sample(one: Mapping[str, Any]) -> list[Any]:
    prompt = one["prompt"] if isinstance(one.get("prompt"), str) else ""
    return [one["step"], cut(prompt), cut(one["text"])]
