"""What the end of a trial means."""

import pytest

from launch import contract
from launch.contract import after_end
from launch.table import State, Table

RUNNING = State(state="running", event=5, batch="b", attempt=2, failures=1, saved=100)
ENDS = [  # code, saved step, out of memory; state, failures
    (0, 200, False, "done", 1),
    (75, 150, False, "waiting", 0),
    (75, 100, False, "waiting", 2),
    (2, 150, False, "failed", 1),
    (3, 150, False, "failed", 1),
    (1, 100, False, "waiting", 2),
    (1, 101, False, "waiting", 0),
    (-9, 100, False, "waiting", 2),
    (-9, 150, True, "failed", 1),
    (134, 100, False, "waiting", 2),
    (None, 100, False, "waiting", 2),
    (None, 90, False, "waiting", 2),
]


@pytest.mark.parametrize(("code", "saved", "out_of_memory", "state", "failures"), ENDS)
def test_an_end_is_judged_by_its_code_and_by_progress(code, saved, out_of_memory, state, failures):
    ended = after_end(RUNNING, code, saved, 3, out_of_memory)
    assert (ended.state, ended.failures, ended.code, ended.event) == (state, failures, code, 6)
    assert ended.saved == max(saved, RUNNING.saved) and ended.batch == "b"
    assert bool(ended.why) == (state != "done")


def test_ends_without_progress_are_bounded_and_progress_frees():
    state, n = State(state="running"), 0
    while (state := after_end(state, 75, 10 if n == 2 else state.saved, 3, False)).state == "waiting" and n < 20:
        state, n = state.next("running"), n + 1
    assert n == 6 and state.failures == 4 and "4 times without progress" in state.why


def test_only_a_live_trial_of_the_batch_is_settled(tmp_path):
    table = Table(str(tmp_path))
    done = lambda state: after_end(state, 0, 9, 3, False)
    assert contract.settle(table, "a", "b", done) == State()
    table.append("a", State().next("submitted", batch="other"))
    assert contract.settle(table, "a", "b", done).state == "submitted"
    table.append("a", table.get("a").next("cancelled"))
    assert contract.settle(table, "a", "other", done).state == "cancelled"


def test_the_saved_step_is_the_newest_whole_checkpoint(tmp_path):
    assert contract.saved_step(str(tmp_path / "none")) == 0
    for name in ("9", "40", "50.damaged", "60.orbax-checkpoint-tmp-1", "removed"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert contract.saved_step(str(tmp_path)) == 40


def test_kills_for_memory_are_counted_where_the_kernel_tells(tmp_path):
    own = tmp_path / "own"
    own.write_text("0::/job/a\n")
    assert contract.oom_kills(str(tmp_path), str(own)) == 0
    (tmp_path / "job/a").mkdir(parents=True)
    (tmp_path / "job/a/memory.events").write_text("low 0\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert contract.oom_kills(str(tmp_path), str(own)) == 2
    assert contract.oom_kills() >= 0
