import pytest

from tests.reliability import draws


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setattr(draws, "KEPT", tmp_path)
    monkeypatch.setattr(draws, "tree", lambda: "a tree")
    return tmp_path / "coin.jsonl"


def toss(rng, i):
    return ("heads", "tails")[rng.integers(2)]


def test_a_draw_is_a_function_of_kind_and_number(kept):
    assert draws.draw("coin", 20, toss, keep=False) == draws.draw("coin", 20, toss, keep=False)
    assert draws.draw("coin", 40, toss, keep=False).total() == 40
    assert not kept.exists()


def test_an_interrupted_proof_goes_on_where_it_was(kept):
    drawn, ends = [], [KeyboardInterrupt]

    def one(rng, i):
        if i == 7 and ends:
            raise ends.pop()
        drawn.append(i)
        return toss(rng, i)

    with pytest.raises(KeyboardInterrupt):
        draws.draw("coin", 10, one, keep=True)
    assert draws.draw("coin", 10, one, keep=True) == draws.draw("coin", 10, toss, keep=False)
    assert drawn == list(range(10))
    assert "| coin | 10 |" in draws.table()


def test_another_tree_is_drawn_anew(kept, monkeypatch):
    draws.draw("coin", 3, toss, keep=True)
    monkeypatch.setattr(draws, "tree", lambda: "another")
    drawn = []
    draws.draw("coin", 3, lambda rng, i: drawn.append(i) or "x", keep=True)
    assert drawn == [0, 1, 2]
