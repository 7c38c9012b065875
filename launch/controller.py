"""Brings a sweep to its end: the table follows the engine's truth, and trials that wait are submitted.

Every step can be cut off: what the table says stands, and the next launcher goes on from there. Several launchers may
drive one sweep.
"""

import dataclasses
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple

from launch import contract
from launch.batch import Batch, Place
from launch.engines import ENGINES
from launch.sweep import Trial
from launch.table import FINAL, LIVE, State, Table

LEAST_POLL_S = {"local": 0.2}
POLL_S = 5.0  # of engines that are asked over a network
IDLE_SHARE, LONGEST_IDLE_S = 20, 10.0  # a look is followed by so many times its CPU time without one, so long at most


class Driver(NamedTuple):
    """A sweep, and where it runs."""

    place: Place
    table: Table
    trials: Sequence[Trial]
    config: str
    max_failures: int
    metric: str
    on: str
    settings: Mapping[str, Any]  # by engine's name
    told: Callable[[str], None]
    longer: Callable[[Trial, int], Trial] = lambda trial, rung: trial  # the trial as it is at a rung of a promotion

    @property
    def engine(self) -> ModuleType:
        """The module of its engine, with the functions that batch.py lists."""
        return ENGINES[self.on]


def driven(
    driver: Driver,
    show: Callable[[Driver, dict[str, State]], None],
    stop: Callable[[], bool],
    choose: Callable[[Driver, dict[str, State]], Driver] = lambda driver, found: driver,
) -> tuple[Driver, dict[str, State]]:
    """Runs until every trial has come to an end, or told to stop; jobs that are under way go on by themselves.

    `choose` looks at what has been found: it may add trials to the driver, or let some that are done wait again.
    """
    least = LEAST_POLL_S.get(driver.on, POLL_S)
    while True:
        began = time.process_time()
        driver = choose(driver, look(driver))
        submit(driver, current(driver))
        found = current(driver)
        show(driver, found)
        if all(state.state in FINAL for state in found.values()):
            driver = choose(driver, found)
            found = current(driver)
        if all(state.state in FINAL for state in found.values()) or stop():
            return driver, found
        rest = max(least, min(LONGEST_IDLE_S, IDLE_SHARE * (time.process_time() - began)))
        woken = time.monotonic() + rest
        while time.monotonic() < woken and not stop():
            time.sleep(min(0.2, rest))


def current(driver: Driver) -> dict[str, State]:
    """The table's state of each trial of the sweep."""
    known = driver.table.latest()
    return {trial.id: known.get(trial.id, State()) for trial in driver.trials}


def look(driver: Driver) -> dict[str, State]:
    """`current`, once the table has been told which live trials their engine no longer has."""
    found = current(driver)
    ended = []
    for name in {state.engine for state in found.values() if state.state in LIVE}:
        live = {trial: state for trial, state in found.items() if state.state in LIVE and state.engine == name}
        for trial, truth in asked(driver, name, live).items():
            if truth in ("gone", "out of memory"):
                lost(driver, trial, live[trial], truth)
                ended.append(trial)
    return found | (driver.table.latest(ended) if ended else {})


def asked(driver: Driver, name: str, live: Mapping[str, State]) -> dict[str, str]:
    """What the engine says of each; nothing where it does not answer, for then nobody knows."""
    try:
        return ENGINES[name].states(live, driver.place, driver.settings[name])
    except RuntimeError as error:
        driver.told(f"{name} does not answer: {error}")
        return {}


def lost(driver: Driver, trial: str, seen: State, truth: str) -> None:
    """Writes the end of a job that nobody wrote down. If the job itself did meanwhile, its word stands."""
    if seen.state == "submitted":  # claimed by a launcher that is gone: nothing was started
        driver.table.append(trial, seen.next("waiting", why="never started"))
        return
    saved = contract.saved_step(driver.place.workdir(trial))
    ended = contract.after_end(seen, None, saved, driver.max_failures, truth == contract.OUT_OF_MEMORY)
    driver.table.append(trial, ended)


def submit(driver: Driver, found: Mapping[str, State]) -> None:
    waiting = [driver.longer(t, found[t.id].rung) for t in driver.trials if found[t.id].state == "waiting"]
    if not waiting:
        return
    name = f"{driver.place.sweep}-{secrets.token_hex(4)}"
    batch = Batch(name, driver.place, driver.config, waiting, driver.max_failures, driver.metric)
    claims: dict[str, State] = {}

    def claim(trial: Trial) -> bool:
        claimed = found[trial.id].next("submitted", batch=name, job="", engine=driver.on)
        if granted := driver.table.append(trial.id, claimed):
            claims[trial.id] = claimed
        return granted

    try:
        jobs = driver.engine.submit(batch, driver.settings[driver.on], claim)
    except RuntimeError as error:
        driver.told(f"{driver.on} took nothing, and is asked again until this command is ended: {error}")
        for trial, claimed in claims.items():
            driver.table.append(trial, claimed.next("waiting", why="could not be submitted"))
        return
    for trial, job in jobs.items():  # refused where the job has begun, and has said so itself
        driver.table.append(trial, claims[trial].next("queued", job=job))


def cancel(driver: Driver, trials: Sequence[str], why: str = "") -> int:
    """Ends these trials for good, and the jobs of those cancelled before which are still alive; how many are ended."""
    found, n = current(driver), 0
    for trial in trials:
        while (state := found[trial]).state not in FINAL:
            if driver.table.append(trial, state.next("cancelled", why=why)):
                n += 1
            found[trial] = driver.table.get(trial)
    for name in {found[trial].engine for trial in trials} - {""}:
        mine = {t: found[t] for t in trials if found[t].state == "cancelled" and found[t].engine == name}
        alive = [trial for trial, truth in asked(driver, name, mine).items() if truth != "gone"]
        if alive:
            ENGINES[name].cancel({trial: mine[trial] for trial in alive}, driver.place, driver.settings[name])
    return n


def retry(driver: Driver, trials: Sequence[str]) -> int:
    """Lets these trials wait again, if they failed or were cancelled; how many."""
    found = current(driver)
    again = [trial for trial in trials if found[trial].state in ("failed", "cancelled")]
    made = [driver.table.append(t, dataclasses.replace(found[t].next("waiting", failures=0), batch="")) for t in again]
    return sum(made)
