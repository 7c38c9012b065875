"""What pages take for granted in the folder where somebody follows them."""

import itertools
import json
import pathlib
import shutil
from collections.abc import Callable
from typing import Any

from gptjax.data.corpora import open_corpus
from tests.analysis import planted
from tests.docs import pages
from tests.docs.pages import ROOT

GOLDEN = ROOT / "tests/analysis/golden"
TALK = [("hello", "hello, how are you?"), ("how are you", "I am well."), ("what do you do", "I read.")]


def trained(config: str) -> Callable:
    """A run of this config, trained once for all pages."""

    def make(reader: Any, path: pathlib.Path) -> None:
        kept = reader.shared / pathlib.Path(config).stem
        if not kept.exists():
            assert reader.run(["gptjax", "train", f"--config={config}", f"--workdir={kept}"]) == 0
        shutil.copytree(kept, path)

    return make


def wrote(text: str) -> Callable:
    """A file with this text."""

    def make(reader: Any, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return make


def copied(name: str) -> Callable:
    """A copy of a file or a folder of this repository."""

    def make(reader: Any, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / name, path) if (ROOT / name).is_dir() else shutil.copy(ROOT / name, path)

    return make


def texts(first: int) -> Callable:
    """A folder of 40 texts, no two alike."""

    def make(reader: Any, path: pathlib.Path) -> None:
        (path / "more").mkdir(parents=True)
        documents = itertools.islice(open_corpus("synthetic").documents("train"), first, first + 40)
        for number, piece in enumerate(documents):
            (path / ("more" if number % 2 else "") / f"{number}.txt").write_text(piece.text)

    return make


def sweep(reader: Any, path: pathlib.Path) -> None:
    """The logs of a sweep with known answers."""
    planted.write_sweep(path)


def one_log(number: int) -> Callable:
    """One run of that sweep."""

    def make(reader: Any, path: pathlib.Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        planted.write(planted.sweep()[number], path.parent)
        (path.parent / planted.sweep()[number].name).rename(path)

    return make


def lines(rows: list[dict[str, str]]) -> Callable:
    """A file of JSON lines, ten times over."""
    return wrote("".join(json.dumps(row) + "\n" for row in rows) * 10)


def block_of(page: str, number: int) -> Callable:
    """The file that a block of a page is."""
    return wrote(pages.read(page)[0][number].text)


def fewer_trials(reader: Any, path: pathlib.Path) -> None:
    """Two trials of this sweep, of two steps of a small model."""
    small = {"n_steps": 2, "optim.warmup_steps": 1, "eval_tokens": 1024, "model.n_layers": 2, "sample_tokens": 0}
    added = f"""
import dataclasses

cells = [cell | {small} for cell in (SWEEP.cells[0], SWEEP.cells[-1])]
SWEEP = dataclasses.replace(SWEEP, cells=cells, base=SWEEP.base | {{"data.corpora": ("synthetic",)}})
"""
    path.write_text(path.read_text() + added)


def ladder(reader: Any, path: pathlib.Path) -> None:
    """Logs of five sizes at three lengths, on a law."""
    for width in (32, 48, 64, 96, 128):
        for n_steps in (100, 300, 900):
            size = {
                "model.d_model": width,
                "model.d_hidden": 4 * width,
                "n_steps": n_steps,
                "batch_tokens": planted.BATCH,
            }
            size |= {"model.n_heads": 2, "model.n_kv_heads": 2, "model.n_layers": 2}
            tokens = n_steps * planted.BATCH
            last = {"step": n_steps, "tokens": tokens, "time_s": 30.0, "time/began": planted.BEGAN, "time/start": 1.0}
            nll = 1 + 60 / width + 2e4 / tokens
            planted.write_run(path / f"{width}-{n_steps}", size, [last | {"eval/nll": nll}, last | {"time/end": 0.5}])


SMOKE = trained("configs/smoke.py")
DIALOGS = lines([{"prompt": one, "answer": other} for one, other in TALK])
PAIRS = lines([{"prompt": one, "chosen": other, "rejected": "no"} for one, other in TALK])
POINTS = "n_params,tokens,loss\n" + "".join(
    f"{n},{d},{1.7 + 480 / n**0.35 + 2100 / d**0.37}\n" for n in (1e6, 3e6, 1e7, 3e7) for d in (1e8, 1e9, 1e10)
)
GIVEN: dict[str, dict[str, Callable]] = {
    "docs/analysis.md": {
        "runs/first": one_log(0), "runs/lr": sweep, "runs/bucket": sweep, "runs/planted": sweep,
        "runs/a": one_log(9), "runs/b": one_log(10), "runs/ours": one_log(9),
        "runs/warm-1": one_log(6), "runs/warm-2": one_log(7), "runs/cold-1": one_log(9), "runs/cold-2": one_log(10),
        "nanogpt.txt": copied("tests/analysis/golden/nanogpt.txt"),
        "maxtext.jsonl": copied("tests/analysis/golden/maxtext.jsonl"),
        "export.csv": copied("tests/analysis/golden/wandb_history.csv"),
    },
    "docs/audit.md": {
        "notes": texts(0), "read": texts(40), "unread": texts(80),
        "runs/other": SMOKE,
    },
    "docs/evaluation.md": {
        "runs/smoke": SMOKE, "runs/tuned": SMOKE, "runs/base": SMOKE,
        "mine.py": block_of("docs/evaluation.md", 1), "my_yaml_files": copied("tests/evaluation/harness"),
    },
    "docs/finetuning.md": {"chats/a.jsonl": DIALOGS, "pairs/a.jsonl": PAIRS},
    "docs/generation.md": {"RUN": SMOKE},
    "docs/huggingface.md": {"gpt2": copied("tests/interop/golden/gpt2"), "runs/mine": trained("configs/base.py")},
    "docs/insight.md": {"runs/smoke": SMOKE},
    "docs/launch.md": {"experiments/optimizers/sweep.py": fewer_trials},
    "docs/scaling_laws.md": {"runs/ladder": ladder, "points.csv": wrote(POINTS)},
    "docs/quickstart.md": {"docs": copied("docs")},
    "docs/serving.md": {"RUN": SMOKE},
    "experiments/ladder/README.md": {"experiments/ladder/sweep.py": fewer_trials},
    "experiments/mup/README.md": {"experiments/mup/sweep.py": fewer_trials},
    "experiments/optimizers/README.md": {"experiments/optimizers/sweep.py": fewer_trials},
}  # fmt: skip
