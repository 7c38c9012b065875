"""`gptjax analyze A B --diff`: what differs, where two runs part, and whether seeds do it."""

import json
import math

import numpy as np
import pytest

from gptjax import cli
from gptjax.analysis import compare, frames
from tests.analysis import planted

STEPS = range(0, 40, 2)


def lines(seed: int = 0, shift: float = 0.0, data: int = 0, apart: float = 0.0, apart_from: int = 0):
    """A run of 40 steps: its loss is of its seed, of `shift`, and from a step on of `apart`; its batches of `data`."""
    rng = np.random.default_rng(seed)
    level = 2.0 + 0.01 * rng.standard_normal() + shift
    for step in STEPS:
        off = apart if step >= apart_from else 0.0
        nll = (level + 3 / (1 + step)) * (1 + off)
        told = {"train/nll": nll, "grad/norm": 1.0 + 0.1 * rng.standard_normal(), "data/batch_crc": float(step + data)}
        yield {
            "step": step,
            "tokens": step * 64,
            "time_s": float(rng.random()),
            "perf/tokens_per_s": rng.random(),
            **told,
        }
    yield {"step": 40, "tokens": 2560, "time_s": 99.0, "eval/nll": (level + 0.1) * (1 + apart)}


@pytest.fixture
def write(tmp_path):
    """Writes a run; gives its path."""

    def made(name: str, overrides=None, header=None, **kind) -> str:
        seed = kind["seed"] if "seed" in kind else 0
        keys = {"n_steps": 40, "seed": seed, "name": name} | (overrides or {})
        planted.write_run(tmp_path / name, keys, list(lines(**kind)), **(header or {}))
        return str(tmp_path / name)

    return made


def said(capsys, *words: str) -> str:
    assert cli.main(["analyze", *words, "--diff"]) == 0
    return capsys.readouterr().out


def test_a_run_and_its_repetition_are_the_same_to_the_last_bit(write, capsys):
    told = said(capsys, write("a"), write("b"))
    assert "the same numbers to the last bit, in 41 values" in told
    assert "name" in told and "(changes no numbers)" in told
    assert "the same batches at 20 steps" in told and "cannot tell" in told


def test_config_environment_and_the_first_step_apart(write, capsys):
    one = write("a", {"optim.peak_lr": 1e-3}, {"versions": {"jax": "0.10.2"}, "git_commit": "a" * 40})
    other = write(
        "b", {"optim.peak_lr": 3e-3}, {"versions": {"jax": "0.11"}, "git_commit": None}, apart=0.01, apart_from=10
    )
    told = said(capsys, one, other)
    assert "different experiments, by optim.peak_lr\n" in told
    assert "optim.peak_lr" in told and "0.001 | 0.003" in told
    assert "versions.jax  0.10.2 | 0.11" in told and "git_commit" in told
    assert "they first differ at step 10, train/nll: 2." in told


def test_rounding_is_not_a_difference_and_both_steps_are_said(write, capsys):
    tiny = said(capsys, write("a"), write("b", apart=1e-6, apart_from=4))
    assert "one experiment up to rounding" in tiny and "first differ at step 4, train/nll" in tiny
    grows = [line | ({"train/nll": 9.0} if line["step"] == 30 else {}) for line in lines(apart=1e-6, apart_from=4)]
    a, c = write("c"), write("d")
    with open(f"{c}/metrics.jsonl", "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in grows)
    told = said(capsys, a, c)
    assert "first differ at step 4" in told and "by more than 0.0001 at step 30, train/nll" in told


def test_other_batches_are_told_from_other_numbers(write, capsys):
    told = said(capsys, write("a"), write("b", data=1, apart=0.01))
    assert (
        "one config, and other data: the batches differ" in told and "other batches from step 0 on, of 20 steps" in told
    )


def test_without_checksums_the_order_of_the_data_is_not_known(write, capsys):
    path = write("a")
    bare = [{key: value for key, value in line.items() if key != "data/batch_crc"} for line in lines()]
    with open(f"{path}/metrics.jsonl", "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in bare)
    assert "data order: not known" in said(capsys, path, write("b"))


@pytest.mark.parametrize(("shift", "verdict"), [(0.05, "exceeds seed noise"), (0.0, "does not exceed seed noise")])
def test_groups_of_seeds_are_compared_by_pairs(write, capsys, tmp_path, shift, verdict):
    for seed in range(5):
        write(f"a-{seed}", seed=seed)
        write(f"b-{seed}", {"optim.b2": 0.99}, seed=seed + (0 if shift else 50), shift=shift)
        if not shift:  # another run of the same seed, whose noise is its own
            file = tmp_path / f"b-{seed}/run.json"
            file.write_text(file.read_text().replace(f'"seed": {seed + 50}', f'"seed": {seed}'))
    told = said(capsys, f"{tmp_path}/a-*", f"{tmp_path}/b-*", f"--json={tmp_path}/diff.json")
    assert f" {verdict} (5 pairs of seeds" in told and "seed 4: eval/nll at step 40" in told
    found = json.loads((tmp_path / "diff.json").read_text())
    assert found["noise"]["paired"] and len(found["ends"]) == 5
    assert found["noise"]["difference"] == pytest.approx(-shift, abs=0.03)


def test_seeds_that_go_together_nowhere_are_two_groups(write, capsys, tmp_path):
    for seed in range(3):
        write(f"a-{seed}", seed=seed)
        write(f"b-{seed}", seed=seed + 10, shift=0.5)
    told = said(capsys, f"{tmp_path}/a-*", f"{tmp_path}/b-*")
    assert "exceeds seed noise (3 and 3 seeds, not paired" in told


def test_runs_of_other_lengths_are_compared_at_their_own_ends(write, capsys):
    path = write("a", {"n_steps": 30})
    with open(f"{path}/metrics.jsonl", "w") as file:
        file.writelines(json.dumps(line) + "\n" for line in list(lines())[:15] + [{"step": 30, "eval/nll": 2.5}])
    told = said(capsys, path, write("b"))
    assert "eval/nll at step 30 | 40: 2.5 | 2.1" in told
    assert "the same numbers to the last bit, in 30 values, though n_steps differ" in told


def test_a_run_that_diverged_tells_nothing_of_seeds(write, capsys):
    path = write("a")
    with open(f"{path}/metrics.jsonl", "a") as file:
        file.write(json.dumps({"step": 40, "eval/nll": "NaN"}) + "\n")
    told = said(capsys, path, write("b"))
    assert "cannot tell (a loss is not finite)" in told


def test_two_nans_at_one_step_are_no_difference():
    both = [frames.of_objects(name, name, [{"step": 0, "train/nll": math.nan}]) for name in "ab"]
    assert compare.partings(*both) == (1, None, None)
    other = frames.of_objects("c", "c", [{"step": 0, "train/nll": math.inf}])
    _, first, large = compare.partings(both[0], other)
    assert first is not None and large is not None and first.step == large.step == 0


def test_runs_with_nothing_in_common_say_so(write, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/metrics.jsonl").write_text("")
    told = said(capsys, write("a"), str(tmp_path / "empty"))
    assert "cannot tell whether they are the same" in told and "they have no loss of one step" in told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a"], "--diff compares two"),
        (["a", "b", "--csv=x"], "--csv is of the table"),
        (["a", "b", "--scaling"], "ask for one at a time"),
        (["a", "b", "--where=seed=7"], "no run of one side fits --where"),
    ],
)
def test_what_cannot_be_compared_is_refused(write, capsys, tmp_path, words, says):
    write("a")
    write("b")
    paths = [str(tmp_path / word) if word in "ab" else word for word in words]
    assert cli.main(["analyze", *paths, "--diff"]) == 2
    assert says in capsys.readouterr().err
