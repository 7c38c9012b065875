"""Scores as they are printed and written: each with n, its interval, its signature and the command that gave it."""

from collections.abc import Mapping

from gptjax.evaluation import scores
from gptjax.evaluation.contamination import Overlap
from gptjax.evaluation.scores import Measure, Score

PER_TOKEN = "per:token"  # of which two tokenizers' numbers cannot be compared


def of_score(score: Score) -> dict:
    return {
        "score": score.value,
        "n": score.n,
        "interval": [score.low, score.high],
        "confidence": score.confidence,
        "resamples": score.resamples,
        "seed": score.seed,
        "signature": score.signature,
        "command": score.command,
    }


def compared(
    measured: Mapping[str, Measure], other: Mapping[str, Measure] | None, same_tokens: bool, command: str
) -> dict:
    """A task's first metric, as `metric`, `score`, `n` and `interval`, and all of them under `metrics`; with another
    model's score and the paired difference under `against`."""
    metrics = {name: of_score(scores.score(measure, command)) for name, measure in measured.items()}
    first = next(iter(measured))
    found = {"metric": first, **{key: metrics[first][key] for key in ("score", "n", "interval")}, "metrics": metrics}
    if other is not None:
        kept = {name: of for name, of in other.items() if same_tokens or PER_TOKEN not in of.signature}
        found["against"] = compared_with(measured, kept, command)
    return found


def compared_with(measured: Mapping[str, Measure], other: Mapping[str, Measure], command: str) -> dict[str, dict]:
    """Of each metric that both have, the other's score and ours minus it, over the same draws of examples."""
    return {
        name: {
            **of_score(scores.score(of, command)),
            "difference": of_score(scores.difference(measured[name], of, command)),
        }
        for name, of in other.items()
    }


def contaminated(
    measured: Mapping[str, Mapping[str, Measure]], overlaps: Mapping[str, Overlap], command: str
) -> dict[str, dict]:
    """Of each task how many questions stood in the training text, and its first metric's score on the others."""
    found = {}
    for name, overlap in overlaps.items():
        clean = {metric: of._replace(stats_NK=of.stats_NK[~overlap.dirty_N]) for metric, of in measured[name].items()}
        kept = [(metric, of) for metric, of in clean.items() if len(of.stats_NK)][:1]
        told = [{"metric": metric, **of_score(scores.score(of, command))} for metric, of in kept]
        found[name] = {**overlap.to_json(), "said": str(overlap), "clean": told[0] if told else None}
    return found
