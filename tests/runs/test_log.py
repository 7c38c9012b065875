"""The run's files: whole lines whatever happens, the same content on a disk and in an object store."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import types

import fsspec
import jax
import pytest
from moto.server import ThreadedMotoServer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gptjax.config import BadInput, LogConfig
from gptjax.runs import log

QUIET = LogConfig(tensorboard=False, wandb_project="", trackio_project="")


def header(**changes) -> dict:
    return {
        "command": "gptjax train", "devices": ["cpu"], "versions": {}, "git_commit": None, "first_step": 0,
        "changed": {}, "config": {"optim": {"peak_lr": 1e-3}}, "name": "tiny", "tags": ("a",), "note": "why",
    } | changes  # fmt: skip


def strict(line: str) -> dict:
    """The object of a line, refusing the bare NaN and Infinity that Python reads but JSON does not have."""
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON: {line}"))


def lines(path: pathlib.Path) -> list[dict]:
    return [strict(line) for line in path.read_text().splitlines()]


def test_a_line_holds_step_tokens_time_and_metrics_even_where_json_has_no_number(tmp_path):
    run = log.RunLog(str(tmp_path), QUIET)
    run.write(3, {"train/nll": float("nan"), "a": float("inf"), "b": float("-inf"), "c": 0.1}, tokens=96)
    (line,) = lines(tmp_path / "metrics.jsonl")  # before close: a write is not held back
    assert list(line)[:3] == ["step", "tokens", "time_s"] and (line["step"], line["tokens"]) == (3, 96)
    assert (line["train/nll"], line["a"], line["b"], line["c"]) == ("NaN", "Infinity", "-Infinity", 0.1)
    assert float(line["b"]) == float("-inf")
    run.close()


def test_a_sample_keeps_its_text(tmp_path):
    run = log.RunLog(str(tmp_path), QUIET)
    text = 'two\nlines, "quotes", é, \u2028, a lone \udc80'
    run.sample(7, "two", text)
    assert run.last_sample == text
    assert lines(tmp_path / "samples.jsonl") == [{"step": 7, "prompt": "two", "text": text}]
    run.close()


@pytest.mark.parametrize(
    "tail, kept", [(b"", 2), (b'{"step": 2, "tok', 2), (b'{"step": 2, "text": "\xc3', 2), (b'{"step": 2}', 3)]
)
def test_a_line_cut_short_neither_merges_with_the_next_nor_takes_others_along(tmp_path, tail, kept):
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 0}\n{"step": 1}\n' + tail)
    run = log.RunLog(str(tmp_path), QUIET)
    run.write(9, {}, tokens=0)
    run.close()
    assert [line["step"] for line in lines(file)] == [0, 1, 2][:kept] + [9]


def test_a_resumed_run_keeps_its_header_and_counts_time_from_its_first_start(tmp_path):
    first = log.RunLog(str(tmp_path), QUIET)
    first.header(header())
    first.close()
    path = tmp_path / "run.json"
    earlier = strict(path.read_text())
    path.write_text(json.dumps(earlier | {"started": "2020-01-01T00:00:00+00:00"}))
    for step in (5, 8):
        run = log.RunLog(str(tmp_path), QUIET)
        run.header(header(first_step=step, changed={"n_steps": [9, 12]}, name="other"))
        run.write(step, {}, tokens=0)
        run.close()
    resumed = strict(path.read_text())
    assert {**resumed, "sessions": [], "started": earlier["started"]} == earlier
    assert earlier["name"] == "tiny" and earlier["sessions"] == []
    assert [(s["first_step"], s["changed"]) for s in resumed["sessions"]] == [
        (5, {"n_steps": [9, 12]}),
        (8, {"n_steps": [9, 12]}),
    ]
    times = [line["time_s"] for line in lines(tmp_path / "metrics.jsonl")]
    assert 6 * 365 * 86400 < times[0] <= times[1]


def test_only_the_first_process_writes(tmp_path):
    run = log.RunLog(str(tmp_path / "run"), LogConfig(True, "p", "p"), primary=False)
    run.header({})
    run.write(0, {"train/nll": 1.0}, tokens=1)
    run.sample(0, "", "text")
    run.close()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def s3():
    """An S3 on this machine, in a thread; the whole environment it needs is undone afterwards."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "test")
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        fsspec.filesystem("s3").mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.mark.parametrize("store", ["memory", "s3"])
def test_an_object_store_gets_segments_that_are_never_rewritten(store, request, monkeypatch):
    monkeypatch.setattr(log, "SEGMENT_LINES", 2)
    workdir = "memory://runs/a" if store == "memory" else f"{request.getfixturevalue('s3')}/runs/a"
    fs, root = fsspec.url_to_fs(workdir)
    seen = {}
    for session in range(2):
        run = log.RunLog(workdir, QUIET)
        run.header(header(first_step=3 * session))
        for step in range(3 * session, 3 * session + 3):
            run.write(step, {"train/nll": float("nan")}, tokens=step)
        if session == 0:
            assert len(fs.glob(f"{root}/metrics-*.jsonl")) == 1  # the third line waits for its segment
        run.close()
        content = fs.cat(f"{root}/metrics-*.jsonl")
        assert {name: content[name] for name in seen} == seen
        seen = content
    assert [name.rsplit("/", 1)[1] for name in sorted(seen)] == [f"metrics-0000{i}.jsonl" for i in range(4)]
    assert [strict(line)["step"] for name in sorted(seen) for line in seen[name].splitlines()] == list(range(6))
    assert not fs.glob(f"{root}/samples*")
    found = log.read_header(workdir)
    assert found is not None and [s["first_step"] for s in found["sessions"]] == [3]


def test_an_open_segment_is_written_when_it_is_old(monkeypatch):
    monkeypatch.setattr(log, "SEGMENT_SECONDS", 0.0)
    run = log.RunLog("memory://runs/b", QUIET)
    run.write(0, {}, tokens=0)
    assert b'"step": 0' in fsspec.filesystem("memory").cat_file("/runs/b/metrics-00000.jsonl")
    run.close()


def test_tensorboard_reads_what_was_written(tmp_path):
    run = log.RunLog(str(tmp_path), LogConfig(tensorboard=True, wandb_project="", trackio_project=""))
    run.header(header())
    for step, nll in [(10, 2.5), (20, 1.25)]:
        run.write(step, {"train/nll": nll}, tokens=0)
    run.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/nll")] == [(10, 2.5), (20, 1.25)]


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_an_online_echo_gets_every_metric_and_one_identity_over_restarts(tmp_path, monkeypatch, package):
    """Against a stand-in that records the calls: the real services need an account."""
    calls = []
    fake = types.ModuleType(package)
    vars(fake).update(
        init=lambda **settings: calls.append(("init", settings)),
        log=lambda metrics, step: calls.append(("log", step, metrics)),
        finish=lambda: calls.append(("finish",)),
    )
    monkeypatch.setitem(sys.modules, package, fake)
    cfg = LogConfig(False, "proj" if package == "wandb" else "", "proj" if package == "trackio" else "")
    for step in (1, 2):
        run = log.RunLog(str(tmp_path), cfg)
        run.header(header())
        run.write(step, {"train/nll": 0.5}, tokens=0)
        run.close()
    assert [call[0] for call in calls] == ["init", "log", "finish"] * 2
    assert calls[0] == calls[3] and calls[0][1]["project"] == "proj" and calls[0][1]["resume"] == "allow"
    assert (calls[1][1:], calls[4][1:]) == ((1, {"train/nll": 0.5}), (2, {"train/nll": 0.5}))


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_a_missing_echo_names_its_extra_and_starts_no_run(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    run = log.RunLog(
        str(tmp_path), LogConfig(False, "p" if package == "wandb" else "", "p" if package == "trackio" else "")
    )
    with pytest.raises(BadInput, match=rf"log\.{package}_project.*gptjax\[{package}\]"):
        run.header(header())
    assert not (tmp_path / "run.json").exists()
    run.close()


def test_a_killed_writer_leaves_every_line_it_had_written(tmp_path):
    program = f"""
import sys
from gptjax.config import LogConfig
from gptjax.runs.log import RunLog
assert "jax" not in sys.modules, "gptjax.runs must start without jax"
run = RunLog({str(tmp_path)!r}, LogConfig(False, "", ""))
step = 0
while True:
    run.write(step, {{"train/nll": 1.0 / 3.0}}, tokens=step)
    print(step, flush=True)
    step += 1
"""
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(100)]
    child.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in child.stdout if line.endswith("\n")]
    assert child.wait() == -signal.SIGKILL
    child.stdout.close()
    run = log.RunLog(str(tmp_path), QUIET)
    run.close()
    found = [line["step"] for line in lines(tmp_path / "metrics.jsonl")]
    assert found == list(range(len(found))) and len(found) >= len(acknowledged) >= 100


def test_the_environment_tells_versions_and_no_secrets(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "hunter2-hunter2")
    monkeypatch.setattr(sys, "argv", ["gptjax", "train", "--config.note=a b"])
    told = log.environment()
    assert told["versions"]["jax"] == jax.__version__ and told["versions"]["python"] == sys.version.split()[0]
    assert told["command"] == "gptjax train '--config.note=a b'"
    assert not [value for value in os.environ.values() if len(value) > 12 and value in json.dumps(told["versions"])]
    assert "hunter2" not in json.dumps(told)


def test_the_git_state_is_that_of_the_program_or_unknown(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=n", "-c", "user.email=e", "-c", "init.defaultBranch=main"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True, text=True
        )

    assert log.git_state(tmp_path) == (None, None)
    git("init")
    (tmp_path / "a.py").write_text("1")
    git("add", "a.py")
    git("commit", "-m", "x")
    commit = git("rev-parse", "HEAD").stdout.strip()
    assert log.git_state(tmp_path) == (commit, False)
    (tmp_path / "installed").mkdir()
    assert log.git_state(tmp_path / "installed") == (None, None)
    (tmp_path / "a.py").write_text("2")
    assert log.git_state(tmp_path) == (commit, True)
