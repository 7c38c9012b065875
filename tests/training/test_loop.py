from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.array import ArrayImpl

from gptjax.training import loop
from gptjax.training.divergence import Diverged
from gptjax.training.patience import Patience
from gptjax.training.step import TrainState
from tests.tiny import make_config


def state_of(n):
    """A state that only knows how many updates made it."""
    return TrainState(jnp.int32(0), {"n": n}, None, None)


class Story:
    """Tools that write down what the loop does with them."""

    def __init__(self, nll=lambda step: 1.0, stop_at=None, patience=0, meta=None):
        self.told, self.nll, self.stop_at, self.step = [], nll, stop_at, 0
        self.kinds: list[str] = []
        self.patience = Patience(make_config("eval_every=2", f"stop_patience={patience}"), meta)

    def update(self, state, batch):
        assert state.params["n"] == batch, "the batch of a step is the one of its number"
        n = state.params["n"]
        self.step = n + 1
        return state_of(n + 1), {"train/nll": jnp.float32(self.nll(n))}

    def evaluate(self, params):
        self.told.append(f"evaluate {params['n']}")
        return {"eval/nll": float(params["n"])}

    def write(self, step, metrics):
        self.told.append(f"{'eval' if 'eval/nll' in metrics else 'line'} {step}")

    def save(self, step, state, nll):
        assert state.params["n"] == step
        self.told.append(f"save {step}" + ("" if nll is None else f" with {nll:g}"))

    def go_back(self, step):
        self.told.append(f"back, on at {step}")
        return state_of(step)

    def batch(self, step) -> Any:
        return step  # its number is all that this story needs of it

    def tools(self):
        return loop.Tools(
            update=self.update,
            batches=self.batch,
            evaluate=self.evaluate,
            sample=lambda step, params: self.told.append(f"sample {step}"),
            write=self.write,
            save=self.save,
            check=lambda: None,
            wait=lambda: self.told.append("wait"),
            go_back=self.go_back,
            stop=lambda: self.step == self.stop_at,
            patience=self.patience,
            clock=self.kinds.append,
            profile_dir="",
        )


def run(story, *overrides, first_step=0):
    cfg = make_config("n_steps=6", "log_every=2", "eval_every=4", "save_every=2", "sample_every=4", *overrides)
    return loop.train(cfg, state_of(first_step), first_step, story.tools())


def test_the_story_of_a_run():
    story = Story()
    state, step = run(story)
    assert (state.params["n"], step) == (6, 6)
    assert story.told == [
        *["line 0", "save 2", "line 2"],
        *["evaluate 4", "eval 4", "save 4 with 4", "sample 4", "line 4"],
        *["evaluate 6", "eval 6", "save 6 with 6", "sample 6", "wait"],
    ]


def test_a_run_without_samples_draws_none():
    story = Story()
    run(story, "sample_tokens=0")
    assert not [told for told in story.told if told.startswith("sample")]


def test_the_clock_hears_what_the_loop_does():
    story, one = Story(), ["data", "step"]
    run(story)
    looks = ["save"], ["eval", "save", "sample"], ["eval", "save", "sample", "save"]
    assert story.kinds == [*one, *one, *looks[0], *one, *one, *looks[1], *one, *one, *looks[2]]


def test_a_resumed_run_does_not_repeat_what_was_done_at_its_first_step():
    story = Story()
    run(story, first_step=4)
    assert story.told == ["line 4", "evaluate 6", "eval 6", "save 6 with 6", "sample 6", "wait"]


def test_a_stopped_run_saves_where_it_is():
    story = Story(stop_at=3)
    assert run(story)[1] == 3
    assert story.told == ["line 0", "save 2", "line 2", "save 3", "wait"]


SCORES = {2: 3.0, 4: 2.0, 6: 2.5, 8: 2.0, 10: 9.0}


def test_a_run_out_of_patience_ends_with_its_best_and_its_last_state_saved():
    story = Story(patience=2)
    story.evaluate = lambda params: {"eval/nll": SCORES[int(params["n"])]}
    state, step = run(story, "n_steps=12", "eval_every=2", "save_every=0", "sample_every=0", "log_every=12")
    assert step == state.params["n"] == 8
    wanted = ["line 0", "eval 2", "save 2 with 3", "eval 4", "save 4 with 2", "eval 6", "eval 8", "save 8 with 2"]
    assert story.told == [*wanted, "sample 8", "wait"]
    assert story.patience.meta["best"] == dict(metric="eval/nll", value=2.0, step=4, waited=2, last=8)


def test_an_evaluation_that_a_signal_came_before_is_made_when_the_run_goes_on():
    begun = Story(patience=2, stop_at=4)
    begun.evaluate = lambda params: {"eval/nll": SCORES[int(params["n"])]}
    keys = "n_steps=12", "eval_every=2", "save_every=0", "sample_every=0", "log_every=12"
    assert run(begun, *keys)[1] == 4 and begun.told[-2] == "save 4"
    story = Story(patience=2, meta=begun.patience.meta)
    story.evaluate = begun.evaluate
    assert run(story, *keys, first_step=4)[1] == 8
    assert story.told[:2] == ["eval 4", "save 4 with 2"] and story.patience.meta["best"]["step"] == 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [0, 1, 3, 5])
def test_what_is_not_finite_is_never_saved(bad, at):
    story = Story(nll=lambda step: bad if step == at else 1.0)
    words = rf"train/nll is (nan|inf) \(bits 7f[f0-9]+\) at step {at}, batch \(seed 0, step {at}\)"
    with pytest.raises(Diverged, match=words):
        run(story)
    saved = [int(word.split()[1]) for word in story.told if word.startswith("save")]
    assert all(step <= at for step in saved), story.told


def test_a_loss_on_held_out_text_that_is_not_finite_is_never_saved_either():
    story = Story()
    story.evaluate = lambda params: {"eval/nll": float("nan")}
    with pytest.raises(Diverged, match=r"eval/nll is nan \(bits \w+\) at step 4"):
        run(story)
    assert story.told[-1] == "eval 4"


@pytest.mark.parametrize("at", [1, 2, 5, 9])
def test_a_run_stops_within_one_step_of_what_is_not_finite_and_logs_it(at):
    """Between two lines, far from any save: one update is under way when that of the batch is read."""
    story = Story(nll=lambda step: float("nan") if step == at else 1.0)
    cfg = make_config("n_steps=100", "log_every=50", "eval_every=0", "save_every=0")
    with pytest.raises(Diverged) as stopped:
        loop.train(cfg, state_of(0), 0, story.tools())
    assert stopped.value.step == at and story.step == at + 2
    assert story.told == ["line 0", f"line {at}"]


def test_the_device_is_read_once_a_step_and_one_step_late(monkeypatch):
    """The metrics of update s are read after update s + 1 has begun; nothing else is."""
    reads, inside, story = [], [], Story()
    real_get = jax.device_get

    def counting_get(tree):
        reads.append(story.step)
        inside.append(True)
        try:
            return real_get(tree)
        finally:
            inside.pop()

    def guarded(name):
        real = getattr(ArrayImpl, name)

        def read(self, *args, **kwargs):
            if not inside:
                raise AssertionError(f"the loop read a device value through {name}")
            return real(self, *args, **kwargs)

        monkeypatch.setattr(ArrayImpl, name, read)

    monkeypatch.setattr(jax, "device_get", counting_get)
    for name in ("__float__", "__array__", "__int__", "__bool__", "item", "tolist"):
        guarded(name)
    with pytest.raises(AssertionError, match="through __float__"):
        float(jnp.float32(1))
    cfg = make_config("n_steps=8", "log_every=4", "eval_every=0", "save_every=0", "sample_every=0")
    loop.train(cfg, state_of(0), 0, story.tools())
    assert reads == [*range(2, 9), 8]


def test_throughput_counts_the_updates_between_two_lines(monkeypatch):
    clock = iter(np.arange(0, 1000, 10.0))
    monkeypatch.setattr(loop.time, "perf_counter", lambda: next(clock))
    rates = {}
    story = Story()
    story.write = lambda step, metrics: rates.update({step: metrics.get("perf/tokens_per_s")})
    cfg = make_config("n_steps=9", "log_every=4", "eval_every=0", "save_every=0", "sample_every=0")
    loop.train(cfg, state_of(0), 0, story.tools())
    assert rates == {0: 128 * 1 / 10, 4: 128 * 4 / 10, 8: 128 * 4 / 10, 9: None}
