"""What an engine starts for a trial: `python -m launch.job ... -- COMMAND` runs the command and keeps the books.

It starts nothing unless the table says that the trial is live under the batch it was given, so a job that comes late,
twice or after a cancel does nothing. Its exit code speaks to the engine: 0 there is nothing more to do, 75 start me
again, 2 never again.
"""

import argparse
import dataclasses
import fcntl
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

from gptjax.config import BadInput
from launch import contract, results
from launch.table import LIVE, State, Table

LAST_S = 300  # that the other processes of a trial have to end in, once one has
LOCK_S = 120  # that an earlier process has to leave the run directory in
OWN, NUMBER, COORDINATOR = "GPTJAX_PROCESS_ID", "GPTJAX_NUM_PROCESSES", "GPTJAX_COORDINATOR"
AGAIN, NOTHING_MORE, NEVER = 75, 0, 2


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="launch.job", description="The job around a trial.", allow_abbrev=False)
    for name in ("table", "trial", "batch", "engine", "workdir"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--job", default="", help="what the engine calls this job")
    parser.add_argument("--max_failures", type=int, required=True)
    parser.add_argument("--metric", required=True, help="whose last value the table keeps")
    parser.add_argument("--lock", default="", help="the file whose lock this job was given; it writes its number there")
    parser.add_argument("--processes", type=int, default=0, help="start so many here; 0: the environment says who I am")
    parser.add_argument("--own", action="append", default=[], metavar="NAME=VALUE", help="of each process, in turn")
    parser.add_argument("--again", default="waiting", help="the state of a trial to be started again")
    parser.add_argument("command", nargs="+")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    flags = make_parser().parse_args(argv)
    table, stop = Table(flags.table), Forward()
    if flags.lock:
        pathlib.Path(flags.lock).write_text(str(os.getpid()))
    if not flags.processes and os.environ.get(OWN, "0") != "0":  # another process of this trial keeps the books
        return run(flags, stop) if is_mine(table.get(flags.trial), flags) else NOTHING_MORE
    if (begun := begin(table, flags)) is not None:
        return begun
    killed = contract.oom_kills()
    code = run(flags, stop) if wait_for_lock(flags.workdir) else None
    saved = contract.saved_step(flags.workdir)
    out_of_memory = code in (-signal.SIGKILL, 128 + signal.SIGKILL) and contract.oom_kills() > killed
    result = results.last(flags.workdir, flags.metric) if code == contract.DONE else {}

    def after(state: State) -> State:
        ended = contract.after_end(state, code, saved, flags.max_failures, out_of_memory, flags.again)
        value = results.number(result, flags.metric)
        return dataclasses.replace(ended, result=result, rungs=[*state.rungs, value] if result else state.rungs)

    ended = contract.settle(table, flags.trial, flags.batch, after)
    print(f"launch: trial {flags.trial} is {ended.state}{ended.why and ': ' + ended.why}", flush=True)
    return verdict(ended, flags)


def is_mine(state: State, flags: argparse.Namespace) -> bool:
    return state.state in LIVE and state.batch == flags.batch


def verdict(state: State, flags: argparse.Namespace) -> int:
    if state.batch != flags.batch or state.state in ("done", "cancelled"):
        return NOTHING_MORE
    return NEVER if state.state == "failed" else AGAIN


def begin(table: Table, flags: argparse.Namespace) -> int | None:
    """Writes that the trial runs, after the end of an earlier start that nobody saw; or the code to leave with."""
    while True:
        state = table.get(flags.trial)
        if not is_mine(state, flags):
            print(f"launch: trial {flags.trial} is {state.state} and not this job's to run", flush=True)
            return NOTHING_MORE
        if state.state == "running":
            saved = contract.saved_step(flags.workdir)
            lost = contract.after_end(state, None, saved, flags.max_failures, False, "queued")
            if table.append(flags.trial, lost) and lost.state == "failed":
                return NEVER
        else:
            running = state.next("running", attempt=state.attempt + 1, job=flags.job, engine=flags.engine)
            if table.append(flags.trial, running):
                return None


def run(flags: argparse.Namespace, stop: "Forward") -> int:
    """The command in each process of this trial that starts here; the code of all together."""
    if not flags.processes:
        return stop.wait([subprocess.Popen(flags.command)])
    place = {NUMBER: str(flags.processes)}
    if flags.processes > 1:
        place[COORDINATOR] = f"127.0.0.1:{free_port()}"
    children = []
    for process in range(flags.processes):
        own = dict(word.split("=", 1) for word in flags.own[process : process + 1])
        mine = {OWN: str(process)} if flags.processes > 1 else {}
        # Locks that this process was given go on with its children: a trial is alive while any of them is.
        children.append(subprocess.Popen(flags.command, env=os.environ | place | mine | own, close_fds=False))
    return stop.wait(children)


class Forward:
    """Hands SIGTERM and SIGINT on to the children, which save and leave with 75."""

    def __init__(self):
        self.children: list[subprocess.Popen] = []
        self.told = False
        for number in (signal.SIGTERM, signal.SIGINT):
            if signal.getsignal(number) != signal.SIG_IGN:  # a batch script ignores it: its step is told by itself
                signal.signal(number, self)

    def __call__(self, *_) -> None:
        self.told = True
        for child in self.children:
            if child.poll() is None:
                child.terminate()

    def wait(self, children: list[subprocess.Popen]) -> int:
        self.children = children
        if self.told:
            self()
        codes: list[int] = []
        while any(child.poll() is None for child in children) and not codes:
            if len(children) == 1:
                children[0].wait()
            time.sleep(0 if len(children) == 1 else 0.05)
            codes = [child.returncode for child in children if child.poll() is not None]
        deadline = time.monotonic() + LAST_S
        for child in children:
            try:
                child.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        return together(codes, [child.returncode for child in children])


def together(first: list[int], codes: list[int]) -> int:
    """One code for several processes: a refusal or a divergence of any, else that of the first to end badly."""
    for code in (contract.BAD_INPUT, contract.DIVERGED):
        if code in codes:
            return code
    bad = [code for code in [*first, *codes] if code not in (contract.DONE, contract.STOPPED)]
    return bad[0] if bad else max(codes)


def wait_for_lock(workdir: str) -> bool:
    """Whether nobody trains in the run directory any more; `gptjax train` would refuse it as bad input."""
    path = f"{workdir}/lock"
    deadline = time.monotonic() + LOCK_S
    while "://" not in workdir and os.path.exists(path):
        with open(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > deadline:
                    print(f"launch: {workdir}: another process has been training there for {LOCK_S} s", flush=True)
                    return False
            except OSError:  # no locks on this file system
                return True
        time.sleep(0.5)
    return True


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BadInput as error:
        print(f"launch: {error}", file=sys.stderr)
        sys.exit(NEVER)
