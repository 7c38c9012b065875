"""Whole private runs: what they tell, what they keep to themselves, and how they go on."""

import json
import math
import re
import shutil

import jax
import numpy as np
import pytest

from gptjax.training import source
from tests.commands.test_train import lines, on_one_device

PRIVATE = {
    "privacy__clip_norm": 1.0, "privacy__epsilon": 8.0, "privacy__delta": 1e-4, "privacy__max_batch": 24,
    "n_steps": 6, "save_every": 3, "eval_every": 3, "log_every": 2, "sample_tokens": 0,
}  # fmt: skip


@pytest.fixture(scope="module")
def private(tmp_path_factory, command):
    """A private run of six steps, with checkpoints of the third and the last."""
    workdir = tmp_path_factory.mktemp("runs") / "private"
    assert on_one_device(command(workdir, **PRIVATE)) == 0
    return workdir


def everything(workdir):
    """{name: bytes} of every file of a run but its secret."""
    files = (path for path in workdir.rglob("*") if path.is_file() and path.name != "privacy.key")
    return {str(path.relative_to(workdir)): path.read_bytes() for path in files}


def test_every_line_tells_epsilon_and_nothing_of_the_examples(private):
    rows = [json.loads(line) for line in (private / "metrics.jsonl").read_text().splitlines()]
    of_run = [row for row in rows if "grad/norm" in row or "eval/nll" in row]
    assert [row["step"] for row in of_run] == [0, 2, 3, 4, 6]
    epsilons = [row["privacy/epsilon"] for row in of_run]
    assert epsilons[0] == 0 and sorted(epsilons) == epsilons and 7.8 < epsilons[-1] <= 8
    assert not any(name in row for row in rows for name in ("train/nll", "data/batch_crc"))
    told = json.loads((private / "run.json").read_text())["privacy"]
    assert told["mean"] == 8 and told["most"] == 24 and told["noise_multiplier"] > 0.2
    assert told["sampling_rate"] == pytest.approx(8 / told["n_examples"])


def test_the_secret_is_in_its_file_and_nowhere_else(private):
    key = (private / "privacy.key").read_bytes()
    assert len(key) == 40 and (private / "privacy.key").stat().st_mode & 0o777 == 0o600
    halves = key[:8], key[8:]
    words = [int.from_bytes(key[at : at + 4], "little") for at in (0, 4)]
    traces = [*halves, *(half.hex().encode() for half in halves), *(str(word).encode() for word in words)]
    found = everything(private)
    assert any("checkpoints" in name for name in found) and "run.json" in found
    assert not [name for name, content in found.items() for trace in traces if trace in content]


def test_a_private_run_goes_on_to_the_bit_where_it_was(private, command, tmp_path, capsys):
    """Batches and noise of the steps after a checkpoint are those that they were."""
    workdir = tmp_path / "cut"
    shutil.copytree(private, workdir)
    shutil.rmtree(workdir / "checkpoints/6")
    whole = (workdir / "metrics.jsonl").read_bytes()
    assert on_one_device(command(workdir, **PRIVATE)) == 0
    out, exact = capsys.readouterr().out, lines(private, "privacy/epsilon")[3]
    (now,) = re.findall(r"private \(vmap\): epsilon ([\d.]+) after 3 steps, ", out)
    assert 0.97 * exact <= float(now) <= exact + 1e-3, "a line may count a few steps more"
    (workdir / "metrics.jsonl").write_bytes((workdir / "metrics.jsonl").read_bytes().removeprefix(whole))
    again = lines(workdir, "grad/norm")
    assert again == {4: lines(private, "grad/norm")[4]}
    assert lines(workdir, "eval/nll")[6] == lines(private, "eval/nll")[6]
    found, expected = (source.open_run(str(folder)).params for folder in (workdir, private))
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(found), jax.device_get(expected))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_steps": 9}, "the noise of this run was found for 6 steps"),
        ({"privacy__max_batch": 32}, "privacy.max_batch was 24, is now 32"),
    ],
)
def test_what_would_spend_more_is_refused_on_resume(private, command, capsys, changes, says):
    assert on_one_device(command(private, **PRIVATE | changes)) == 2
    assert says in capsys.readouterr().err


def test_another_optimizer_and_a_lost_secret_are_refused(private, command, capsys):
    assert on_one_device([*command(private, **PRIVATE, optim__b2=0.5), "--change_optimizer"]) == 2
    assert "--change_optimizer: steps done again" in capsys.readouterr().err
    kept = (private / "privacy.key").read_bytes()
    (private / "privacy.key").unlink()
    assert on_one_device(command(private, **PRIVATE)) == 2
    assert "privacy.key: is missing" in capsys.readouterr().err
    (private / "privacy.key").write_bytes(kept)
    (private / "privacy.key").chmod(0o600)


def test_a_step_is_replayed_and_its_key_is_not_shown(private, command, capsys):
    assert on_one_device([*command(private, **PRIVATE), "--replay=4"]) == 0
    said = capsys.readouterr()
    key = (private / "privacy.key").read_bytes()
    assert f"{lines(private, 'grad/norm')[4]:.9g}" in said.out
    assert not any(trace in said.out + said.err for trace in (key.hex(), key[:8].hex(), key[8:].hex()))
    assert math.isfinite(lines(private, "grad/norm")[4])
