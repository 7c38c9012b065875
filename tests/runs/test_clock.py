import time

import pytest

from gptjax.runs import clock, log
from gptjax.runs.clock import KINDS, Clock
from tests.tiny import make_config


def test_every_second_has_one_kind(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(time, "time", lambda: now + 5e8)
    timed = Clock(began=now + 5e8 - 3)  # three seconds ago
    for kind, seconds in [("open", 2.0), ("data", 0.5), ("step", 4.0), ("data", 0.5), ("step", 4.0), ("save", 1.0)]:
        timed(kind)
        now += seconds
    found = timed.seconds()
    expected = {"start": 3, "open": 2, "data": 1, "step": 8, "save": 1}
    assert found == {"time/began": 5e8 + 997, **{f"time/{kind}": seconds for kind, seconds in expected.items()}}
    now += 2
    assert timed.seconds()["time/save"] == 3, "what goes on is counted so far"


def test_the_steps_that_a_median_is_of_hold_nothing_else(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    timed = Clock(began=time.time())
    for kind, seconds in [("data", 1), ("step", 2), ("data", 1), ("step", 4), ("eval", 50), ("data", 1), ("step", 6)]:
        timed(kind)
        now += seconds
    timed("data")
    assert list(timed.rounds) == [3, 7]


def test_a_process_knows_when_it_began():
    assert 0 < time.time() - clock.process_start() < 3600
    assert clock.process_start() == pytest.approx(clock.process_start(), abs=0.05)


def line(at, began, *, trained=False, **seconds):
    nll = {"train/nll": 1.0} if trained else {}
    return {"step": at, "time/began": began, **nll, **{f"time/{kind}": value for kind, value in seconds.items()}}


def test_sessions_are_added_up_and_what_is_done_again_is_lost():
    """Killed after 8 updates of 2 s each, of which a save at 4 is left; begun anew 10 s after its last line."""
    first = [
        line(0, 100.0, start=3, compile=7),
        line(3, 100.0, trained=True, start=3, compile=7, step=8),
        line(4, 100.0, start=3, compile=7, step=8, save=1),
        line(7, 100.0, trained=True, start=3, compile=7, step=16, save=1),
    ]
    second = [
        line(4, 137.0, start=3, restore=2),
        line(7, 137.0, trained=True, start=3, restore=2, step=8),
        line(8, 137.0, start=3, restore=2, step=8, save=1, end=1),
    ]
    found = clock.goodput([*first, {"step": 8, "eval/nll": 1.0}, *second])
    expected = {"start": 6, "compile": 7, "restore": 2, "step": 16, "save": 2, "end": 1, "lost": 8, "idle": 10}
    assert found.seconds == dict.fromkeys((*KINDS, "lost", "idle"), 0.0) | expected
    assert found.wall_s == 137 + 15 - 100 and found.fraction == 16 / 52


def test_steps_between_two_lines_are_lost_by_their_share():
    first = [line(0, 0.5), line(0, 0.5, trained=True, step=2), line(10, 0.5, trained=True, step=22)]
    found = clock.goodput([*first, line(6, 50.0), line(10, 50.0, trained=True, step=10)])
    assert found.seconds["lost"] == 10 and found.seconds["step"] == 22


def test_a_later_session_that_starts_earlier_loses_the_work_of_both():
    first = [line(0, 0.5), line(7, 0.5, trained=True, step=8)]
    second = [line(6, 50.0), line(7, 50.0, trained=True, step=2)]
    third = [line(4, 99.0), line(7, 99.0, trained=True, step=4)]
    found = clock.goodput([*first, *second, *third])
    assert found.seconds["lost"] == 4 + 2 and found.seconds["step"] == 4 + 4


@pytest.mark.parametrize("store", ["local", "memory"])
def test_metrics_are_read_as_they_were_written(store, tmp_path):
    workdir = str(tmp_path) if store == "local" else f"memory://{tmp_path}"
    for session in range(2):
        written = log.RunLog(workdir, make_config().log)
        for step in range(3):
            written.write(step, {"a": float(session)}, tokens=0)
        written.close()
    if store == "local":
        with open(tmp_path / "metrics.jsonl", "ab") as file:
            file.write(b'{"step": 3, "a')  # as a kill leaves it
    assert [(row["step"], row["a"]) for row in log.read_metrics(workdir)] == [(s, n) for n in (0, 1) for s in range(3)]
