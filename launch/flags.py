"""The flags of `python -m launch`."""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence

from gptjax.config import BadInput
from gptjax.parser import Parser
from launch.engines import ENGINES

COMMANDS = {
    "plan": "number, tokens, FLOPs, memory and price of the trials, and the exact spec of each",
    "run": "start what has not been, and stay until all trials have ended (with --go)",
    "status": "the table of trials, brought up to what the engine says",
    "retry": "let trials that failed or were cancelled wait again (with --go: start them)",
    "cancel": "end trials for good; what runs saves and leaves",
    "logs": "print the log of a trial",
}
EXAMPLES = {
    "plan": "experiments/optimizers/sweep.py --topology=v5e:4x4",
    "run": "experiments/optimizers/sweep.py --on=local --go",
    "status": "experiments/optimizers/sweep.py --follow",
    "retry": "experiments/optimizers/sweep.py --trial=ID --go",
    "cancel": "experiments/optimizers/sweep.py --trial=ID",
    "logs": "experiments/optimizers/sweep.py --trial=ID",
}
MORE = (
    "--config.KEY=VALUE changes a key of all trials that leaves the numbers alone, such as mesh.data; --on.KEY=VALUE "
    "a setting of the engine, such as --on.at_once=2 (docs/launch.md lists them)."
)


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m launch",
        description="A sweep, from its spec to its table.",
        epilog=f"example: python -m launch plan {EXAMPLES['plan']}",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        example = f"{MORE} example: python -m launch {name} {EXAMPLES[name]}"
        command = commands.add_parser(name, help=what, description=what, epilog=example, allow_abbrev=False)
        command.add_argument("file", metavar="EXPERIMENT/sweep.py", help="a file with a SWEEP")
        command.add_argument(
            "--on", default="local", metavar="ENGINE", help=f"one of {', '.join(ENGINES)} (default local)"
        )
        command.add_argument(
            "--runs", default="runs", metavar="DIR", help="a folder or bucket; holds SWEEP/TRIAL (default runs)"
        )
        starts = "start trials; nothing else does" if name in ("plan", "run", "retry") else argparse.SUPPRESS
        command.add_argument("--go", action="store_true", help=starts)
        command.add_argument(
            "--trial", action="append", default=[], metavar="ID", help="only this one (may be repeated)"
        )
        if name in ("plan", "run", "status"):
            command.add_argument("--json", metavar="FILE", help="write what is shown as JSON")
        if name in ("plan", "run"):
            command.add_argument("--topology", metavar="NAME", help="the machine of one trial, as of gptjax plan")
            command.add_argument("--compile", action="store_true", help="ask the compiler, too (gptjax[plan])")
            command.add_argument("--spot", action="store_true", help="price it as spot")
        if name == "run":
            command.add_argument("--detach", action="store_true", help="leave once the trials are submitted")
        if name == "status":
            command.add_argument("--follow", action="store_true", help="draw it again and again")
    return parser


def parsed(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str], list[str]]:
    """The flags, the KEY=VALUE of --config.KEY=VALUE and those of --on.KEY=VALUE."""
    words = list(sys.argv[1:] if argv is None else argv)
    flags, rest = make_parser().parse_known_args(words, argparse.Namespace(words=words))
    keys, settings = [], []
    for word in rest:
        found = re.fullmatch(r"--(config|on)\.(.+)", word, re.DOTALL)
        if found is None:
            near = difflib.get_close_matches(word.partition("=")[0], (f"--{name}" for name in vars(flags)), n=1)
            meant = f"did you mean {near[0]}?" if near else f"python -m launch {flags.command} --help lists them"
            raise BadInput(f"{word}: not a flag of {flags.command}; {meant}")
        (keys if found[1] == "config" else settings).append(found[2])
    return flags, keys, settings
