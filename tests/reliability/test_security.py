"""What reading executes (nothing), and what a run says of its environment (nothing)."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

from tests.commands.test_train import TINY

NOT_REFUSED = ("metrics and samples", "marks of a whole checkpoint", "what analysis keeps of a log")  # or not read
PICKLED = 15  # load paths: JSON lines (4), two Parquets, GPT-2's files, SentencePiece, canaries and logs of 6 programs
MODEL = str(pathlib.Path(__file__).parents[1] / "evaluation/harness/model")
SECRETS = {
    "HF_TOKEN": "hf_PlantedOne",
    "AWS_SECRET_ACCESS_KEY": "PlantedTwo/x",
    "WANDB_API_KEY": "PlantedThree",
    "DATABASE_URL": "postgres://me:PlantedFour@host/x",
    "HTTPS_PROXY": "http://me:PlantedFive@127.0.0.1:9",
}


def gptjax(*words, **environment):
    alone = {"XLA_FLAGS": os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")}
    done = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, env=os.environ | alone | environment, timeout=120
    )
    return done.returncode, done.stdout, done.stderr


def command(folder, **changes):
    keys = TINY | {"n_steps": "2", "optim.warmup_steps": "1", "save_every": "1", "eval_tokens": "64"}
    keys |= {"data.cache": str(folder / "cache")} | {key.replace("__", "."): value for key, value in changes.items()}
    flags = [f"--config.{key}={value}" for key, value in keys.items()]
    return ["gptjax.cli", "train", "--config=configs/base.py", f"--workdir={folder}/run", *flags]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that was trained with secrets in its environment, its tokens, and what it printed."""
    folder = tmp_path_factory.mktemp("finished")
    code, *said = gptjax(*command(folder), **SECRETS)
    assert code == 0, said
    return folder, b"".join(said)


def test_nothing_that_is_read_is_executed(finished, tmp_path):
    """A pickle in the place of every file that gptjax reads: each is refused, and the interpreter runs nothing."""
    folder, _ = finished
    code, out, error = gptjax(
        "tests.reliability.audited", str(folder / "run"), str(folder / "cache"), MODEL, str(tmp_path)
    )
    assert code == 0, error.decode()[-2000:]
    said = json.loads(out.splitlines()[-1])
    assert said["found"] == [] and not said["executed"]
    assert said["clean"] == PICKLED  # all else could be read before
    assert all(n_files for n_files, _ in said["read"].values()), said["read"]
    assert {group for group, (_, n_refused) in said["read"].items() if not n_refused} <= set(NOT_REFUSED), said["read"]
    assert any("pickle.find_class" in event for event in said["control"])  # of a pickle that was loaded on purpose


def assert_no_secret(folder, said: bytes) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files and said
    for name, value in SECRETS.items():
        secret = (value if "Planted" not in value else value[value.index("Planted") :].split("@")[0]).encode()
        assert secret not in said, name
        assert [str(file) for file in files if secret in file.read_bytes()] == [], name


def test_a_finished_run_keeps_no_secret_of_its_environment(finished):
    assert_no_secret(*finished)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"optim__name": "sgd", "optim__peak_lr": "1e30", "optim__clip_norm": "0"}, 3),
        ({"data__corpora": "pyton"}, 2),
    ],
)
def test_a_run_that_fails_keeps_and_says_no_secret(changes, code, tmp_path):
    found, *said = gptjax(*command(tmp_path, **changes), **SECRETS)
    assert found == code
    (tmp_path / "kept").touch()
    assert_no_secret(tmp_path, b"".join(said))


def test_a_crash_says_no_secret(finished, tmp_path):
    """An error that gptjax does not expect ends in a traceback."""
    program = "from gptjax import cli; from gptjax.data import prepared; prepared.prepare = None; cli.main({!r})"
    words = ["-c", program.format(command(tmp_path)[1:])]
    done = subprocess.run([sys.executable, *words], capture_output=True, env=os.environ | SECRETS)
    assert done.returncode == 1 and b"Traceback" in done.stderr
    (tmp_path / "kept").touch()
    assert_no_secret(tmp_path, done.stdout + done.stderr)
