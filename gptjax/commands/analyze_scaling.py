"""`gptjax analyze RUN... --scaling`: a law of the runs, what it foretells, and what it does not."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gptjax.analysis import laws
from gptjax.analysis.frames import Run
from gptjax.analysis.laws import HeldOut, Laws
from gptjax.analysis.scaling import Estimate
from gptjax.commands import analyze_files
from gptjax.runs.log import encode

NO_E = 0.01  # nats a token


def show(runs: Sequence[Run], budgets: Sequence[float], json_file: str | None) -> None:
    """Prints what there is of a law, and writes it; raises BadInput where no run is a point of one."""
    found = laws.laws(runs, budgets)
    analyze_files.tell(lines(found))
    if json_file is not None:
        analyze_files.put("json", json_file, encode(as_json(found), indent=1))


def lines(found: Laws) -> list[str]:
    rungs = found.rungs
    sizes, lengths, budgets = (
        np.array([getattr(one, key) for one in rungs]) for key in ("n_params", "tokens", "flops")
    )
    told = [f"{len(rungs)} runs: N {span(sizes)} parameters, D {span(lengths)} tokens, C {span(budgets)} FLOPs"]
    told += [f"left out: {n:,} {why}" for why, n in found.left_out.items()]
    told += ["", *law_lines(found), "", *held_out_lines(found.held_out), "", *parabola_lines(found)]
    return told


def law_lines(found: Laws) -> list[str]:
    if found.fit is None:
        return [f"no law: {found.why}"]
    law = ", ".join(f"{name} {shown(one)}" for name, one in found.fit.law.items())
    told = ["L(N, D) = E + A / N^alpha + B / D^beta, 95% intervals by bootstrap", f"  {law}"]
    scatter = float(np.std(found.fit.error_P))
    told.append(f"  a run is off by {scatter:.2%} of its loss (standard deviation)")
    if found.fit.law["E"].value < NO_E:
        told.append("  E is all but 0: of the least loss that more of everything would leave, these runs show nothing")
    told += ["", f"compute-optimal, C = {found.flops_per_nd:.3g} N D as of the largest size:"]
    for best in found.optima:
        if isinstance(best, str):
            told.append(f"  no prediction for {best}")
            continue
        each = best.tokens.value / best.n_params.value
        sizes = f"N {shown(best.n_params)}, D {shown(best.tokens)}, {each:.3g} tokens a parameter"
        told.append(f"  C {best.flops:.3g}: {sizes}, loss {shown(best.loss)}")
    return told


def held_out_lines(held_out: Sequence[HeldOut | str]) -> list[str]:
    told = ["held out, by a law of the smaller sizes alone:"]
    for one in held_out:
        if isinstance(one, str):
            told.append(f"  no check: {one}")
            continue
        where = "inside" if one.inside else "OUTSIDE"
        size = f"N {one.rung.n_params:.4g}, D {one.rung.tokens:.4g}"
        told.append(f"  {one.rung.name}: {size}: foretold {shown(one.foretold)}, measured {one.rung.loss:.4f}: {where}")
    return told


def parabola_lines(found: Laws) -> list[str]:
    if not found.parabolas:
        return ["no isoFLOP parabola: no budget has four sizes"]
    told = ["isoFLOP parabolas:"]
    for one in found.parabolas:
        best = (
            one.why if one.n_params is None or one.loss is None else f"N {shown(one.n_params)}, loss {shown(one.loss)}"
        )
        told.append(f"  C {one.flops:.3g}, {one.n_runs} runs: {best}")
    if found.growth is not None:
        told.append(f"  the best N grows as C^{shown(found.growth.exponent)} over {found.growth.n_budgets} budgets")
    return told


def shown(one: Estimate) -> str:
    return f"{one.value:.4g} [{one.low:.4g}, {one.high:.4g}]"


def span(values: np.ndarray) -> str:
    return f"{values.min():.3g} to {values.max():.3g}"


def as_json(found: Laws) -> dict[str, Any]:
    return {
        "runs": [one._asdict() for one in found.rungs],
        "left_out": found.left_out,
        "law": None if found.fit is None else {name: one._asdict() for name, one in found.fit.law.items()},
        "why": found.why,
        "optima": [plain(one) for one in found.optima],
        "held_out": [
            plain(one) | ({"inside": one.inside} if isinstance(one, HeldOut) else {}) for one in found.held_out
        ],
        "isoflop": [plain(one) for one in found.parabolas],
        "growth": None if found.growth is None else plain(found.growth),
    }


def inside(one: HeldOut | str) -> dict[str, bool]:
    return {"inside": one.inside} if isinstance(one, HeldOut) else {}


def plain(found: Any) -> Any:
    """Named tuples as objects; the reason for what is missing as {"why": ...}."""
    if isinstance(found, str):
        return {"why": found}
    made: Mapping[str, Any] = found._asdict()
    return {key: plain(value) if isinstance(value, tuple) else value for key, value in made.items()}
