"""Commands on a run whose checkpoints are damaged: training goes on from the newest good one, or is refused."""

import shutil

import pytest

from gptjax import cli
from gptjax.training import checkpoint
from gptjax.training.lock import RunLock
from tests.reliability import runs
from tests.reliability.forks import forks
from tests.reliability.test_interruptions import TINY, lines


@pytest.fixture(scope="module")
def longer(begun, train, tmp_path_factory):
    """A run with checkpoints at steps 4 and 8."""
    run = tmp_path_factory.mktemp("longer") / "run"
    shutil.copytree(begun, run)
    assert train(run, 8, 4) == 0
    return run


@pytest.fixture
def damaged(longer, tmp_path):
    """The same, one bit of step 8's weights changed."""
    run = tmp_path / "run"
    shutil.copytree(longer, run)
    damage(run / "checkpoints/8")
    return run


def damage(folder):
    files = [path for path in (folder / "params").rglob("*") if path.is_file()]
    file = max(files, key=lambda path: path.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def test_training_goes_on_from_the_older_one_and_puts_the_damaged_one_aside(damaged, train, longer, capfd):
    assert train(damaged, 12, 4) == 0
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and f"{damaged}/checkpoints/8 is damaged (" in said and "8.damaged" in said
    assert (damaged / "checkpoints/8.damaged").is_dir()
    assert sorted(lines(damaged)) == list(range(12))
    assert {step: row for step, row in lines(damaged).items() if step < 8} == lines(longer)


def test_generate_passes_the_damaged_one_over_and_renames_nothing(damaged, capfd):
    words = ["generate", "--prompt=a", "--max_tokens=2"]
    assert cli.main([*words, f"--from={damaged}"]) == 0
    said = capfd.readouterr()
    assert said.err.count("\n") == 1 and "checkpoints/8 is damaged (params/" in said.err
    assert cli.main([*words, f"--from={damaged}/checkpoints/4"]) == 0
    assert capfd.readouterr() == (said.out, "")
    assert checkpoint.steps(f"{damaged}/checkpoints") == [4, 8]


def test_a_damaged_checkpoint_asked_for_by_name_is_refused(damaged, capfd):
    assert cli.main(["generate", f"--from={damaged}/checkpoints/8", "--prompt=a"]) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and said.startswith(f"gptjax: {damaged}/checkpoints/8 is damaged (params/")


def test_a_checkpoint_that_is_not_there_is_refused_with_those_that_are(longer, capfd):
    assert cli.main(["generate", f"--from={longer}/checkpoints/5", "--prompt=a"]) == 2
    assert "checkpoints/5: the run has no checkpoint 5; it has 4, 8" in capfd.readouterr().err


def test_with_no_good_one_left_training_is_refused_again_and_again(damaged, train, capfd):
    damage(damaged / "checkpoints/4")
    for _ in range(2):
        assert train(damaged, 12, 4) == 2
        assert "every checkpoint is damaged (4.damaged, 8.damaged)" in capfd.readouterr().err


def test_a_second_job_is_refused_and_touches_nothing(damaged, train, capfd):
    first = RunLock(str(damaged))
    first.take()
    assert train(damaged, 12, 4) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "is training there; name another" in said
    assert checkpoint.steps(f"{damaged}/checkpoints") == [4, 8]
    first.close()


def test_a_text_that_was_changed_is_refused_with_the_shard_named(tmp_path, capfd):
    text = tmp_path / "a.txt"
    keys = {"data__corpora": f"text:{text}", "save_every": 4}
    text.write_text("".join(f"line {n} of the text\n" for n in range(200)))
    assert runs.alone(runs.command(tmp_path / "run", tmp_path / "cache", n_steps=4, **keys)) == 0
    text.write_text(text.read_text().replace("line 7 ", "lime 7 "))
    capfd.readouterr()
    assert runs.alone(runs.command(tmp_path / "run", tmp_path / "cache", n_steps=6, **keys)) == 2
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and f"would differ: tokens-00000.bin of text:{text}/train was " in said


@pytest.mark.prove
def test_two_processes_agree_on_the_newest_good_one(damaged, tmp_path):
    changed = TINY | {"n_steps": 12, "save_every": 4, "optim.schedule": "constant"}
    words = [
        "train",
        "--config=configs/base.py",
        f"--workdir={damaged}",
        *(f"--config.{k}={v}" for k, v in changed.items()),
    ]
    with forks() as server:
        assert server.wait(server.start(words, 2, tmp_path / "errors")) == [0, 0], (tmp_path / "errors").read_text()
    assert (tmp_path / "errors").read_text().count("is damaged") == 1
    assert sorted(lines(damaged)) == list(range(12)) and (damaged / "checkpoints/8.damaged").is_dir()
