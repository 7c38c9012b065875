"""What a training command shows: a bar on a terminal, plain lines elsewhere."""

import os
import pathlib
import shlex
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from gptjax.config import Config
from gptjax.planning import parameters

SHOWN = {  # metric -> how it reads on one line
    "train/nll": "train {:.3f}",
    "eval/nll": "valid {:.3f} nats",
    "eval/bits_per_byte": "{:.3f} bits/byte",
    "privacy/epsilon": "epsilon {:.3f}",
    "perf/tokens_per_s": "{:,.0f} tokens/s",
    "perf/mfu": "MFU {:.1%}",
}
FIRST_TO_GO = ("eval/bits_per_byte", "perf/mfu", "perf/tokens_per_s", "privacy/epsilon")  # from a narrow terminal
LEAST_BAR = 14  # columns: of the bar, and of the time that is left


class Screen:
    """Shows the lines of a run as they are logged; a context manager around the loop."""

    def __init__(self, first_step: int, n_steps: int):
        # A terminal is what the system calls one: a notebook, whose kernel sets FORCE_COLOR, and what it starts
        # get plain lines, where rich would make HTML of each, or draw a bar into a file.
        self.console = Console(highlight=False, force_jupyter=False, force_terminal=sys.stdout.isatty())
        self.n_steps, self.first_step, self.began = n_steps, first_step, time.monotonic()
        self.latest: dict[str, float] = {}
        self.bar = Progress(
            TextColumn("step {task.completed:,.0f} of {task.total:,.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[line]}"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self.console.is_terminal,
            transient=True,
        )
        self.task = self.bar.add_task("", total=n_steps, completed=first_step, line="")

    def __enter__(self) -> "Screen":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def show(self, step: int, metrics: dict[str, float]) -> None:
        """A line of the log: moves the bar; without a terminal it is printed, as on one is every evaluation."""
        self.latest |= metrics
        if self.console.is_terminal:
            room = self.console.width - len(f"step {self.n_steps:,} of {self.n_steps:,}") - LEAST_BAR
            self.bar.update(self.task, completed=step, line=sentence(self.latest, room))
        if not self.console.is_terminal or "eval/nll" in metrics:
            left = "" if self.console.is_terminal else self.left(step)
            self.console.print(f"step {step:>6,}  {sentence(metrics)}{left}")

    def left(self, step: int) -> str:
        if step <= self.first_step or step >= self.n_steps:
            return ""
        seconds = (time.monotonic() - self.began) / (step - self.first_step) * (self.n_steps - step)
        return f"  {int(seconds) // 60}:{int(seconds) % 60:02d} left"


def sentence(metrics: dict[str, float], room: int | None = None) -> str:
    """The metrics on one line; where there is not so much room, without those of FIRST_TO_GO."""
    told = {name: form.format(metrics[name]) for name, form in SHOWN.items() if name in metrics}
    for name in FIRST_TO_GO:
        if room is not None and len("  ".join(told.values())) > room:
            told.pop(name, None)
    return "  ".join(told.values())


def describe(cfg: Config, kinds: list[str]) -> str:
    """The first line printed: what is trained, on what."""
    return (
        f"{parameters.said(*parameters.count(cfg))}, {cfg.model.attention} attention, {len(kinds)} x {kinds[0]}, "
        f"{cfg.n_steps:,} steps of {cfg.batch_tokens:,} tokens"
    )


def unused_gpu(kinds: list[str], devices: pathlib.Path = pathlib.Path("/dev")) -> list[str]:
    """What is said where JAX trains on the CPU beside a GPU that nobody has told it to leave alone."""
    if kinds[0] != "cpu" or "JAX_PLATFORMS" in os.environ or not any(devices.glob("nvidia[0-9]*")):
        return []
    return ["this machine has an NVIDIA GPU that JAX does not use: pip install 'gptjax[cuda12]', or look at nvidia-smi"]


def epilogue(run: str, prompt: str, latest: dict[str, float], sample: str | None) -> None:
    """The result, a sample and what to try next."""
    print(f"\nvalidation: {latest['eval/nll']:.4f} nats a token, {latest['eval/bits_per_byte']:.4f} bits a byte")
    if sample is not None:
        print(f"sample: {prompt}{sample}\n")
    print(f"run: {run} (run.json, metrics.jsonl, samples.jsonl, checkpoints/)")
    print("next:")
    print(f"  gptjax generate --from={run} --prompt={shlex.quote(prompt.strip() or 'The')} --samples=3")
    print("  the same command with a larger --config.n_steps goes on from here")
    print(f"  --config.init_from={run} --workdir=NEW starts another run from these weights")
