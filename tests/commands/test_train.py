"""Whole runs of `gptjax train`, tiny, on the synthetic corpus."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from gptjax import cli, mesh
from gptjax.commands import train
from gptjax.commands.screen import Screen
from gptjax.progress import progress_line
from tests.tiny import mesh_of

TINY = {
    "n_steps": "12",
    "batch_tokens": "512",
    "log_every": "1",
    "eval_every": "6",
    "eval_tokens": "2048",
    "save_every": "4",
    "sample_tokens": "8",
    "sample_prompt": "the",
    "model.context": "64",
    "model.n_layers": "2",
    "model.d_model": "32",
    "model.d_hidden": "64",
    "optim.warmup_steps": "2",
    "data.corpora": "synthetic",
}


def on_one_device(words):
    """The command's exit code, on the first of the virtual devices, where small steps are several times faster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh, "make", lambda cfg: mesh_of(1, 1, 1, 1))
        return cli.main(words)


def lines(workdir, key="train/nll"):
    """{step: value} of a metric, later lines winning."""
    rows = [json.loads(line) for line in (pathlib.Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row[key] for row in rows if key in row}


def test_a_run_leaves_its_record(finished):
    header = json.loads((finished / "run.json").read_text())
    assert {"config", "command", "git_commit", "versions", "devices", "started", "name", "tags", "note"} <= set(header)
    assert header["config"]["model"]["d_model"] == 32 and header["attention"] == "blockwise"
    assert header["config"]["model"]["attention"] == "auto"
    nll = lines(finished)
    assert list(nll) == list(range(12))
    assert nll[0] == pytest.approx(np.log(256), abs=0.1) and nll[11] < nll[0] - 0.4
    assert list(lines(finished, "eval/nll")) == [6, 12] == list(lines(finished, "eval/bits_per_byte"))
    assert lines(finished, "update/norm")[3] > 0 and lines(finished, "grad/norm")[3] > 0
    sample = json.loads((finished / "samples.jsonl").read_text())
    assert sample["step"] == 12 and sample["prompt"] == "the" and sample["text"]
    assert sorted(p.name for p in (finished / "checkpoints").iterdir() if p.is_dir()) == ["12", "8"]


def test_bits_per_byte_are_the_nats_of_a_byte_tokenizer_in_bits(finished):
    nll, bits = lines(finished, "eval/nll")[12], lines(finished, "eval/bits_per_byte")[12]
    assert bits == pytest.approx(nll / np.log(2), rel=0.02)


def test_eight_devices_give_the_losses_of_one_which_goes_on(command, tmp_path):
    keys = {"optim__schedule": "constant", "optim__warmup_steps": 1}
    assert cli.main(command(tmp_path / "run", n_steps=2, **keys)) == 0
    assert len(json.loads((tmp_path / "run/run.json").read_text())["devices"]) == 8
    for name in ("run", "alone"):
        assert on_one_device(command(tmp_path / name, n_steps=4, **keys)) == 0
    assert lines(tmp_path / "run") == pytest.approx(lines(tmp_path / "alone"), abs=1e-5)
    batches, alone = (lines(tmp_path / name, "data/batch_crc") for name in ("run", "alone"))
    assert batches == alone and len(set(batches.values())) == 4


def test_a_finished_run_says_so_and_trains_no_more(finished, command, capsys):
    before = (finished / "metrics.jsonl").read_bytes()
    assert on_one_device(command(finished)) == 0
    assert f"{finished} is done: 12 of 12 steps" in capsys.readouterr().out
    assert (finished / "metrics.jsonl").read_bytes() == before


def test_more_steps_go_on_from_the_last_checkpoint(command, tmp_path):
    for n_steps in (4, 6):
        assert on_one_device(command(tmp_path / "run", n_steps=n_steps, optim__schedule="constant")) == 0
    header = json.loads((tmp_path / "run/run.json").read_text())
    assert header["sessions"][0]["changed"] == {"n_steps": [4, 6]} and header["sessions"][0]["first_step"] == 4
    assert on_one_device(command(tmp_path / "whole", n_steps=6, optim__schedule="constant")) == 0
    assert lines(tmp_path / "run") == lines(tmp_path / "whole")


LONG = {"n_steps": 150, "save_every": 20, "eval_every": 0, "model__dropout": 0.1}


def in_a_process(words):
    """The command in a process of its own that has one device."""
    alone = os.environ | {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")}
    return subprocess.Popen([sys.executable, "-m", "gptjax.cli", *words], env=alone)


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory, command):
    workdir = tmp_path_factory.mktemp("runs") / "uninterrupted"
    assert in_a_process(command(workdir, **LONG)).wait(300) == 0
    return lines(workdir)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 75, marks=pytest.mark.prove),
        pytest.param(signal.SIGINT, 75, marks=pytest.mark.prove),
        (signal.SIGKILL, -9),
    ],
)
def test_a_run_that_was_ended_goes_on_bit_for_bit(number, code, uninterrupted, command, tmp_path):
    log = tmp_path / "run/metrics.jsonl"
    child = in_a_process(command(tmp_path / "run", **LONG))
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") > 50):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    child.send_signal(number)
    assert child.wait(60) == code
    assert len(lines(tmp_path / "run")) < 150, "the signal came too late to show anything"
    assert in_a_process(command(tmp_path / "run", **LONG)).wait(300) == 0
    assert lines(tmp_path / "run") == uninterrupted


def test_a_time_limit_stops_with_the_state_saved(command, tmp_path, capsys):
    assert on_one_device(command(tmp_path / "run", stop_after_s=0.001)) == 75
    assert "stopped by stop_after_s at step 0 of 12, saved" in capsys.readouterr().out
    assert on_one_device(command(tmp_path / "run")) == 0


def test_divergence_ends_with_3_and_saves_nothing_that_is_not_finite(command, tmp_path, capsys):
    diverging = {"optim__name": "sgd", "optim__peak_lr": 1e30, "optim__clip_norm": 0, "save_every": 1}
    assert on_one_device(command(tmp_path / "run", **diverging)) == 3
    error = capsys.readouterr().err
    assert "diverged" in error and "Traceback" not in error
    assert not (tmp_path / "run/checkpoints/12").exists()


def test_weights_of_a_run_start_another(finished, command, tmp_path):
    workdir = tmp_path / "tuned"
    assert on_one_device(command(workdir, init_from=finished, n_steps=3, seed=5, model__dropout=0.1)) == 0
    assert lines(workdir)[0] < lines(finished)[0] - 0.4
    assert json.loads((workdir / "run.json").read_text())["init_from"] == {"run": str(finished), "step": 12}


def test_a_mixture_scores_its_sources_apart(command, tmp_path):
    (tmp_path / "notes.txt").write_text("".join(f"line {n} of some notes\n" for n in range(2000)))
    spec = f"synthetic,text:{tmp_path}/*.txt"
    assert on_one_device(command(tmp_path / "run", data__corpora=spec, data__weights="3,1", n_steps=4)) == 0
    found = lines(tmp_path / "run", f"eval/nll/text:{tmp_path}/*.txt"), lines(tmp_path / "run", "eval/nll/synthetic")
    both = lines(tmp_path / "run", "eval/nll")[4]
    assert min(found[0][4], found[1][4]) < both < max(found[0][4], found[1][4])


def test_profiled_steps_leave_a_trace(command, tmp_path):
    assert on_one_device(command(tmp_path / "run", profile_steps="2,3", n_steps=5)) == 0
    assert list((tmp_path / "run/profile").rglob("*.xplane.pb"))


def test_out_of_memory_is_one_line_of_advice(command, tmp_path, capsys, monkeypatch):
    def exhausted(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes")

    exhausted.memory_analysis = lambda: None
    monkeypatch.setattr(train, "trace_update", lambda *_: types.SimpleNamespace(compile=lambda: exhausted))
    assert on_one_device(command(tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "accumulate" in error and "remat" in error and "mesh" in error


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--config.optim.peak_l=1"], "optim.peak_l; did you mean optim.peak_lr?"),
        (["--config.n_steps=many"], "n_steps=many: not a valid int"),
        (["--config.model.d_model=33"], "model.d_model=33 is not a multiple of model.n_heads=4"),
        (["--config.model.vocab_size=100"], "model.vocab_size=100"),
        (["--config.model.context=1048576", "--config.batch_tokens=8388608"], "holds only"),
        (["--config.data.corpora=text:/nowhere/*.txt"], "/nowhere"),
        (["--config.data.corpora=pyton"], "did you mean"),
        (["--config.model.attention=cudnn"], "model.attention='cudnn' is for GPUs, and this is a CPU; try 'auto'"),
        (["--config.mesh.data=3"], "does not fit 8 devices"),
        (["--config.batch_tokens=320"], "a batch of 5 sequences cannot be dealt to replica x data = 8 devices; try 8"),
        (["--config.init_from=/nowhere"], "/nowhere: not a run directory"),
        (["--confg=x"], "train has no flag --confg=x; did you mean --config?"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_any_compile(flags, words, command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "trace_update", lambda *_: pytest.fail("compiled"))
    assert cli.main([*command(tmp_path / "run"), *flags]) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1 and error.startswith("gptjax: ")
    assert not (tmp_path / "run/run.json").exists()


@pytest.mark.parametrize(
    ("workdir", "words"),
    [
        ("README.md", "--workdir=README.md: is a file"),
        ("s3://bucket/run", "Orbax cannot write to s3://"),
        ("nowhere://run", "checkpoints need a local folder or gs://"),
    ],
)
def test_a_workdir_that_cannot_hold_checkpoints_is_refused(workdir, words, command, capsys):
    assert cli.main(command(workdir)) == 2
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_a_store_whose_package_is_missing_names_the_extra(command, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setattr(train.checkpoint, "newest_good", lambda *_, **__: None)  # Orbax would look for the bucket
    assert cli.main(command("gs://bucket/run")) == 2
    error = capsys.readouterr().err
    assert "--workdir=gs://bucket/run" in error and "gptjax[cloud]" in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model__n_layers": 3}, "model.n_layers was 2, is now 3"),
        ({"seed": 1}, "seed was 0, is now 1"),
        ({"optim__peak_lr": 0.5}, "changing the optimizer within a run needs --change_optimizer"),
    ],
)
def test_a_resume_that_the_rules_forbid_is_refused(changes, words, finished, command, capsys, monkeypatch):
    monkeypatch.setattr(train, "trace_update", lambda *_: pytest.fail("compiled"))
    before = (finished / "run.json").read_bytes()
    assert cli.main(command(finished, **({"n_steps": 20} | changes))) == 2
    assert words in capsys.readouterr().err
    assert (finished / "run.json").read_bytes() == before


def test_generate_goes_on_from_a_prompt(finished, capsys):
    words = ["generate", f"--from={finished}", "--prompt=the ", "--max_tokens=200", "--seed=3"]
    assert cli.main(words) == 0
    first = capsys.readouterr().out
    assert first.startswith("the ") and len(first) > 5
    assert cli.main(words) == 0
    assert capsys.readouterr().out == first
    assert cli.main([*words[:1], f"--from={finished}/checkpoints/8", *words[2:]]) == 0
    assert capsys.readouterr().out != first


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--prompt=", "--prompt: is empty"),
        ("--temperature=-1", "--temperature=-1.0: must be at least 0"),
        ("--top_p=0", "--top_p=0.0: must be above 0"),
        ("--from=/nowhere", "/nowhere: not a run directory"),
        ("--max_tokens=0", "--max_tokens=0: must be at least 1"),
    ],
)
def test_generate_refuses_bad_input(flag, words, finished, capsys):
    assert cli.main(["generate", f"--from={finished}", "--prompt=a", flag]) == 2
    assert words in capsys.readouterr().err


def test_a_log_has_plain_lines_where_colours_are_forced(monkeypatch, capsys):
    """As in a notebook, whose kernel sets FORCE_COLOR, and in the trials that are started from one."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Screen(0, 10) as screen, progress_line("reading", shown=True) as show:
        screen.show(1, {"train/nll": 2.0})
        monkeypatch.setattr(time, "monotonic", lambda: sys.maxsize)  # long after the start, when progress is shown
        show("half")
    said = capsys.readouterr()
    assert said.out.startswith("step      1  train 2.000") and said.err.startswith("reading: half in ")
    assert "\x1b" not in said.out + said.err
