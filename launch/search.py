"""Trials that a sampler of Optuna chooses, and that a pruner may end early (the extra `search`).

The controller alone asks and tells; jobs know nothing of it. What Optuna holds as running is exactly what the table has
not brought to an end: a trial's id follows from its parameters, so a launcher that starts anew takes up every one of
them, and none stays behind. A study has one launcher at a time.
"""

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from gptjax.config import BadInput
from launch import controller, local, results
from launch.controller import Driver
from launch.sweep import Base, Trial, product
from launch.table import FINAL, State

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("none", "median", "hyperband")


@dataclasses.dataclass(frozen=True)
class Between:
    """A number from `low` to `high`; whole where both are."""

    low: float
    high: float
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Search:
    space: Mapping[str, Between | Sequence]  # of each config key: a range, or a list to choose from
    n_trials: int
    sampler: str = "tpe"
    pruner: str = "none"
    seed: int = 0
    at_once: int = 4  # trials that are chosen before any of them has ended
    storage: str = ""  # an RDB by URL, such as postgresql://...; empty: SQLite beside the runs


def check(search: Search, base: Base) -> None:
    for name, allowed in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        if getattr(search, name) not in allowed:
            raise BadInput(f"search: {name}={getattr(search, name)!r} is not one of {', '.join(allowed)}")
    for key, choices in search.space.items():
        ends = (choices.low, choices.high) if isinstance(choices, Between) else choices
        if not len(ends):
            raise BadInput(f"search: {key} has nothing to choose from")
        for value in ends:
            base.typed({key: value})
        if isinstance(choices, Between) and not choices.low < choices.high:
            raise BadInput(f"search: {key} has low={choices.low} not below high={choices.high}")
        if search.sampler == "grid" and isinstance(choices, Between):
            raise BadInput(f"search: {key} is a range, and a grid has points; give it a list")


class Searching:
    """`choose` of the controller: tells Optuna what has ended, prunes, and asks for as many as may run."""

    def __init__(self, search: Search, base: Base, driver: Driver):
        check(search, base)
        self.search, self.base = search, base
        lock = local.locked(driver.place.here / "search.lock")
        if lock is None:
            raise BadInput(f"another launcher searches in {driver.place.root}; a study has one at a time")
        with contextlib.ExitStack() as held:
            held.callback(os.close, lock)
            self.study = held.enter_context(opened(search, base, driver))
            self.held = held.pop_all()

    def close(self) -> None:
        """Lets go of the study and of its lock."""
        self.held.close()

    def __call__(self, driver: Driver, found: Mapping[str, State]) -> Driver:
        self.tell_ended(driver, found)
        for asked, trial in self.running(driver):
            if driver.table.get(trial.id).state == "running":
                self.prune(asked, trial, driver)
        while len(self.running(driver)) < self.search.at_once and self.n_asked() < self.most():
            self.study.ask(distributions(self.search))
            self.tell_ended(driver, found)  # a choice made before has ended before
        return driver._replace(trials=list({trial.id: trial for _, trial in self.all(driver)}.values()))

    def tell_ended(self, driver: Driver, found: Mapping[str, State]) -> None:
        for asked, trial in self.running(driver):
            state = found.get(trial.id) or driver.table.get(trial.id)
            if state.state in FINAL:
                self.tell(asked, state, driver.metric)

    def n_asked(self) -> int:
        """Trials that are more than a place in Optuna's queue."""
        return sum(trial.state.name != "WAITING" for trial in self.study.trials)

    def most(self) -> int:
        if self.search.sampler != "grid":
            return self.search.n_trials
        return min(self.search.n_trials, math.prod(map(len, points(self.search).values())))

    def all(self, driver: Driver) -> list[tuple[Any, Trial]]:
        return self.trials(driver, lambda asked: asked.state.name != "WAITING")

    def running(self, driver: Driver) -> list[tuple[Any, Trial]]:
        return self.trials(driver, lambda asked: asked.state.name == "RUNNING")

    def trials(self, driver: Driver, wanted: Callable[[Any], bool]) -> list[tuple[Any, Trial]]:
        """Optuna's trials that are wanted, in its order, each with ours."""
        chosen = filter(wanted, self.study.trials)
        return [(asked, self.base.trial(dict(asked.params), driver.place.sweep)) for asked in chosen]

    def tell(self, asked: Any, state: State, metric: str) -> None:
        import optuna

        value = results.number(state.result, metric)
        if state.state == "done" and value is not None:
            self.study.tell(asked.number, value)
        else:
            pruned = state.why.startswith("pruned")
            ended = optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.FAIL
            self.study.tell(asked.number, state=ended)

    def prune(self, asked: Any, trial: Trial, driver: Driver) -> None:
        """Ends a trial that the pruner gives no hope, by the numbers that its run has written so far."""
        import optuna

        live = optuna.trial.Trial(self.study, asked._trial_id)
        for line in results.lines(driver.place.workdir(trial.id)):
            if driver.metric in line and line["step"] not in asked.intermediate_values:
                value = float(line[driver.metric])
                live.report(value if math.isfinite(value) else math.inf, line["step"])
                if self.search.pruner != "none" and live.should_prune():
                    controller.cancel(driver._replace(trials=[trial]), [trial.id], f"pruned at step {line['step']}")
                    return


def known(search: Search, base: Base, driver: Driver) -> Driver:
    """The driver with the trials that have been chosen so far; nothing is made where there is no study yet."""
    check(search, base)
    if not search.storage and not (driver.place.here / "search.db").exists():
        return driver
    with opened(search, base, driver) as study:
        asked = [one for one in study.trials if one.state.name != "WAITING"]
    found = {(trial := base.trial(dict(one.params), driver.place.sweep)).id: trial for one in asked}
    return driver._replace(trials=list(found.values()))


@contextlib.contextmanager
def opened(search: Search, base: Base, driver: Driver) -> Iterator[Any]:
    """The study, made or found again in its storage, whose connections end with it."""
    try:
        import optuna
    except ImportError as error:
        raise BadInput("the sweep searches, which needs optuna: pip install 'gptjax[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    driver.place.here.mkdir(parents=True, exist_ok=True)
    pruners = {
        "none": optuna.pruners.NopPruner,
        "median": optuna.pruners.MedianPruner,
        "hyperband": lambda: optuna.pruners.HyperbandPruner(
            min_resource=max(1, base.cfg.eval_every), max_resource=base.cfg.n_steps
        ),
    }
    storage = optuna.storages.RDBStorage(search.storage or f"sqlite:///{driver.place.here}/search.db")
    try:
        study = optuna.create_study(
            study_name=driver.place.sweep,
            storage=storage,
            pruner=pruners[search.pruner](),
            direction="minimize",
            load_if_exists=True,
        )
        study.sampler = sampler(search, len(study.trials))
        if search.sampler == "grid":  # Optuna's own grid ends its study by an error where one asks and tells
            for point in product(points(search)):
                study.enqueue_trial(point, skip_if_exists=True)
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def sampler(search: Search, n_chosen: int) -> Any:
    """The sampler, on numbers of its own: one that went on from the study's first seed would choose the same again."""
    import numpy as np
    import optuna

    seed = int(np.random.SeedSequence([search.seed, n_chosen]).generate_state(1)[0])
    if search.sampler == "tpe":
        return optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    if search.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are in the queue


def points(search: Search) -> dict[str, list]:
    return {key: list(choices) for key, choices in search.space.items() if not isinstance(choices, Between)}


def distributions(search: Search) -> dict[str, Any]:
    import optuna

    found: dict[str, Any] = {}
    for key, choices in search.space.items():
        if not isinstance(choices, Between):
            found[key] = optuna.distributions.CategoricalDistribution(list(choices))
        elif isinstance(choices.low, int) and isinstance(choices.high, int):
            found[key] = optuna.distributions.IntDistribution(choices.low, choices.high, log=choices.log)
        else:
            found[key] = optuna.distributions.FloatDistribution(choices.low, choices.high, log=choices.log)
    return found
