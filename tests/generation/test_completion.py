"""Texts as they grow, end and are kept."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.data import alphabets
from gptjax.generation import completion, decode
from gptjax.generation.completion import Growing, complete
from gptjax.generation.sampling import Sampling
from gptjax.model import gpt
from tests.tiny import make_config

BYTES = alphabets.Bytes({})


@functools.cache
def writer():
    cfg = make_config("model.vocab_size=256", "model.context=64").model
    params = jax.jit(functools.partial(gpt.init, cfg=cfg))(jax.random.key(0))
    noise = lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)
    return decode.writer(jax.tree.map(noise, params), cfg)


def pieces(text, stops, size):
    """What is shown of a text that arrives a few bytes at a time, and the text when it has ended."""
    growing, tokens = Growing(BYTES, stops), BYTES.encode(text).tolist()
    shown = [growing.grow(tokens[:n]) for n in range(1, len(tokens), size)]
    return [*shown, growing.grow(tokens, finished=True)], growing.text


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("one two", (), "one two"),
        ("übergrößen 東京", (), "übergrößen 東京"),
        ("one two three", ("two",), "one "),
        ("one twthree", ("two", "zzz"), "one twthree"),
        ("a\n\nb", ("b", "\n\n"), "a"),
        ("ends in a sto", ("stop",), "ends in a sto"),
    ],
)
def test_what_is_shown_is_the_text_before_its_stop(size, text, stops, expected):
    shown, whole = pieces(text, stops, size)
    assert "".join(shown) == whole == expected
    assert not any(completion.HALF in piece for piece in shown)


def test_what_may_become_a_stop_waits():
    growing = Growing(BYTES, ("stop",))
    assert [growing.grow(BYTES.encode(text).tolist()) for text in ("it s", "it sto", "it stood")] == [
        "it ",
        "",
        "stood",
    ]


SAMPLED = Sampling(temperature=1.5)


def texts(**changes):
    keys: dict[str, Any] = dict(n_tokens=30, options=SAMPLED, seed=3) | changes
    return complete(writer(), BYTES, ["ab", "a longer one"], **keys)


def test_a_stop_string_ends_one_text_where_it_stands_however_tokens_arrive():
    ((free,), (other,)) = texts()
    stop = BYTES.decode(free.tokens[9:11])
    place = free.text.index(stop)
    for on_text in (None, lambda number, piece: None):
        ((cut,), (beside,)) = texts(stops=[stop], on_text=on_text)
        assert cut.text == free.text[:place] and cut.finish == "stop" and free.finish == "length"
        np.testing.assert_array_equal(cut.tokens, free.tokens[: len(cut.tokens)])
        assert BYTES.decode(cut.tokens).endswith(stop) and len(cut.tokens) <= 11
        assert beside.text == (other.text.partition(stop)[0])


def test_pieces_join_to_the_text():
    shown = {0: "", 1: ""}

    def on_text(number, piece):
        shown[number] += piece

    ((first,), (second,)) = texts(on_text=on_text)
    assert shown == {0: first.text, 1: second.text}
    assert [[first], [second]] != texts(seed=4)


def test_the_best_of_many_are_the_likeliest_of_them():
    many = texts(samples=6, nats=True)
    for all_six, kept in zip(many, texts(samples=2, best_of=6), strict=True):
        by_nats = sorted(all_six, key=lambda text: -np.mean(text.nats))
        assert [text.text for text in kept] == [text.text for text in by_nats[:2]]
        assert kept[0].mean_nats() > by_nats[-1].mean_nats()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(best_of=2, samples=3), "--best_of=2: must be at least --samples=3"),
        (dict(stops=["a", ""]), "--stop: is empty"),
        (dict(options=Sampling(top_p=0.0)), "--top_p=0.0"),
    ],
)
def test_nonsense_is_refused_by_its_flag(changes, message):
    with pytest.raises(BadInput, match=message):
        texts(**changes)
