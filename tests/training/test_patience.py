"""When a run has waited long enough, decided alike whether or not it was interrupted."""

import functools
import json

import numpy as np
import pytest

from gptjax.training.patience import Patience
from tests.tiny import make_config


@functools.cache
def config_of(patience, metric):
    keys = ["init_from=x", "data.corpora=preferences:x"] if "dpo" in metric else []
    return make_config(f"stop_patience={patience}", f"stop_metric={metric}", *keys)


def make(patience, metric="eval/nll", meta=None):
    return Patience(config_of(patience, metric), meta)


def through(waiting, scores, metric="eval/nll"):
    """(step, best so far, whether it is over) of each evaluation up to the end."""
    for step, score in scores:
        waiting.judge(step, {metric: score})
        yield step, waiting.best, waiting.over
        if waiting.over:
            return


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_interruptions_anywhere_change_no_decision(patience):
    rng = np.random.default_rng(patience)
    for _ in range(50):
        scores = list(enumerate((1 / rng.integers(3, 9, 20)).tolist(), 1))
        whole = list(through(make(patience), scores))
        cut = int(rng.integers(0, len(whole)))
        first = make(patience)
        begun = list(through(first, scores[:cut]))
        again = make(patience, meta=json.loads(json.dumps(first.meta)))
        assert begun + list(through(again, scores[cut:])) == whole
        *_, (step, best, over) = whole
        assert best is not None
        values = [score for _, score in scores[:step]]
        assert best.value == min(values) and best.step == values.index(min(values)) + 1
        assert over == (step - best.step >= patience)


@pytest.mark.parametrize(("metric", "best"), [("eval/dpo_accuracy", 3), ("eval/dpo_loss", 1), ("eval/dpo_margin", 3)])
def test_of_some_metrics_more_is_better(metric, best):
    waiting = make(9, metric)
    list(through(waiting, [(1, 0.2), (2, 0.3), (3, 0.9), (4, 0.4)], metric))
    assert waiting.best is not None and waiting.best.step == best and waiting.best.waited == 4 - best


def test_without_patience_nothing_is_remembered():
    waiting = make(0)
    assert not waiting.judge(2, {"eval/nll": 1.0}) and waiting.meta == {} and not waiting.over
    assert not waiting.missed(100)
