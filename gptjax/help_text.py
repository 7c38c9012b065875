"""What --help of every command ends with, and how a flag's default is told."""

import argparse
from typing import Any

WHAT = "GPT language models in JAX, from theory to practice."
MORE = "gptjax COMMAND --help has the flags of a command, with an example. Sweeps: python -m launch --help."
EXAMPLES = {
    "train": [
        "gptjax train --config=configs/smoke.py --workdir=runs/smoke",
        "gptjax train --config=configs/gpt2_tune.py --workdir=runs/mine \\",
        "    --config.data.corpora=text:notes --config.optim.peak_lr=3e-5",
    ],
    "plan": [
        "gptjax plan --config=configs/gpt2_124m.py --topology=rtx4090 --search",
        "gptjax plan --config=configs/gpt2_124m.py --topology=v5e:4x4",
    ],
    "prepare": ["gptjax prepare --corpus=tfds:lm1b"],
    "generate": [
        "gptjax generate --from=runs/smoke --prompt='def ' --samples=3 --top_p=0.9",
    ],
    "chat": ["gptjax chat --from=runs/tuned --system='Answer in one sentence.'"],
    "serve": ["gptjax serve --from=runs/smoke --port=8000"],
    "evaluate": [
        "gptjax evaluate --from=runs/mine --tasks=heldout --against=runs/gpt2",
        "gptjax evaluate --from=runs/mine --harness=hellaswag --limit=100",
    ],
    "audit": [
        "gptjax audit --corpus=text:notes --to=clean",
        "gptjax audit --from=runs/mine --canaries=planted/canaries.json",
    ],
    "import-hf": ["gptjax import-hf --hf=openai-community/gpt2 --to=runs/gpt2"],
    "export-hf": ["gptjax export-hf --from=runs/mine --to=mine"],
    "analyze": [
        "gptjax analyze runs --sort=optim.peak_lr --csv=runs.csv --html=runs.html",
        "gptjax analyze runs/a runs/b --diff",
    ],
    "inspect": ["gptjax inspect --from=runs/smoke --prompt='def f(x):' --html=look.html"],
    "completion": ["gptjax completion bash"],
}


def ending(command: str) -> dict[str, Any]:
    """What argparse is told of the end of a command's help: its examples, line by line."""
    title = "examples:" if len(EXAMPLES[command]) > 1 else "example:"
    lines = [title, *(f"  {line}" for line in EXAMPLES[command])]
    return {"epilog": "\n".join(lines), "formatter_class": argparse.RawDescriptionHelpFormatter}


def add_flag(parser: Any, name: str, kind: type, default: object, metavar: str, text: str) -> None:
    """A flag whose help tells its default; what is off by 0, or says so itself, has it there."""
    if default not in (None, "", 0) and "default" not in text:
        text = f"{text} (default {default})"
    parser.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=text)
