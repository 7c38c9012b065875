"""polars reads many lines at once, and gives what reading them one by one gives, or leaves them to that."""

import json
import random
import struct

import numpy as np
import polars
import pytest

from tests.analysis.test_logs import LOG, Counting, assert_same

ODD = [
    b'{"step": 0, "a": 1}\n{"step": 1, "b": 2.5}\n{"step": 2, "a": -1e-300, "b": 1e300}\n',
    b'{"step":0,"a":1}\n{"step":1,"a":2}\n',  # no spaces
    b'{ "step" : 0 , "a" : 1 }\n',
    b'{"a": 1, "step": 0}\n',
    b'{"step": 0, "a": true}\n{"step": 1, "a": 1}\n',
    b'{"step": 0, "a": null}\n{"step": 1, "a": 1}\n',
    b'{"step": 0, "a": "NaN"}\n{"step": 1, "a": "Infinity"}\n{"step": 2, "a": "1.5"}\n',
    b'{"step": 0, "a": 1, "a": 2}\n{"step": 1, "a": 3}\n',
    b'{"step": 0, "a": {"b": 1}}\n{"step": 1, "a": [1, 2]}\n',
    b'{"step": 0, "a": 1}\n\n{"step": 1, "a": 1}\n',
    b'{"step": 0, "a": 1} {"step": 1, "a": 1}\n',
    b'{"step": 0, "a": 1}{"step": 1, "a": 1}\n{"step": 2}\n',
    b'{"step": 0, "a": 1\n{"step": 1, "a": 1}\n',
    b'{"step": 0, "a": 1}}\n{"step": 1, "a": 1}\n',
    b'{"step": 0, "a": 01}\n{"step": 1, "a": +1}\n{"step": 2, "a": .5}\n{"step": 3, "a": 1.}\n',
    b'{"step": 0, "a": NaN}\n{"step": 1, "a": Infinity}\n',
    b'{"step": 0, "a": 1e400}\n{"step": 1, "a": 123456789012345678901234567890}\n',
    b'{"step": 1.5, "a": 1}\n{"step": -1, "a": 1}\n{"a": 1}\n{"step": 1e3, "a": 1}\n',
    b'{"step": 0, "a\\"b": 1}\n{"step": 1, "a": "x\\": 1"}\n',
    b'{"step": 0, "\xc3\xa9": 1}\n{"step": 1, "": 2}\n',
    b'{"step": 0, "a": 9007199254740993}\n{"step": 9007199254740994, "a": 18446744073709551615}\n',
    b'{"step": 0, "a": -0.0}\n[1]\n{"step": 1}\n',
    b'{}\n{"step": 0}\n',
    b'{"step": 0, "a": 1, }\n{"step": 1, "a": 1,, "b": 1}\n',
    b'{"step": 0, "a": 1} # "a": 1\n',
    b'{"step": 0, "a": 1}\0\n{"step": 1, "a": 1}\n',
]


@pytest.mark.parametrize("content", ODD)
def test_polars_reads_as_we_do_or_not_at_all(content):
    for given in (content, content * 40, LOG[: LOG.find(b"\n", 20_000) + 1] + content + LOG):
        (one, left_out), (other, counts) = (Counting(fast)(given) for fast in (False, True))
        assert_same(other, one)
        assert left_out == counts


def test_polars_rounds_as_python_does():
    draw = random.Random(0)
    numbers = [struct.unpack("<d", draw.randbytes(8))[0] for _ in range(20_000)]
    numbers = [number for number in numbers if abs(number) < 1e308]
    numbers += [draw.random() * 10 ** draw.randint(-20, 20) for _ in range(20_000)]
    texts = [*map(repr, numbers), *(f"{number:.25g}" for number in numbers)]
    content = "".join(f'{{"step": {n}, "a": {text}}}\n' for n, text in enumerate(texts)).encode()
    found = Counting(fast=True).at_once(content)
    assert found is not None and polars.__version__
    np.testing.assert_array_equal(found.columns["a"].values, np.array([float(text) for text in texts]))


def test_names_that_begin_late_are_found_without_giving_up(monkeypatch):
    late = b"".join(
        json.dumps({"step": n, "a": 1.0} | ({"late": 2.0} if n == 500 else {})).encode() + b"\n" for n in range(1000)
    )
    found = Counting(fast=True).at_once(late)
    assert found is not None and found.columns["late"].rows.tolist() == [500]
