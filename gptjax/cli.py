"""The command line; nothing else parses a flag.

Exit codes: 0 done, 2 bad input (never retry), 3 diverged (never retry), 75 stopped with the state saved (retry),
1 anything else.
"""

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from gptjax.config import BadInput

BAD_INPUT, DIVERGED = 2, 3
OUT_OF_MEMORY = (
    "out of memory on the device: try a larger --config.accumulate, --config.model.remat=full, "
    "--config.loss.n_chunks=8, a smaller --config.batch_tokens, or more devices along mesh.data"
)
CACHE = "~/.cache/gptjax/xla"  # compiled programs, found again by the next start


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; every expected failure ends in one line on stderr and an exit code."""
    if argv is None:
        ask_for_huge_pages()
    parser = make_parser()
    flags, rest = parser.parse_known_args(argv)
    try:
        return flags.command(flags, config_overrides(rest, flags))
    except BadInput as error:
        print(f"gptjax: {error}", file=sys.stderr)
        return BAD_INPUT


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every refusal does."""

    def error(self, message: str) -> NoReturn:
        self.exit(BAD_INPUT, f"gptjax: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="gptjax", description="GPT language models in JAX, from theory to practice.", allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="name", required=True, metavar="COMMAND")

    train = add(commands, "train", "train a model, or go on training it", run_train)
    train.add_argument(
        "--config", required=True, metavar="FILE", help="a file of configs/; --config.KEY=VALUE changes it"
    )
    train.add_argument(
        "--workdir", required=True, metavar="DIR", help="the run: logs and checkpoints (local, gs:// or s3://)"
    )
    train.add_argument(
        "--change_optimizer",
        action="store_true",
        help="let a resumed run go on with other optim.* keys than it began with",
    )

    plan = add(commands, "plan", "tell whether a config fits a machine, and how long it takes", run_plan)
    plan.add_argument("--config", required=True, metavar="FILE", help="as of train")
    plan.add_argument(
        "--topology",
        metavar="NAME",
        help="v5e:16x16, 2*v5p:8x8x8 (slices), h100:2x8 (hosts x GPUs); default: this machine",
    )
    plan.add_argument(
        "--search", action="store_true", help="propose mesh, remat and batch for the topology, by formula"
    )
    plan.add_argument("--no_compile", action="store_true", help="only what a formula knows, in a second")
    plan.add_argument(
        "--save-target", metavar="FILE", help="write the GPU at hand as a topology, FILE.txtpb:HOSTSxGPUS"
    )
    plan.add_argument("--json", metavar="FILE", help="write every figure too")

    prepare = add(commands, "prepare", "download and prepare a corpus", run_prepare)
    prepare.add_argument("--corpus", required=True, metavar="NAME", help="as in data.corpora, e.g. tfds:lm1b")

    add_generate(commands)
    return parser


def add_generate(commands) -> None:
    generate = add(commands, "generate", "continue a prompt", run_generate)
    generate.add_argument("--from", dest="folder", required=True, metavar="DIR", help="a run, or one checkpoint in it")
    generate.add_argument(
        "--prompt", required=True, action="append", metavar="TEXT", help="may be given several times, for a batch"
    )
    rows: list[tuple[str, type, object, str, str]] = [
        ("max_tokens", int, 256, "N", "tokens of a text, or fewer up to an end of text"),
        ("temperature", float, None, "T", "what logits are divided by (default 0.8); 0 takes the likeliest token"),
        ("top_k", int, 0, "K", "sample among the K likeliest; 0 = all"),
        ("top_p", float, 1.0, "P", "sample among the likeliest that reach P"),
        ("min_p", float, 0.0, "P", "sample among those at least P times as likely as the likeliest; 0 = all"),
        ("repetition_penalty", float, 1.0, "R", "divide the logits of tokens in prompt and text by R; 1 = off"),
        ("frequency_penalty", float, 0.0, "F", "take F from a token's logit for each time it was chosen; 0 = off"),
        ("beams", int, 0, "N", "search for the likeliest text among N side by side, and draw nothing; 0 = sample"),
        ("length_penalty", float, 1.0, "A", "of --beams: divide a text's log-probability by its tokens to the power A"),
        ("seed", int, 0, "S", "the same seed and prompt give the same text, in any batch"),
        ("samples", int, 1, "N", "texts for each prompt"),
        ("best_of", int, 0, "N", "draw N texts and keep the --samples likeliest a token; 0 = off"),
        (
            "precision",
            str,
            "float32",
            "NAME",
            "how weights are held: float32, bfloat16 (half as large) or int8 (a quarter)",
        ),
    ]
    for name, kind, default, metavar, text in rows:
        generate.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=text)
    generate.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be given several times"
    )
    generate.add_argument("--logprobs", action="store_true", help="print each token's log-probability, in nats")
    generate.add_argument("--stream", action="store_true", help="print the text as it grows")


def add(commands, name: str, summary: str, command) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    made.set_defaults(command=command, parser=made)
    return made


def config_overrides(rest: list[str], flags: argparse.Namespace) -> list[str]:
    """The `key=value` of each --config.key=value; raises BadInput for any other flag left over."""
    overrides = []
    for word in rest:
        if "config" in flags and word.startswith("--config."):
            overrides.append(word.removeprefix("--config."))
            continue
        near = difflib.get_close_matches(word.partition("=")[0], flags.parser._option_string_actions, n=1)
        raise BadInput(f"{flags.name} has no flag {word}" + (f"; did you mean {near[0]}?" if near else ""))
    return overrides


def run_train(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    import jax

    from gptjax.training import hosts

    hosts.join()

    from gptjax.commands import train
    from gptjax.training.loop import Diverged

    try:
        code = train.run(flags.config, overrides, flags.workdir, flags.change_optimizer)
        hosts.wait_for_all()
        return code
    except Diverged as error:
        print(f"gptjax: diverged: {error}; nothing that is not finite was saved", file=sys.stderr)
        return DIVERGED
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise BadInput(OUT_OF_MEMORY) from error


def run_plan(flags: argparse.Namespace, overrides: list[str]) -> int:
    from gptjax.commands import plan

    return plan.run(
        flags.config,
        overrides,
        flags.topology,
        flags.search,
        not flags.no_compile,
        flags.save_target,
        flags.json,
    )


def run_prepare(flags: argparse.Namespace, overrides: list[str]) -> int:
    from gptjax.data import corpora

    corpora.prepare(flags.corpus)
    return 0


def run_generate(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import generate

    fields = generate.Request._fields
    return generate.run(generate.Request(**{name: getattr(flags, name) for name in fields}))


def ask_for_huge_pages() -> None:
    """Starts this process anew, in 20 ms, with the one setting that glibc reads only at its own start.

    XLA's CPU backend takes and returns the memory of a step at each step, and a sixth of a small step is page faults of
    4 KiB each; with huge pages there are 512 times fewer. Who has set GLIBC_TUNABLES is left in peace.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def start_jax() -> None:
    """Settings that must precede the first compile; the cache of compiled programs is JAX's own."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser(CACHE))


if __name__ == "__main__":
    sys.exit(main())
