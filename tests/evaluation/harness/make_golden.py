"""Makes model/ and golden.json with torch and transformers, which no test needs:

python -m tests.evaluation.harness.make_golden

model/ is a small GPT-2 that gptjax trained on Python's library and exported. golden.json is what the harness's own `hf`
backend answers with it, and the scores that the harness makes of that. A model/ that is there is kept.
"""

import importlib
import importlib.metadata
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any

from lm_eval.api.model import LM

from gptjax.evaluation import harness_tasks
from gptjax.evaluation.harness_tasks import Outcome

HERE = pathlib.Path(__file__).parent
MODEL, GOLDEN = HERE / "model", HERE / "golden.json"
NAMES = ("python_module", "python_word", "python_prose", "python_line")
TRAIN = [
    "--config=configs/base.py",
    *(
        f"--config.{key}"
        for key in (
            "model.vocab_size=512", "model.context=64", "model.n_layers=2", "model.d_model=32", "model.n_heads=4",
            "model.n_kv_heads=4", "model.d_hidden=128", "tokenizer.name=bpe", "batch_tokens=4096", "n_steps=1500",
            "optim.peak_lr=1e-2", "eval_every=0", "save_every=0",
        )
    ),
]  # fmt: skip


def hf(folder: pathlib.Path) -> Any:
    """The harness's own model of a folder."""
    made = importlib.import_module("lm_eval.models.huggingface").HFLM
    return made(pretrained=str(folder), device="cpu", dtype="float32", batch_size=4)


def run(model: LM, chat: bool = False) -> list[Outcome]:
    tasks = harness_tasks.opened(NAMES, str(HERE))
    return harness_tasks.run(model, tasks, shots=None, limit=0, chat=chat)[0]


def answers(outcomes: list[Outcome]) -> dict[str, dict[str, Any]]:
    """By task: what the model answered to each request, in order, and the harness's scores."""
    found = {}
    for outcome in outcomes:
        given = [answer for sample in outcome.samples for repeats in sample["resps"] for answer in repeats]
        found[outcome.name] = {"answers": given, "scores": {m.name: m.value for m in outcome.metrics}}
    return found


def train() -> None:
    with tempfile.TemporaryDirectory() as folder:
        run, exported = f"{folder}/run", f"{folder}/model"
        for words in (["train", *TRAIN, f"--workdir={run}"], ["export-hf", f"--from={run}", f"--to={exported}"]):
            subprocess.run([sys.executable, "-m", "gptjax.cli", *words], check=True)
        shutil.copytree(exported, MODEL)


def main() -> None:
    if not MODEL.is_dir():
        train()
    versions = {name: importlib.metadata.version(name) for name in ("lm_eval", "torch", "transformers")}
    GOLDEN.write_text(json.dumps({"versions": versions, "tasks": answers(run(hf(MODEL)))}, indent=None) + "\n")


if __name__ == "__main__":
    main()
