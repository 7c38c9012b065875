"""A law of some runs, its optima, and how well it foretells the largest size: all that `--scaling` tells."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from gptjax.analysis import isoflop, ladder, scaling
from gptjax.analysis.frames import Run
from gptjax.analysis.isoflop import Growth, Parabola
from gptjax.analysis.ladder import Rung
from gptjax.analysis.scaling import Estimate, Fit, Optimum
from gptjax.config import BadInput

BEYOND = 10.0  # times the largest budget of the runs: what is asked for where nobody asks


class HeldOut(NamedTuple):
    """A run of the largest size, foretold by a law of the smaller ones."""

    rung: Rung
    foretold: Estimate

    @property
    def inside(self) -> bool:
        """Whether the interval held what came; the ends count."""
        return self.foretold.low <= self.rung.loss <= self.foretold.high


class Laws(NamedTuple):
    """What `laws` found; a part that the runs are too few for is None, or says why."""

    rungs: list[Rung]
    left_out: dict[str, int]
    fit: Fit | None
    why: str  # there is no law
    flops_per_nd: float  # of the largest size
    parabolas: list[Parabola]
    growth: Growth | None
    optima: list[Optimum | str]  # a string says why there is none, of each budget
    held_out: list[HeldOut | str]


def laws(runs: Sequence[Run], budgets: Sequence[float] = (), resamples: int = scaling.RESAMPLES, seed: int = 0) -> Laws:
    """All that is asked of the runs; raises BadInput for a budget that is no positive number, or without a run."""
    for budget in budgets:
        if not 0 < budget < math.inf:
            raise BadInput(f"--budget={budget:g}: FLOPs are a positive number, such as --budget=1e15")
    rungs, left_out = ladder.rungs(runs)
    if not rungs:
        said = ", ".join(f"{n:,} {why}" for why, n in left_out.items())
        raise BadInput(f"--scaling: none of {len(runs):,} runs is a point of a law ({said})")
    largest = rungs[-1]
    flops_per_nd = largest.flops / largest.n_params / largest.tokens
    parabolas, growth = isoflop.parabolas(rungs, seed)
    why = ladder.too_little(rungs)
    found = None if why else scaling.fit(ladder.points(rungs), resamples, seed)
    optima: list[Optimum | str] = []
    if found is not None:
        asked = budgets or sorted({group[0].flops for group in isoflop.grouped(rungs) if len(group) > 1})
        asked = [*asked, *([] if budgets else [max(one.flops for one in rungs) * BEYOND])]
        optima = [optimum(rungs, found, budget, flops_per_nd) for budget in asked]
    held_out = foretell(rungs, resamples, seed)
    return Laws(rungs, left_out, found, why or "", flops_per_nd, parabolas, growth, optima, held_out)


def optimum(rungs: Sequence[Rung], found: Fit, flops: float, flops_per_nd: float) -> Optimum | str:
    best = scaling.optimum(found, flops, flops_per_nd)
    far = ladder.too_far(rungs, best.n_params.value, best.tokens.value)
    if far:
        return f"{flops:.3g} FLOPs: its optimum is too far: {far}"
    measured = [one.loss for one in rungs]
    if best.loss.high - best.loss.low > max(measured) - min(measured):
        interval = f"{best.loss.low:.3g} to {best.loss.high:.3g}"
        return f"{flops:.3g} FLOPs: its loss would be {interval}, which is wider than all that was measured"
    return best


def foretell(rungs: Sequence[Rung], resamples: int, seed: int) -> list[HeldOut | str]:
    """The runs of the largest size by a law of all smaller ones; a reason, where those are too little for one."""
    most = rungs[-1].n_params
    smaller, largest = ([one for one in rungs if (one.n_params < most) == below] for below in (True, False))
    if why := ladder.too_little(smaller):
        return [f"without the largest size there are {why}"]
    found = scaling.fit(ladder.points(smaller), resamples, seed)
    told: list[HeldOut | str] = []
    for one in largest:
        far = ladder.too_far(smaller, one.n_params, one.tokens)
        told.append(f"{one.name} is too far: {far}" if far else HeldOut(one, found.predict(one.n_params, one.tokens)))
    return told
