"""The runs that a scaling law is fitted to, and what they are too few or too much alike for."""

import collections
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from gptjax import config
from gptjax.analysis.frames import Run
from gptjax.analysis.scaling import Points
from gptjax.config import BadInput, ModelConfig
from gptjax.planning import flops

METRIC = "eval/nll"
FINISHED = ("done", "unknown")  # what was imported does not say how it ended
USUAL = 6.0  # FLOPs of a parameter and token in training, where the model's own are unknown (Kaplan et al. 2020, 2.1)
LEAST_RUNS = 8  # see `too_little`
LEAST_VALUES = 3
APART = 1.1  # sizes, tokens or budgets this close count as one
MOST_ALIKE = 0.95  # of R^2 between log N and log D


class Rung(NamedTuple):
    """What one finished run says of scaling."""

    name: str
    n_params: float
    tokens: float
    flops: float  # of its training
    loss: float


def rungs(runs: Sequence[Run]) -> tuple[list[Rung], dict[str, int]]:
    """The runs that can be points of a law, and how many others are left out for which reason.

    Of several configs of one size and one length (a search for the learning rate), the one of the least mean loss over
    its seeds stays.
    """
    left_out: collections.Counter[str] = collections.Counter()
    found: dict[tuple[float, float], dict[str, list[Rung]]] = collections.defaultdict(dict)
    for run in runs:
        made = rung(run)
        if isinstance(made, str):
            left_out[made] += 1
            continue
        own = json.dumps({key: value for key, value in run.config.items() if key not in ("seed", "name")}, default=str)
        found[made.n_params, made.tokens].setdefault(own, []).append(made)
    kept = []
    for configs in found.values():
        best = min(configs.values(), key=lambda seeds: np.mean([one.loss for one in seeds]))
        left_out["not the best config of its size and length"] += sum(map(len, configs.values())) - len(best)
        kept += best
    return sorted(kept, key=lambda one: (one.n_params, one.tokens)), dict(+left_out)


def rung(run: Run) -> Rung | str:
    """The run as a point, or why it is none."""
    if run.status not in FINISHED:
        return run.status
    series = run.series(METRIC)
    if not len(series.value):
        return f"without {METRIC}"
    n_params, tokens, loss = size(run.header), float(series.tokens[-1]), float(series.value[-1])
    if n_params is None or not 0 < n_params < math.inf:
        return "of unknown size"
    if not 0 < tokens < math.inf:
        return "of unknown tokens"
    if not 0 < loss < math.inf:
        return f"{METRIC} is not a positive number"
    return Rung(run.name, n_params, tokens, compute(run, n_params, tokens), loss)


def compute(run: Run, n_params: float, tokens: float) -> float:
    """FLOPs of the run's training: what its record says, its model's by formula, or the usual 6 N D."""
    if "flops" in run.header:
        return float(run.header["flops"])
    each = USUAL * n_params if run.flops_per_token is None else run.flops_per_token
    return each * tokens


def size(header: Mapping[str, Any]) -> float | None:
    """Parameters of a run: all of them, as in Hoffmann et al. 2022; None where its record does not tell."""
    if "n_params" in header:
        return float(header["n_params"])
    try:
        return float(flops.n_params(config.freeze(ModelConfig, header["config"]["model"], "model.")))
    except (BadInput, KeyError, TypeError):
        return None


def points(of: Sequence[Rung]) -> Points:
    """Their N, D and losses, as `scaling.fit` takes them."""
    return Points(*(np.array([getattr(one, key) for one in of]) for key in ("n_params", "tokens", "loss")))


def too_little(of: Sequence[Rung]) -> str | None:
    """Why these runs determine no law; None where they do.

    Along each axis a law has three unknowns (A, alpha and the rest; B, beta and the rest), so two values of N or of D
    leave a whole curve of laws that fit alike. Where D follows N, as in runs of 20 tokens a parameter all, no run
    tells A / N^alpha from B / D^beta. And five unknowns leave P - 5 errors to tell noise by: below three, what is left
    says so little of it that Student's interval is over 4 times as wide as with the noise known.
    """
    if len(of) < LEAST_RUNS:
        return f"{len(of)} finished runs, and a law of five unknowns needs {LEAST_RUNS}"
    for what, values in (("sizes", [one.n_params for one in of]), ("lengths in tokens", [one.tokens for one in of])):
        if (n := distinct(values)) < LEAST_VALUES:
            return f"{n} different {what}, and a power law with a constant needs {LEAST_VALUES}"
    log_n, log_d = (np.log([getattr(one, key) for one in of]) for key in ("n_params", "tokens"))
    if np.corrcoef(log_n, log_d)[0, 1] ** 2 > MOST_ALIKE:
        return "the tokens go with the size, so that nothing tells N's part from D's: train some size for longer"
    return None


def too_far(of: Sequence[Rung], n_params: float, tokens: float) -> str | None:
    """Why a law of these runs says nothing of such a run; None where it does.

    A law that was seen over a factor F of sizes is followed by another F at most, and so for tokens: what is beyond has
    been seen less than it would have to be believed.
    """
    asked = (("parameters", n_params, [one.n_params for one in of]), ("tokens", tokens, [one.tokens for one in of]))
    for what, value, seen in asked:
        low, high = min(seen), max(seen)
        factor = high / low
        if not low / factor <= value <= high * factor:
            bounds = f"{low:.3g} to {high:.3g}, so up to {high * factor:.3g}"
            return f"{value:.3g} {what}; the runs have {bounds if value > high else f'{low:.3g} to {high:.3g}'}"
    return None


def distinct(values: Sequence[float]) -> int:
    """How many of the values are at least a factor APART."""
    n, last = 0, 0.0
    for value in sorted(values):
        if value > last * APART:
            n, last = n + 1, value
    return n
