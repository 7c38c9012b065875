"""The flags of `python -m launch`."""

import argparse
import re
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


def make_parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m launch", description="A sweep, from its spec to its table.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, what in COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        command.add_argument("file", metavar="EXPERIMENT/sweep.py")
        command.add_argument("--on", default="local", metavar="ENGINE", help=f"one of {', '.join(ENGINES)}")
        command.add_argument("--runs", default="runs", metavar="DIR", help="a folder or bucket; holds SWEEP/TRIAL")
        command.add_argument("--go", action="store_true", help="start trials; nothing else does")
        command.add_argument(
            "--trial", action="append", default=[], metavar="ID", help="only this one (may be repeated)"
        )
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
    flags, rest = make_parser().parse_known_args(argv)
    keys, settings = [], []
    for word in rest:
        found = re.fullmatch(r"--(config|on)\.(.+)", word, re.DOTALL)
        if found is None:
            raise BadInput(f"{word}: not a flag of {flags.command}; python -m launch {flags.command} --help lists them")
        (keys if found[1] == "config" else settings).append(found[2])
    return flags, keys, settings
