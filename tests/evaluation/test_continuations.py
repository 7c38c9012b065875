"""A score is a function of its pair, to the last bit; and the model's own, on every mesh."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.evaluation import continuations, passes
from gptjax.training import sharding
from tests.model import small
from tests.tiny import mesh_of

CFG = {"gpt2": small.GPT2, "modern": dataclasses.replace(small.CONFIGS["modern"], attention="blockwise")}
ROWS = [("gpt2", 2, 2, 1, 1), ("modern", 1, 4, 1, 1)]  # meshes that divide rows alone
OTHERS = [(1, 1, 2, 1), (1, 1, 1, 2)]


@functools.cache
def pairs() -> list[tuple[list[int], list[int]]]:
    """Contexts of one token and of many, shared by one to five continuations of all lengths."""
    rng = np.random.default_rng(3)
    draw = lambda n: rng.integers(0, 59, n).tolist()
    contexts = [draw(n) for n in (1, 1, 2, 5, 9, 12, 3, 7)]
    return [(context, draw(rng.integers(1, 5))) for n, context in enumerate(contexts) for _ in range(1 + n % 5)]


@functools.cache
def scored(name: str, *sizes: int, first: int = 0) -> continuations.Scored:
    on = mesh_of(*sizes) if sizes else None
    return continuations.score(lying(name, on), CFG[name], pairs()[first:], on=on)


def lying(name: str, on):
    params = small.noisy(CFG[name])
    return params if on is None else jax.device_put(params, sharding.of_params(params, on))


def same(found: continuations.Scored, expected: continuations.Scored, order: slice | np.ndarray = slice(None)) -> None:
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other[order])


@pytest.mark.parametrize("name", CFG)
def test_scores_are_the_models_own(name):
    found = scored(name)
    for number, (context, following) in enumerate(pairs()):
        tokens_BT = np.array([(context + following)[:-1]], np.int32)
        logp_TV = np.asarray(
            jax.nn.log_softmax(small.forward(small.noisy(CFG[name]), tokens_BT, CFG[name]).logits_BTV)
        )[0]
        logp_TV = logp_TV[len(context) - 1 :].astype(np.float64)
        nats_T = logp_TV[np.arange(len(following)), following]
        assert found.nats_N[number] == pytest.approx(nats_T.sum(), abs=1e-5 * len(following))
        assert found.greedy_N[number] == (logp_TV.argmax(-1) == following).all()


@pytest.mark.parametrize("name", CFG)
def test_no_bit_depends_on_what_is_scored_beside(name):
    score = functools.partial(continuations.score, small.noisy(CFG[name]), CFG[name])
    order = np.random.default_rng(0).permutation(len(pairs()))
    same(score([pairs()[at] for at in order]), scored(name), order)
    for at in range(len(pairs())):
        same(score(pairs()[at : at + 1]), scored(name), slice(at, at + 1))


@pytest.mark.parametrize(("name", "sizes"), [(name, sizes) for name, *sizes in ROWS])
def test_no_bit_depends_on_a_mesh_that_divides_rows(name, sizes):
    same(scored(name, *sizes), scored(name))


@pytest.mark.parametrize("sizes", OTHERS)
def test_a_mesh_that_divides_sums_changes_little(sizes):
    found = scored("gpt2", *sizes, first=3)  # behind those whose context is one token: a program less to compile
    np.testing.assert_allclose(found.nats_N, scored("gpt2").nats_N[3:], atol=1e-5, rtol=1e-5)


def test_a_context_is_read_once_for_all_who_share_it(monkeypatch):
    read, seen = passes.read, []

    def counted(params, caches, tokens_BT, at, **given):
        seen.extend(tuple(tokens_T) for tokens_T in np.asarray(tokens_BT).tolist() if any(tokens_T))
        return read(params, caches, tokens_BT, at, **given)

    monkeypatch.setattr(passes, "read", counted)
    same(continuations.score(small.noisy(CFG["gpt2"]), CFG["gpt2"], pairs()), scored("gpt2"))
    assert len(seen) == len(set(seen)) == len({tuple(context) for context, _ in pairs() if len(context) > 1})


def test_a_context_that_is_too_long_loses_its_beginning():
    cfg, (context, following) = CFG["gpt2"], (list(range(30)), [4, 5, 6])
    score = functools.partial(continuations.score, small.noisy(cfg), cfg)
    found, kept = score([(context, following)]), score([(context[-14:], following)])  # 14 + 3 - 1 = cfg.context
    assert found.cut_N.all() and not kept.cut_N.any()
    np.testing.assert_array_equal(found.nats_N, kept.nats_N)


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (([], [1]), "at least one token"),
        (([1], []), "at least one token"),
        (([1], [2] * 17), "continuation of 17 tokens"),
    ],
)
def test_what_cannot_be_scored_is_refused(pair, says):
    with pytest.raises(BadInput, match=says):
        continuations.score({}, CFG["gpt2"], [([1], [2]), pair])
