"""How time and memory of the training step grow with context, vocabulary, layers and batch, beside what theory says.

    python -m benchmarks.growth [--series=T,V,L,batch] [--png=docs/growth.png]

A small model on random tokens, one size after another in this process; memory is what XLA plans for the executable.
Exponents are least squares on logarithms, over the sizes above the geometric middle of a range. Theory is the same fit
of a formula: for time, the FLOPs of planning/flops.py; for memory, `theory_bytes`. Growth slower than theory only says
that constant costs still count; faster by more than MARGIN is flagged.
"""

import argparse
import gc
import math
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.contest import print_machine, print_table
from benchmarks.step import overrides
from gptjax import config, mesh
from gptjax.commands.train import trace_update
from gptjax.config import Config
from gptjax.planning import flops
from gptjax.training import sharding, step
from tests.tiny import make_batch

MARGIN = 0.15  # of an exponent
SMALL = dict(layers=2, heads=4, width=128, context=256, vocab=256, batch=2)
STEPS, SECONDS = 3, 0.5  # timed at each size: at least so many steps, for at least so long
MIB = 2**20


class Line(NamedTuple):
    series: str  # as --series picks it
    what: str
    sizes: tuple[int, ...]
    shape: Callable[[int], dict[str, int]]  # of a size, as `benchmarks.step.overrides` takes it
    extra: tuple[str, ...] = ()  # keys of the config
    compile_exponent: float = 0.0  # in theory


LINES = (
    Line(
        "T",
        "context, at 8,192 tokens a step",
        (256, 512, 1024, 2048, 4096, 8192),
        lambda T: SMALL | dict(context=T, batch=8192 // T),
    ),
    Line("V", "vocabulary", tuple(2**n for n in (8, 11, 13, 15, 17)), lambda V: SMALL | dict(vocab=V)),
    Line("L", "layers, in a loop", (2, 8, 24, 48, 96), lambda L: SMALL | dict(layers=L)),
    Line(
        "L",
        "layers, written out",
        (2, 8, 12, 24),
        lambda L: SMALL | dict(layers=L),
        extra=("model.scan=False",),
        compile_exponent=1.0,
    ),
    Line(
        "batch",
        "tokens a step",
        tuple(2**n for n in (8, 10, 12, 13, 14)),
        lambda tokens: SMALL | dict(batch=tokens // SMALL["context"]),
    ),
)
QUANTITIES = {"ms a step": "FLOPs", "temporary MiB": "theory MiB"}  # and the column that foretells it


def load(line: Line, size: int, *extra: str) -> Config:
    return config.load("configs/base.py", [*overrides(**line.shape(size)), *line.extra, *extra])


def measure(line: Line, size: int) -> dict[str, Any]:
    """A row of the table."""
    cfg = load(line, size)
    on = mesh.make(cfg.mesh)
    began = time.perf_counter()
    update = trace_update(cfg, on).compile()
    compile_s = time.perf_counter() - began
    state = step.init_state(load(line, size, "model.scan=True"), on)  # the same numbers, compiled at once
    batch = sharding.put(make_batch(cfg), on)
    seconds: list[float] = []
    while len(seconds) <= STEPS or sum(seconds[1:]) < SECONDS:
        began = time.perf_counter()
        state, metrics = update(state, batch)
        jax.block_until_ready((state, metrics))
        seconds.append(time.perf_counter() - began)
    memory = update.memory_analysis()  # on a CPU its own peak leaves out what is temporary
    assert memory is not None
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes
    return {
        "size": size,
        "compile s": compile_s,
        "ms a step": statistics.median(seconds[1:]) * 1e3,
        "temporary MiB": memory.temp_size_in_bytes / MIB,
        "theory MiB": theory_bytes(cfg) / MIB,
        "peak MiB": (held + memory.temp_size_in_bytes) / MIB,
        "FLOPs": flops.train_flops_per_token(cfg.model) * cfg.batch_tokens,
    }


def theory_bytes(cfg: Config) -> float:
    """What a step has to hold besides its state, in float32: the gradients, the logits with theirs, and what the layers
    save, of each token: the inputs and outputs of two norms, q, k, v, their mix, and the MLP before and after its GELU.

    Blockwise attention holds no T x T array, so at a constant number of tokens only the positions' gradient knows T.
    """
    D, F, N = cfg.model.d_model, cfg.model.d_hidden, cfg.model.n_heads
    of_layer = 8 * D + 2 * F + N  # N sums of attention weights
    of_token = cfg.model.n_layers * of_layer + 2 * cfg.model.vocab_size / cfg.loss.n_chunks
    return 4 * (flops.n_params(cfg.model) + cfg.batch_tokens * of_token)


def upper(rows: Sequence[Mapping]) -> list[Mapping]:
    """The rows above the geometric middle of the sizes."""
    middle = math.sqrt(rows[0]["size"] * rows[-1]["size"])
    return [row for row in rows if row["size"] >= middle]


def exponent(rows: Sequence[Mapping], column: str) -> float:
    sizes, values = (np.log([float(row[name]) for row in upper(rows)]) for name in ("size", column))
    return float(np.polyfit(sizes, values, 1)[0])


def verdicts(line: Line, rows: Sequence[Mapping]) -> list[dict[str, object]]:
    theories = {column: exponent(rows, theory) for column, theory in QUANTITIES.items()}
    found = []
    for column, theory in {"compile s": line.compile_exponent, **theories}.items():
        measured = exponent(rows, column)
        found.append(
            {
                "series": line.series,
                "against": line.what,
                "of": column,
                "exponent": f"{measured:z.2f}",
                "theory": f"{theory:.2f}",
                "": "GROWS TOO FAST" if measured > theory + MARGIN else "",
            }
        )
    return found


def run(line: Line) -> list[dict[str, Any]]:
    rows = []
    for size in line.sizes:
        if sys.stderr.isatty():
            print(f"\r{line.series} = {size:,}    ", end="", file=sys.stderr, flush=True)
        rows.append(measure(line, size))
        jax.clear_caches()
        gc.collect()  # executables and states go before the next are made
    if sys.stderr.isatty():
        print("\r" + " " * 20 + "\r", end="", file=sys.stderr, flush=True)
    shape = {key: value for key, value in line.shape(line.sizes[0]).items() if value == line.shape(line.sizes[-1])[key]}
    print(f"\n{line.series}: {line.what}; {', '.join(f'{key} {value}' for key, value in shape.items())}")
    print_table([{**row, "size": f"{row['size']:,}", "FLOPs": f"{row['FLOPs']:.2e}"} for row in rows])
    return rows


def plots() -> Any:
    """matplotlib.pyplot, which draws without a screen."""
    try:
        import matplotlib
    except ImportError as error:
        raise SystemExit(f"--png needs matplotlib ({error}); pip install 'gptjax[plots]'") from error
    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    return plt


COLOURS = {"ms a step": "#2c6fa6", "temporary MiB": "#c0392b", "compile s": "#7f8c8d"}


def draw(plt: Any, found: Mapping[Line, Sequence[Mapping]], picture: str) -> None:
    """A panel for each series: measured against size, and from the middle of the sizes on theory's slope, dashed."""
    figure, grid = plt.subplots(2, 2, figsize=(11, 7.5), layout="constrained")
    panels = dict(zip(dict.fromkeys(line.series for line in LINES), grid.flat, strict=True))
    for series, axes in panels.items():
        lines = [line for line in found if line.series == series]
        axes.set_visible(bool(lines))
        for number, line in enumerate(lines):
            draw_line(axes, line, found[line], len(lines) > 1, filled=number == 0)
        if lines:
            sizes = lines[0].sizes
            axes.set(xscale="log", yscale="log")
            axes.set_title(f"{series}: {lines[0].what if len(lines) == 1 else 'layers'}")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes], fontsize=8)
            axes.minorticks_off()
            low, high = axes.get_ylim()
            axes.set_ylim(low, high * (high / low) ** (0.2 + 0.05 * len(lines)))  # room for the legend
            ticks = [n * 10**power for power in range(-3, 7) for n in (1, 2, 5) if low <= n * 10**power <= high]
            axes.set_yticks(ticks, [f"{tick:,g}" for tick in ticks], fontsize=8)
            axes.grid(axis="y", color="#e6e6e6", lw=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            axes.legend(
                frameon=False, fontsize=7, handlelength=1.8, columnspacing=1, loc="upper left", ncols=len(lines)
            )
    title = f"A training step of a small model on {jax.devices()[0].device_kind}"
    figure.suptitle(f"{title}: exponents, in brackets and dashed those of theory")
    figure.savefig(picture, dpi=150)


def draw_line(axes: Any, line: Line, rows: Sequence[Mapping], several: bool, filled: bool) -> None:
    theories = {column: exponent(rows, theory) for column, theory in QUANTITIES.items()}
    if several:
        theories["compile s"] = line.compile_exponent
    high = [row["size"] for row in upper(rows)]
    for column, theory in theories.items():
        style = dict(color=COLOURS[column], lw=1.4, ms=5, mfc=COLOURS[column] if filled else "white")
        name = column + (f", {line.what.split(', ')[1]}" if several else "")
        label = f"{name}: {exponent(rows, column):z.2f} ({theory:.2f})"
        axes.plot([row["size"] for row in rows], [row[column] for row in rows], "o-", label=label, **style)
        first = upper(rows)[0][column]
        axes.plot(high, [first * (size / high[0]) ** theory for size in high], "--", color="black", lw=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="step time and memory against T, V, L and batch")
    every = list(dict.fromkeys(line.series for line in LINES))
    parser.add_argument("--series", default=",".join(every), metavar="NAME,...", help="(default: %(default)s)")
    parser.add_argument("--png", metavar="FILE", help="a picture of it all")
    flags = parser.parse_args()
    chosen = flags.series.split(",")
    if unknown := [name for name in chosen if name not in every]:
        raise SystemExit(f"--series={flags.series}: there is no {unknown[0]!r}; there are {', '.join(every)}")
    if flags.png and not pathlib.Path(flags.png).parent.is_dir():
        raise SystemExit(f"--png={flags.png}: no such folder")
    plt = plots() if flags.png else None  # refused, as above, before the minutes of measuring
    jax.config.update("jax_enable_compilation_cache", False)  # a program that is found takes no time to compile
    found = {line: run(line) for line in LINES if line.series in chosen}
    print()
    print_table([row for line, rows in found.items() for row in verdicts(line, rows)])
    if plt is not None:
        draw(plt, found, flags.png)
    print_machine()


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    main()
