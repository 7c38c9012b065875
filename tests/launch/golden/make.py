"""Writes every engine's specs of a small sweep beside this file: `python -m tests.launch.golden.make`, from a checkout.

What depends on the machine (its Python, the folder of the checkout) and on every config key there is (the trials' ids)
is replaced by names. A change of a golden file is
a change of what users' clusters are told: look at it.
"""

import os
import pathlib
import sys

from launch import batch, engines, sweep
from launch.sweep import Base, Sweep, product, seeds

HERE = pathlib.Path(__file__).parent
SWEEP = Sweep(
    config="configs/smoke.py",
    base={"n_steps": 100, "data.cache": "/shared/cache"},
    cells=product({"optim.peak_lr": [1e-3, 3e-3], "note": ["it's $(one)"]}, seeds(1)),
)
FOLDER, BUCKET = "/shared/runs", "gs://bucket/runs"
IMAGE = "gcr.io/lab/gptjax:1"
CASES = {  # name: engine, --runs, settings
    "local": ("local", FOLDER, {}),
    "local_gpus": ("local", FOLDER, {"at_once": 2, "processes": 2, "device": "gpu", "devices": 2}),
    "slurm": ("slurm", FOLDER, {}),
    "slurm_gpus": (
        "slurm",
        FOLDER,
        {"nodes": 2, "tasks_per_node": 2, "gpus_per_node": 8, "at_once": 4, "time": "12:00:00", "partition": "gpu",
         "account": "lab", "qos": "high", "cpus_per_task": 16, "setup": "module load cuda"},
    ),
    "jobset_cpu": ("jobset", BUCKET, {"image": IMAGE}),
    "jobset_slice": (
        "jobset",
        BUCKET,
        {"image": IMAGE, "accelerator": "tpu-v6e-slice", "topology": "4x4", "hosts": 4, "queue": "tpu", "spot": True,
         "service_account": "trainer", "namespace": "lab"},
    ),
    "jobset_multislice": (
        "jobset",
        BUCKET,
        {"image": IMAGE, "accelerator": "tpu-v5p-slice", "topology": "4x4x4", "hosts": 16, "slices": 2},
    ),
    "jobset_gpus": ("jobset", BUCKET, {"image": IMAGE, "accelerator": "nvidia-h100-80gb", "hosts": 2, "chips": 8}),
    "skypilot_slice": (
        "skypilot",
        BUCKET,
        {"accelerators": "tpu-v6e-16", "infra": "gcp/us-east5", "spot": True, "runtime_version": "v2-alpha-tpuv6e"},
    ),
    "skypilot_gpus": ("skypilot", "s3://bucket/runs", {"accelerators": "H100:8", "nodes": 2, "setup": ""}),
}  # fmt: skip


def rendered(case: str) -> str:
    """What a case would send, every file of it."""
    engine, runs, settings = CASES[case]
    trials = sweep.trials(SWEEP, Base(SWEEP), "question")
    made = batch.Batch("question-0123abcd", batch.place(runs, "question"), SWEEP.config, trials, 3, "eval/nll")
    files = engines.engine(engine).render(made, engines.settings(engine, settings))
    text = "".join(f"# {name}\n{content}\n" for name, content in files.items())
    for number, trial in enumerate(trials):
        text = text.replace(f"'{trial.id}'", trial.id)  # an id that is all digits stands in quotes
        text = text.replace(trial.id, f"trial{number}")
    return text.replace(sys.executable, "PYTHON").replace(os.getcwd(), "/checkout")


if __name__ == "__main__":
    for case in CASES:
        (HERE / f"{case}.txt").write_text(rendered(case))
        print(f"wrote {HERE / case}.txt")
