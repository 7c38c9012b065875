"""Logs of other programs give runs with our names: held against golden files, and against TensorBoard's own reader."""

import json
import pathlib
import random
import shutil

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from gptjax import cli
from gptjax.analysis.foreign import formats
from gptjax.analysis.frames import Run
from gptjax.config import LogConfig
from gptjax.runs import log
from tests.analysis.golden.make import BATCH, STEPS, loss, rate

GOLDEN = pathlib.Path(__file__).parent / "golden"
FILES = {
    "nanogpt.txt": "nanogpt",
    "maxtext.jsonl": "maxtext",
    "levanter.log": "levanter",
    "wandb_history.csv": "wandb",
    "wandb_history.json": "wandb",
    "wandb_scan.jsonl": "wandb",
    "wandb_chart.csv": "wandb",
}


def one(name: str) -> Run:
    (run,) = formats.read([str(GOLDEN / name)])
    return run


def values(run: Run, metric: str) -> dict[int, float]:
    series = run.series(metric)
    return dict(zip(series.step.tolist(), series.value.tolist(), strict=True))


@pytest.mark.parametrize(("name", "kind"), FILES.items())
def test_every_format_is_told_by_its_content(name, kind):
    assert formats.kind_of(GOLDEN / name) == kind
    with pytest.raises(formats.BadInput, match="no log that is known by its content"):
        formats.kind_of(GOLDEN / "make.py")


@pytest.mark.parametrize("name", ["wandb_history.csv", "wandb_history.json", "wandb_scan.jsonl"])
def test_three_exports_of_a_wandb_history_are_one_run(name):
    run = one(name)
    assert values(run, "train/nll") == {step: loss(step) for step in STEPS}
    assert values(run, "optim/lr") == {step: rate(step) for step in STEPS}
    assert values(run, "eval/nll") == {step: pytest.approx(loss(step) + 0.1) for step in (0, 3)}
    assert run.series("train/nll").time_s.tolist() == [1.5 * step for step in STEPS]
    assert not run.left_out and "train/loss is taken for train/nll" in run.notes


def test_a_chart_of_wandb_has_a_run_for_each_column():
    first, second = formats.read([str(GOLDEN / "wandb_chart.csv")])
    assert first.name == "calm-sun-1" and values(first, "train/nll") == {step: loss(step) for step in STEPS}
    assert second.name == "wild-sea - 2"
    assert values(second, "train/nll") == {step: pytest.approx(loss(step) + 1) for step in (0, 2, 4)}
    assert first.metrics == second.metrics == ("train/nll",)


def test_maxtext():
    run = one("maxtext.jsonl")
    assert values(run, "train/nll") == {step: loss(step) for step in STEPS}
    assert values(run, "eval/nll") == {5: 2.6} and values(run, "grad/norm")[0] == 2.0  # before clipping, as ours
    assert run.series("train/nll").tokens.tolist() == [BATCH * step for step in STEPS]
    assert values(run, "perf/per_device_tokens_per_sec")[0] == 4096.0  # of one device: not our perf/tokens_per_s


def test_maxtext_that_lacks_a_step_has_no_tokens_after_it(tmp_path):
    lines = (GOLDEN / "maxtext.jsonl").read_text().splitlines()
    (tmp_path / "log.jsonl").write_text("\n".join(lines[:2] + lines[3:]))
    (run,) = formats.read([str(tmp_path / "log.jsonl")])
    tokens = run.series("train/nll").tokens
    assert tokens[:2].tolist() == [0, BATCH] and np.isnan(tokens[2:]).all()


def test_levanter():
    run = one("levanter.log")
    found = values(run, "train/nll")
    assert np.isnan(found.pop(5)) and found == {step: loss(step) for step in range(5)}
    assert values(run, "optim/lr") == {step: rate(step) for step in STEPS}
    assert values(run, "perf/mfu")[0] == pytest.approx(0.4) and values(run, "perf/tokens_per_s")[0] == 1e4
    assert values(run, "eval/nll") == {5: 2.6} and values(run, "eval/bits_per_byte") == {5: 1.1}
    tokens = run.series("perf/mfu").tokens  # of the lines that told them: before the batch of their step
    assert tokens.tolist() == [BATCH * step for step in STEPS]
    assert run.config == {"optimizer.learning_rate": 0.001, "seed": 3}


def test_nanogpt():
    run = one("nanogpt.txt")
    text = (GOLDEN / "nanogpt.txt").read_text()
    assert len(values(run, "train/nll")) == text.count("\niter ") and len(values(run, "eval/nll")) == text.count(
        "\nstep "
    )
    first = next(line for line in text.splitlines() if line.startswith("iter 0:"))
    assert values(run, "train/nll")[0] == float(first.split()[3].rstrip(","))
    last = [line for line in text.splitlines() if line.startswith("step ")][-1]
    assert list(values(run, "eval/nll").values())[-1] == float(last.split()[-1])
    batch = int(next(line for line in text.splitlines() if "tokens per iteration" in line).split()[-1].replace(",", ""))
    series = run.series("train/nll")
    assert series.tokens.tolist() == [batch * step for step in series.step.tolist()]
    assert run.config["device"] == "cpu" and all(mfu >= 0 for mfu in values(run, "perf/mfu").values())


def by_tensorboard(folder: pathlib.Path) -> dict[str, dict[int, tuple[float, float]]]:
    """Steps, wall times and values as TensorBoard itself reads them."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    found = {tag: {e.step: (e.wall_time, e.value) for e in events.Scalars(tag)} for tag in events.Tags()["scalars"]}
    for tag in events.Tags()["tensors"]:
        if events.SummaryMetadata(tag).plugin_data.plugin_name == "scalars":
            number = lambda event: float(tensor_util.make_ndarray(event.tensor_proto))
            found[tag] = {event.step: (event.wall_time, number(event)) for event in events.Tensors(tag)}
    return found


def assert_as_tensorboard(run: Run, folder: pathlib.Path, names: dict[str, str]) -> None:
    theirs = by_tensorboard(folder)
    assert set(run.metrics) == {names[tag] if tag in names else tag for tag in theirs}
    zero = min(wall for points in theirs.values() for wall, _ in points.values())
    for tag, points in theirs.items():
        series = run.series(names[tag] if tag in names else tag)
        assert series.step.tolist() == list(points)
        np.testing.assert_array_equal(series.value, [value for _, value in points.values()])
        np.testing.assert_allclose(series.time_s, [wall - zero for wall, _ in points.values()], atol=1e-3)


def test_our_reader_of_event_files_reads_what_tensorboards_does():
    run = one("tensorboard")
    names = {"learning/loss": "train/nll", "learning/current_learning_rate": "optim/lr"}
    assert_as_tensorboard(run, GOLDEN / "tensorboard", names)
    assert run.left_out == {"values that are no number": 1}  # the text


def test_what_our_echo_writes_comes_back(tmp_path):
    run = log.RunLog(str(tmp_path), LogConfig(tensorboard=True, wandb_project="", trackio_project=""))
    session = dict.fromkeys(log.SESSION_KEYS)
    run.header({"config": {}, "name": "a", "tags": [], "note": "", **session})
    for step in range(5):
        run.write(step, {"train/nll": 3.0 - step / 7, "grad/norm": 1.0 / (1 + step)}, tokens=step * 64)
    run.close()
    (back,) = formats.read([str(tmp_path / "tensorboard")])
    assert_as_tensorboard(back, tmp_path / "tensorboard", {})
    assert set(back.metrics) == {"train/nll", "grad/norm"}
    (ours,) = formats.read([str(tmp_path)])  # the run itself, though event files are in it
    assert ours.series("train/nll").tokens.tolist() == [step * 64 for step in range(5)]


def test_damaged_event_files_say_what_is_left_out(tmp_path):
    (file,) = (GOLDEN / "tensorboard").glob("*.x")
    content = bytearray(file.read_bytes())
    (tmp_path / "cut.tfevents").write_bytes(content[:-5])
    content[len(content) // 2] ^= 1  # in the middle of a record, or of its length
    (tmp_path / "flipped.tfevents").write_bytes(content)
    cut, flipped = formats.read([str(tmp_path / "cut.tfevents"), str(tmp_path / "flipped.tfevents")])
    assert cut.left_out["last record not whole"] == 1 and flipped.left_out["damaged records"] == 1


def test_folders_of_event_files_are_runs(tmp_path):
    for name in ("one", "two"):
        shutil.copytree(GOLDEN / "tensorboard", tmp_path / "logs" / name)
    assert [run.name for run in formats.read([str(tmp_path / "logs")])] == ["one", "two"]


@pytest.mark.parametrize("name", [*FILES, "tensorboard"])
def test_damage_never_raises_and_a_cut_is_told(name, tmp_path):
    """Bytes changed, dropped and doubled, 40 times: a run, or one line that refuses it."""
    source = GOLDEN / name
    source = next(source.glob("*.tensor")) if source.is_dir() else source
    kind = FILES[name] if name in FILES else "tensorboard"
    rng = random.Random(name)
    for _ in range(40):
        content = bytearray(source.read_bytes())
        for _ in range(rng.randrange(1, 8)):
            at = rng.randrange(len(content))
            change = rng.choice((bytes([rng.randrange(256)]), b"", b'"', b"{", b"[1]", b"1e999", b"null", b"\n"))
            content[at : at + rng.choice((1, 1, 20))] = change
        (tmp_path / "log").write_bytes(content)
        try:
            formats.read([str(tmp_path / "log")], kind)
        except formats.BadInput as error:
            assert "\n" not in str(error)


def test_the_command_reads_them(capsys, tmp_path):
    files = [str(GOLDEN / name) for name in ("maxtext.jsonl", "levanter.log", "tensorboard")]
    assert cli.main(["analyze", *files, "--metric=train/nll", f"--json={tmp_path}/all.json"]) == 0
    found = json.loads((tmp_path / "all.json").read_text())
    assert {run["name"] for run in found["runs"]} == {"maxtext.jsonl", "levanter.log", "tensorboard"}
    assert cli.main(["analyze", files[0], "--import=maxtex"]) == 2
    assert "did you mean maxtext?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "kind", "says"),
    [
        ("notes.txt", "hello", None, "is no run"),
        ("notes.txt", "hello", "nanogpt", "nothing in it is a metric as nanogpt writes it"),
        ("absent", None, "wandb", "no such file"),
        ("table.csv", "n_params,tokens,loss\na,b,c\n", None, "nothing in it is a metric as points writes it"),
        ("table.csv", "tokens,loss\n1,2\n", "points", "nothing in it is a metric as points writes it"),
    ],
)
def test_what_is_no_log_is_refused(tmp_path, name, content, kind, says):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(formats.BadInput, match=says):
        formats.read([str(tmp_path / name)], kind)
