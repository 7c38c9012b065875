"""The command line; nothing else parses a flag.

Exit codes: 0 done, 2 bad input (never retry), 3 diverged (never retry), 75 stopped with the state saved (retry),
1 anything else.
"""

import argparse
import atexit
import contextlib
import difflib
import functools
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from gptjax import config
from gptjax.config import BadInput
from gptjax.runs.clock import Clock, process_start
from gptjax.runs.faults import StorageFailed

VARIABLES = ("GPTJAX_NUM_PROCESSES", "GPTJAX_PROCESS_ID", "GPTJAX_COORDINATOR", "GPTJAX_LOCAL_DEVICE_IDS")
COMMANDS = ("train", "plan", "prepare", "generate")
FAILED, BAD_INPUT, DIVERGED = 1, 2, 3
OUT_OF_MEMORY = (
    "out of memory on the device: try a larger --config.accumulate, --config.model.remat=full, "
    "--config.loss.n_chunks=8, a smaller --config.batch_tokens, or more devices along mesh.data"
)
CACHE = "~/.cache/gptjax/xla"  # compiled programs, found again by the next start


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; every expected failure ends in one line on stderr and an exit code."""
    if argv is None:
        ask_for_huge_pages()
    clock = Clock(process_start() if argv is None else time.time())
    parser = make_parser()
    try:
        flags, rest = parser.parse_known_args(argv, argparse.Namespace(clock=clock))
        code = flags.command(flags, config_overrides(rest, flags))
    except BadInput as error:
        print(f"gptjax: {one_line(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except StorageFailed as error:
        print(f"gptjax: {one_line(str(error))}", file=sys.stderr)
        return FAILED
    if argv is None and flags.name == "train":
        end(code)
    return code


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are one line with the nearest right word."""

    def error(self, message: str) -> NoReturn:
        word = re.match("argument COMMAND: invalid choice: '(.*)' ", message)
        near = difflib.get_close_matches(word[1], COMMANDS, n=1) if word else []
        if word:
            message = f"no command {word[1]}; " + (
                f"did you mean {near[0]}?" if near else f"it is one of {', '.join(COMMANDS)}"
            )
        raise BadInput(f"{message}; {self.prog} --help says more" if not word else message)


def one_line(text: str) -> str:
    """The text with all that would end its line, or move a terminal's cursor, spelled out, and with no password."""
    shown = (c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return config.without_password("".join(shown))


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
    train.add_argument(
        "--replay",
        type=int,
        metavar="STEP",
        help="do the updates up to that of batch STEP again from the newest checkpoint before it, print its metrics "
        "bit by bit, and write nothing",
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

    generate = add(commands, "generate", "continue a prompt", run_generate)
    generate.add_argument(
        "--from",
        dest="folder",
        required=True,
        metavar="DIR",
        help="a run, one checkpoint in it, or a Hugging Face folder",
    )
    generate.add_argument("--prompt", required=True, metavar="TEXT")
    generate.add_argument("--max_tokens", type=int, default=256, metavar="N")
    generate.add_argument("--temperature", type=float, default=0.8, metavar="T", help="0 takes the likeliest token")
    generate.add_argument("--top_k", type=int, default=0, metavar="K", help="sample among the K likeliest; 0 = all")
    generate.add_argument(
        "--top_p", type=float, default=1.0, metavar="P", help="sample among the likeliest that reach P"
    )
    generate.add_argument("--seed", type=int, default=0, metavar="S")
    generate.add_argument("--samples", type=int, default=1, metavar="N")

    bring = add(commands, "import-hf", "make a run of a Hugging Face model folder", run_import_hf)
    bring.add_argument(
        "--hf", required=True, metavar="DIR|NAME", help="a folder with config.json and safetensors, or user/model"
    )
    bring.add_argument("--to", required=True, metavar="RUN", help="a new run directory")

    take = add(commands, "export-hf", "make a Hugging Face model folder of a run", run_export_hf)
    take.add_argument("--from", dest="folder", required=True, metavar="RUN", help="as of generate")
    take.add_argument("--to", required=True, metavar="DIR", help="a new folder, for transformers to load")
    return parser


def add(commands, name: str, summary: str, command) -> argparse.ArgumentParser:
    made = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
    made.set_defaults(command=command, parser=made)
    return made


def config_overrides(rest: list[str], flags: argparse.Namespace) -> list[str]:
    """The `key=value` of each --config.key=value; raises BadInput for any other flag left over."""
    overrides = []
    for number, word in enumerate(rest):
        if "config" in flags and word.startswith("--config."):
            if "=" not in word:
                values = [after for after in rest[number + 1 : number + 2] if not after.startswith("-")]
                raise BadInput(f"{word}: expected {word}={(values or ['VALUE'])[0]}")
            overrides.append(word.removeprefix("--config."))
            continue
        name = word.partition("=")[0]
        near = difflib.get_close_matches(name, flags.parser._option_string_actions, n=1)
        if "config" in flags and name.removeprefix("--") in config.key_types():
            near = [name.replace("--", "--config.", 1)]
        raise BadInput(f"{flags.name} has no flag {word}" + (f"; did you mean {near[0]}?" if near else ""))
    return overrides


def run_train(flags: argparse.Namespace, overrides: list[str]) -> int:
    check_variables(os.environ)
    load = functools.cache(lambda: config.load(flags.config, overrides))
    if not any(name in os.environ for name in (*VARIABLES, "SLURM_PROCID")):
        load()  # is refused before JAX is loaded; of several processes, once they have met
    start_jax()
    import jax

    from gptjax.training import hosts

    hosts.join()

    from gptjax.commands import replay, train
    from gptjax.training.divergence import Diverged

    try:
        if flags.replay is None:
            code = train.run(load, flags.workdir, flags.change_optimizer, flags.clock)
        else:
            code = replay.run(load, flags.workdir, flags.change_optimizer, flags.replay)
        hosts.wait_for_all()
        return code
    except Diverged as error:
        keys = [f"--config={flags.config}", *(f"--config.{override}" for override in overrides)]
        again = shlex.join(["gptjax", "train", *keys, f"--workdir={flags.workdir}", f"--replay={error.step}"])
        print(f"gptjax: diverged: {error}; nothing that is not finite was saved; replay: {again}", file=sys.stderr)
        return DIVERGED
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            raise BadInput(OUT_OF_MEMORY) from error
        if jax.process_count() > 1 and any(word in str(error) for word in hosts.LOST):
            hosts.leave(error)
        raise


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

    return generate.run(
        flags.folder,
        flags.prompt,
        flags.max_tokens,
        flags.temperature,
        flags.top_k,
        flags.top_p,
        flags.seed,
        flags.samples,
    )


def run_import_hf(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import import_hf

    return import_hf.run(flags.hf, flags.to)


def run_export_hf(flags: argparse.Namespace, overrides: list[str]) -> int:
    start_jax()
    from gptjax.commands import export_hf

    return export_hf.run(flags.folder, flags.to)


def ask_for_huge_pages() -> None:
    """Starts this process anew, in 20 ms, with the one setting that glibc reads only at its own start.

    XLA's CPU backend takes and returns the memory of a step at each step, and a sixth of a small step is page faults of
    4 KiB each; with huge pages there are 512 times fewer. Who has set GLIBC_TUNABLES is left in peace.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def check_variables(env: Mapping[str, str]) -> None:
    """Raises BadInput for what is nearly one of our variables: with it left out, each process would train alone."""
    for name in env:
        near = difflib.get_close_matches(name, VARIABLES, n=1, cutoff=0.85)
        if near and name not in VARIABLES and name.startswith("GPTJAX"):
            raise BadInput(f"the environment has {name}; did you mean {near[0]}?")


def end(code: int) -> NoReturn:
    """Ends this process without taking Python and JAX apart, which takes 0.9 s of a run whose files are all closed."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # nobody may be reading any more
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def start_jax() -> None:
    """Settings that must precede the first compile; the cache of compiled programs is JAX's own."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.expanduser(CACHE))


if __name__ == "__main__":
    sys.exit(main())
