"""`python -m launch plan|run|status|retry|cancel|logs EXPERIMENT/sweep.py --on=ENGINE --runs=DIR [--go]`.

Exit codes: 0 done; 1 some trial has failed; 2 bad input; 75 trials are still to be done, and the same command goes on.
"""

import argparse
import collections
import contextlib
import difflib
import json
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gptjax import config
from gptjax.config import BadInput
from gptjax.parser import one_line
from gptjax.runs.faults import StorageFailed
from launch import batch, controller, engines, flags, halving, plan, search, show, sweep
from launch.controller import Driver
from launch.sweep import Base, Sweep
from launch.table import FINAL, State, Table

DONE, SOME_FAILED, BAD_INPUT, UNFINISHED = 0, 1, 2, 75
REDRAW_S = 2.0


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 where a trial failed or storage did, 2 for BadInput, 75 where trials are still to be done."""
    try:
        asked, keys, settings = flags.parsed(argv)
        return COMMANDS[asked.command](asked, *opened(asked, keys, settings))
    except BadInput as error:
        print(f"launch: {one_line(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except StorageFailed as error:
        print(f"launch: {one_line(str(error))}", file=sys.stderr)
        return SOME_FAILED


def opened(asked: argparse.Namespace, keys: list[str], settings: list[str]) -> tuple[Driver, Base, Sweep]:
    """The sweep that a file describes and where its trials are; raises BadInput."""
    name, made = sweep.load(asked.file)
    engines.engine(asked.on)
    base = Base(made, dict(free_key(word) for word in keys))
    place = batch.place(asked.runs, name)
    chosen = {one: engines.settings(one, made.engines.get(one, {})) for one in engines.ENGINES}
    chosen[asked.on] = engines.settings(asked.on, made.engines.get(asked.on, {}), settings)
    told = Teller()
    given = made.config, made.max_failures, made.metric, asked.on, chosen, told
    driver = Driver(place, Table(place.table), sweep.trials(made, base, name), *given)
    if made.search is not None:
        driver = search.known(made.search, base, driver)
    if made.halving is not None:
        steps = halving.lengths(made.halving, base)
        driver = driver._replace(longer=lambda trial, rung: halving.longer(trial, steps[rung]))
    ids = [trial.id for trial in driver.trials]
    if strange := set(asked.trial) - set(ids):
        near = [one for one in ids if one.startswith(min(strange))] or difflib.get_close_matches(min(strange), ids, n=1)
        meant = f"did you mean {near[0]}?" if near else "plan lists them"
        raise BadInput(f"--trial={min(strange)}: the sweep has no such trial; {meant}")
    return driver._replace(trials=[t for t in driver.trials if not asked.trial or t.id in asked.trial]), base, made


class Teller:
    """Prints what has not been said yet, so that an engine which does not answer is told of once."""

    def __init__(self):
        self.before: set[str] = set()

    def __call__(self, text: str) -> None:
        alike = re.sub(r"[0-9a-f]{8}", "", text)  # batches have their own names
        if alike not in self.before:
            self.before.add(alike)
            print(f"launch: {one_line(text)}", file=sys.stderr)


def free_key(word: str) -> tuple[str, Any]:
    """The key and value of a --config.KEY=VALUE."""
    kinds, (key, equals, text) = config.key_types(), word.partition("=")
    if not equals:
        raise BadInput(f"--config.{key}: expected --config.{key}=VALUE")
    if key not in kinds:
        raise config.unknown_key(key, kinds)
    return key, config.parse(key, text, kinds[key])


def run_plan(asked: argparse.Namespace, driver: Driver, base: Base, made: Sweep) -> int:
    """What would be done; what it would cost; with --go it is done."""
    one = base.trial({}, driver.place.sweep)  # stands for those that a search has not chosen yet
    shown = driver.trials if made.search is None else [one]
    found = plan.make(base, shown, asked.topology, asked.compile, asked.spot)
    screen = show.console()
    screen.print(show.plan(found, shown))
    for line in show.chosen(made, base, len(driver.trials)):
        screen.print(line)
    write(asked.json, plan.as_json(found, shown))
    states = known_states(driver, asked.go)
    todo = [trial for trial in driver.trials if states[trial.id].state not in FINAL]
    n_ended = len(driver.trials) - len(todo)
    screen.print(f"{n_ended:,} have ended before, {len(todo):,} are to be done in {driver.place.root}")
    for line in show.unknown(found, driver.settings[driver.on]):
        screen.print(line)
    if asked.go:
        return drive(asked, driver, base, made)
    if asked.command == "plan" and (todo or made.search is not None):
        show.specs(driver, [driver.longer(trial, states[trial.id].rung) for trial in todo] or [one])
    again = ["python", "-m", "launch", "run", *asked.words[1:], "--go"]
    print(f"nothing was started; {shlex.join(again)} does")
    return DONE


def known_states(driver: Driver, must: bool) -> dict[str, State]:
    """What the table says; of a plan, nothing where its bucket does not answer."""
    if "://" in driver.place.root:
        print(f"launch: asking {driver.place.table} what has ended before", file=sys.stderr)
    try:
        return controller.current(driver)
    except StorageFailed as error:
        if must:
            raise
        driver.told(f"{error}; so all trials are planned as new")
        return {trial.id: State() for trial in driver.trials}


def drive(asked: argparse.Namespace, driver: Driver, base: Base, made: Sweep) -> int:
    """Stays until all trials have ended, or until told to stop: then what runs goes on by itself."""
    before: list[str] = []

    def progress(driver: Driver, states: dict[str, State]) -> None:
        line = ", ".join(f"{n} {name}" for name, n in collections.Counter(s.state for s in states.values()).items())
        if before != [line]:
            before[:] = [line]
            print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)

    detach = asked.command == "run" and asked.detach
    with told_to_stop() as told, chooser(driver, base, made) as choose:
        driver, states = controller.driven(driver, progress, lambda: bool(told) or detach, choose)
    show.console().print(show.status(driver.trials, states, driver.place, driver.metric))
    if unfinished := [state for state in states.values() if state.state not in FINAL]:
        print(f"{len(unfinished)} trials are still to be done; what runs goes on, and the same command takes it up")
        return UNFINISHED
    print(f"next: gptjax analyze {driver.place.root} --html={driver.place.sweep}.html")
    return DONE if all(fine(state) for state in states.values()) else SOME_FAILED


def fine(state: State) -> bool:
    return state.state == "done" or state.state == "cancelled" and state.why.startswith("pruned")


@contextlib.contextmanager
def chooser(driver: Driver, base: Base, made: Sweep) -> Iterator[Callable]:
    """What adds trials, or makes them longer, while the sweep runs; a plain sweep has nothing to choose."""
    if made.search is not None:
        with contextlib.closing(search.Searching(made.search, base, driver)) as searching:
            yield searching
    elif made.halving is not None:
        n_rungs = len(halving.lengths(made.halving, base))
        yield lambda driver, found: halving.promoted(driver, found, made.halving.factor, n_rungs)
    else:
        yield lambda driver, found: driver


@contextlib.contextmanager
def told_to_stop() -> Iterator[list[int]]:
    """The signals that came meanwhile."""
    told: list[int] = []
    stops = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, frame: told.append(number)) for number in stops}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_status(asked: argparse.Namespace, driver: Driver, base: Base, made: Sweep) -> int:
    def drawn():
        states = controller.look(driver)
        return show.status(driver.trials, states, driver.place, driver.metric), states

    table, states = drawn()
    if asked.follow:
        from rich.live import Live

        with Live(table, console=show.console(), auto_refresh=False) as live:
            while not all(state.state in FINAL for state in states.values()):
                time.sleep(REDRAW_S)
                table, states = drawn()
                live.update(table, refresh=True)
    else:
        show.console().print(table)
    write(asked.json, {"trials": show.outcome(driver.trials, states, driver.place, driver.metric)})
    return DONE


def run_retry(asked: argparse.Namespace, driver: Driver, base: Base, made: Sweep) -> int:
    """Trials that are named, or all that failed; cancelled ones have to be named."""
    states = controller.current(driver)
    wanted = [t for t, s in states.items() if s.state == "failed" or asked.trial and s.state == "cancelled"]
    if not asked.go:
        print(f"{len(wanted)} trials would be retried; --go starts them")
        return DONE
    print(f"{controller.retry(driver, wanted)} trials wait again")
    return drive(asked, driver, base, made)


def run_cancel(asked: argparse.Namespace, driver: Driver, base: Base, made: Sweep) -> int:
    """Trials that are named, or all that have not ended."""
    print(f"{controller.cancel(driver, [trial.id for trial in driver.trials])} trials are cancelled")
    return DONE


def run_logs(asked: argparse.Namespace, driver: Driver, base: Base, made: Sweep) -> int:
    if len(driver.trials) != 1:
        raise BadInput(f"logs: name one of the {len(driver.trials)} trials by --trial=ID; status lists them")
    (trial,) = driver.trials
    state = driver.table.get(trial.id)
    if not state.engine:
        raise BadInput(f"--trial={trial.id}: has not been started")
    made_by = engines.engine(state.engine)
    return subprocess.run(made_by.logs(trial.id, state, driver.place, driver.settings[state.engine])).returncode


def write(file: str | None, found: dict) -> None:
    if file is not None:
        try:
            pathlib.Path(file).write_text(json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise BadInput(f"--json={file}: {error.strerror}; name a file that can be written") from error
        print(f"wrote {file}")


COMMANDS = {
    "plan": run_plan,
    "run": run_plan,
    "status": run_status,
    "retry": run_retry,
    "cancel": run_cancel,
    "logs": run_logs,
}


if __name__ == "__main__":
    sys.exit(main())
