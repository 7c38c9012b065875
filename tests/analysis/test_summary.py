"""Numbers side by side: interpolation that never reaches beyond a run, groups over seeds, comparisons by type."""

import math

import numpy as np
import pytest
from scipy import stats

from gptjax.analysis import axes, frames, seeds, summary, where
from gptjax.analysis.axes import At, Value
from gptjax.config import BadInput


def make(name="a", end=100, nll=lambda step: 5.0 - step / 100, config=None, mfu=None) -> frames.Run:
    lines = [
        {
            "step": step,
            "tokens": step * 8,
            "time_s": step / 2,
            "eval/nll": nll(step),
            **({} if mfu is None else {"perf/mfu": mfu}),
        }
        for step in range(0, end + 1, 10)
    ]
    return frames.of_objects(name, name, lines, {"n_steps": 100} | (config or {}))


@pytest.mark.parametrize("n", [2, 3, 5, 11, 12, 20, 100, 1000])
def test_the_interval_is_students(n):
    values = np.random.default_rng(n).normal(3, 2, n).tolist()
    low, high = stats.t.interval(0.95, n - 1, loc=np.mean(values), scale=stats.sem(values))
    assert seeds.interval(values) == pytest.approx((low, high), rel=2e-4)


def test_one_value_has_no_interval():
    assert seeds.interval([1.0]) is None and seeds.interval([]) is None


def test_95_of_100_intervals_hold_the_mean():
    draws = np.random.default_rng(0).normal(0, 1, (4000, 3))
    held = [bounds is not None and bounds[0] <= 0 <= bounds[1] for bounds in map(seeds.interval, draws.tolist())]
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize(
    ("axis", "point", "expected"),
    [
        ("steps", 30, Value(4.7, False)),
        ("steps", 35, Value(4.65, True)),
        ("tokens", 35 * 8, Value(4.65, True)),
        ("time", 17.5, Value(4.65, True)),
        ("steps", 0, Value(5.0, False)),
        ("steps", 100, Value(4.0, False)),
        ("steps", 100.5, None),
        ("flops", 35, None),  # of a model that is not known
    ],
)
def test_a_point_between_two_entries_lies_on_the_line_between_them(axis, point, expected):
    found = axes.value_at(make(), "eval/nll", axis, point)
    assert found == (expected and (pytest.approx(expected.value), expected.interpolated))


def test_without_a_point_runs_are_compared_at_the_most_that_all_have_reached():
    runs = [make("long"), make("short", end=40, nll=lambda step: 4.9 - step / 100), make("other")]
    found, at = summary.rows(runs, "eval/nll", At("tokens", None))
    assert at == At("tokens", 320.0)
    assert [row.run.name for row in found] == ["short", "long", "other"]
    assert [row.at for row in found] == [(pytest.approx(4.5), False), (pytest.approx(4.6), False)] + [found[2].at]


def test_a_group_is_a_mean_over_what_is_done_and_says_what_is_not_in_it():
    runs = [
        make("a", config={"seed": 0}), make("b", config={"seed": 1}, nll=lambda step: 4.0),
        make("c", config={"seed": 2}, end=50), make("d", config={"seed": 3}, nll=lambda step: math.nan),
        make("e", config={"seed": 0, "lr": 1.0}, nll=lambda step: 3.0),
    ]  # fmt: skip
    assert summary.differing(runs) == ["seed", "lr"]
    found, at = summary.rows(runs, "eval/nll", None)
    best, rest = summary.groups(found, ["lr"], "eval/nll", at)
    assert (best.names, best.mean, best.interval, best.left_out) == (["e"], 3.0, None, {})
    assert (rest.n, rest.mean, rest.left_out) == (2, 4.0, {"unknown": 1, "diverged": 1})
    assert rest.interval == pytest.approx((4.0, 4.0))


def test_runs_that_are_not_done_count_once_a_point_is_named():
    runs = [make("a", config={"n_steps": 1000}), make("b"), make("c", end=20)]
    found, _ = summary.rows(runs, "eval/nll", None)
    (group,) = summary.groups(found, [], "eval/nll", None)
    assert group.names == ["b"] and group.left_out == {"unknown": 2}
    found, at = summary.rows(runs, "eval/nll", At("steps", 60))
    (group,) = summary.groups(found, [], "eval/nll", at)
    assert sorted(group.names) == ["a", "b"] and group.left_out == {"not measured there": 1}


def test_more_is_better_of_some_metrics():
    runs = [make("low", mfu=0.2), make("high", mfu=0.4)]
    found, _ = summary.rows(runs, "perf/mfu", None)
    assert [row.run.name for row in found] == ["high", "low"] and found[0].best == (0.4, 0)


RUNS = [
    make("warm-1", config={"optim": {"peak_lr": 1e-3, "name": "adamw"}, "model": {"tied": True}, "list": ["a", "b"]}),
    make("warm-2", config={"optim": {"peak_lr": 3e-3, "name": "muon"}, "model": {"tied": False}, "list": []}, end=50),
    make("cold", config={"optim": {"peak_lr": 1e-2}}, nll=lambda step: math.nan),
]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("optim.peak_lr>=3e-3", ["warm-2", "cold"]),
        ("optim.peak_lr>.003", ["cold"]),
        ("optim.peak_lr=1e-3", ["warm-1"]),
        ("optim.peak_lr!=0.001", ["warm-2", "cold"]),
        ("optim.peak_lr < 3e-3", ["warm-1"]),
        ("optim.peak_lr<=3e-3", ["warm-1", "warm-2"]),
        ("optim.name=muon", ["warm-2"]),
        ("optim.name!=muon", ["warm-1"]),
        ("optim.name~^ada", ["warm-1"]),
        ("model.tied=true", ["warm-1"]),
        ("model.tied==False", ["warm-2"]),
        ("list=a,b", ["warm-1"]),
        ("list=", ["warm-2"]),
        ("name~warm", ["warm-1", "warm-2"]),
        ("name=cold", ["cold"]),
        ("step>=100", ["warm-1", "cold"]),
        ("eval/nll<=4.5", ["warm-1", "warm-2"]),
        ("eval/nll=nan", ["cold"]),
        ("status=diverged", ["cold"]),
        ("tokens<500", ["warm-2"]),
        ("time_s>=50", ["warm-1", "cold"]),
    ],
)
def test_comparisons_go_by_the_type_of_what_is_compared(text, names):
    found, _ = where.kept(RUNS, [where.parse(text)])
    assert [run.name for run in found] == names


def test_a_run_that_does_not_say_is_counted():
    assert where.kept(RUNS, [where.parse("optim.name=muon")])[1] == {"optim.name": 1}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("optim.peak_lr", "expected KEY>=VALUE"),
        ("optim.peak_lr=fast", "is a number, and fast is none"),
        ("optim.peek_lr>1", "did you mean optim.peak_lr?"),
        ("optim.name>3", "is adamw, no number"),
        ("name~(", "is no regular expression"),
        ("optim.peak_lr>=", "and nothing is none"),
        (">3", "expected KEY"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused(text, says):
    with pytest.raises(BadInput, match=".*".join(map(str, [says.replace("(", r"\(")]))):
        where.kept(RUNS, [where.parse(text)])


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("optim.peak_lr", ["warm-1", "warm-2", "cold"]),
        ("-optim.peak_lr", ["cold", "warm-2", "warm-1"]),
        ("optim.name", ["warm-1", "warm-2", "cold"]),
        ("-optim.name", ["warm-2", "warm-1", "cold"]),
        ("-eval/nll", ["warm-2", "warm-1", "cold"]),
        ("step", ["warm-2", "warm-1", "cold"]),
        ("name", ["cold", "warm-1", "warm-2"]),
    ],
)
def test_runs_are_sorted_by_any_field_and_what_is_unknown_comes_last(field, names):
    found, _ = summary.rows(RUNS, "eval/nll", None)
    assert [row.run.name for row in where.ordered(found, field)] == names


@pytest.mark.parametrize("text", ["token", "tokens:", "tokens:many", "steps:-1", "time:inf", "flops:nan"])
def test_a_point_that_is_none_is_refused(text):
    with pytest.raises(BadInput, match=f"--at={text}"):
        axes.parse_at(text)


def test_runs_without_the_metric_are_told_with_one_that_all_have():
    """Runs that wrote nothing yet are of no account, and a mean says why a run that is done is not in it."""
    lines = [{"step": step, "tokens": step * 8, "time_s": step / 2, "train/nll": 4.0} for step in range(0, 101, 10)]
    evaluated = frames.of_objects("a", "a", [line | {"eval/nll": 3.0} for line in lines], {"n_steps": 100, "seed": 0})
    plain = frames.of_objects("b", "b", lines, {"n_steps": 100, "seed": 1})
    begun = frames.of_objects("c", "c", [], {"n_steps": 100, "seed": 2})
    told = summary.unranked([evaluated, plain, begun], "eval/nll")
    assert told == (
        "1 of the 2 runs that have measured anything lack eval/nll; all of those have train/nll: --metric=train/nll"
    )
    assert summary.unranked([evaluated, begun], "eval/nll") is None
    assert summary.unranked([evaluated, make("d")], "train/nll") == (
        "1 of the 2 runs that have measured anything lack train/nll; all of those have eval/nll: --metric=eval/nll"
    )
    (group,) = summary.groups(summary.rows([evaluated, plain], "eval/nll", None)[0], [], "eval/nll", None)
    assert group.names == ["a"] and group.left_out == {"not measured": 1}
