"""What a sweep is: cells (changes of config keys) over one config file, each a trial with an id of its own.

An experiment's sweep.py says `SWEEP = Sweep(config="configs/smoke.py", cells=product({"optim.peak_lr": [1e-3, 3e-3]},
seeds(3)))`. A cell is a dict {"optim.peak_lr": 1e-3, ...}; every function here takes and gives lists of cells.
"""

import dataclasses
import fnmatch
import functools
import hashlib
import importlib.util
import itertools
import json
import pathlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from gptjax import config, validation
from gptjax.config import BadInput, Config

Cell = dict[str, Any]
Axes = Mapping[str, Sequence] | Sequence[Cell]

# Keys that leave the numbers as they are, but for rounding: two trials that differ in nothing else are one.
NOT_NUMBERS = (
    "name", "note", "tags", "accumulate", "*_every", "keep_last", "sample_*", "stop_after_s", "stuck_after_s",
    "profile_steps", "mesh.*", "log.*", "data.cache", "model.attention", "model.remat", "model.saved",
    "model.offloaded", "model.scan", "loss.n_chunks", "privacy.method",
)  # fmt: skip
ROLLBACK = ("save_every", "keep_every")  # which do change the numbers where a spike goes back to a checkpoint
LENGTH = "n_steps"  # which a sweep that promotes trials leaves out of their ids: one run, made longer
ID_DIGITS = 12  # of SHA-256, hexadecimal: 10,000 trials share one with a chance of 2e-7


def product(*axes: Axes) -> list[Cell]:
    """Every combination: of the values of each key, and of the cells of each list."""
    lists = [cells for one in axes for cells in as_lists(one)]
    found = [dict[str, Any]()] if lists else []
    for cells in lists:
        if twice := sorted({key for cell in cells for key in cell} & {key for cell in found for key in cell}):
            raise BadInput(f"the sweep's axis {twice[0]} stands there twice; name it once")
        found = [one | other for one in found for other in cells]
    return found


def zip_(axes: Mapping[str, Sequence]) -> list[Cell]:
    """The first values of all keys together, the second ones together, and so on."""
    (first, values), *others = [(key, checked_axis(key, values)) for key, values in axes.items()]
    for key, more in others:
        if len(more) != len(values):
            raise BadInput(f"zip_: {key} has {len(more)} values, and {first} has {len(values)}; give both as many")
    return [dict(zip(axes, row, strict=True)) for row in zip(*axes.values(), strict=True)]


def chain(*cells: Sequence[Cell]) -> list[Cell]:
    """The cells of all lists, one after another."""
    return [cell for some in cells for cell in some]


def seeds(n: int, first: int = 0) -> list[Cell]:
    """Cells of n seeds, from `first` on: an axis for `product`."""
    return product({"seed": range(first, first + n)})


def when(cells: Sequence[Cell], condition: Mapping[str, Any] | Callable[[Cell], bool], then: Axes) -> list[Cell]:
    """The cells, those that meet the condition multiplied by `then`: an axis that only some of them have.

    A condition is the values of some keys, as in {"optim.name": "muon"}, or a function of the cell. Raises BadInput for
    one that no cell meets.
    """
    met = condition if callable(condition) else lambda cell: condition.items() <= cell.items()
    if not any(met(cell) for cell in cells):
        raise BadInput(f"when: no cell has {condition}; its axes would never be used")
    return [one for cell in cells for one in (product([cell], then) if met(cell) else [dict(cell)])]


def as_lists(axes: Axes) -> Iterator[Sequence[Cell]]:
    if isinstance(axes, Mapping):
        for key, values in axes.items():
            yield [{key: value} for value in once(key, checked_axis(key, values))]
    elif not axes:
        raise BadInput("product: a list of cells is empty; leave it out")
    else:
        yield axes


def checked_axis(key: str, values: Sequence) -> list:
    if isinstance(values, str) or not isinstance(values, Sequence | range):
        raise BadInput(f"the sweep's axis {key}={values!r}: must be a list of values")
    if not len(values):
        raise BadInput(f"the sweep's axis {key} is empty; give it values, or leave it out")
    return list(values)


def once(key: str, values: list) -> list:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise BadInput(f"the sweep's axis {key} has {value!r} twice; name it once")
    return values


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A question as trials, ranked by `metric`, lower is better; `engines` are settings by engine's name."""

    config: str
    cells: Sequence[Cell] = ()
    base: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # changes of the config that all trials share
    engines: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    metric: str = "eval/nll"
    max_failures: int = 3  # ends in a row that bring the saved step no further, before a trial is given up
    search: Any = None  # launch.search.Search: trials that a sampler chooses
    halving: Any = None  # launch.halving.Halving: the best go on


class Trial(NamedTuple):
    """One run. `cell` is what tells it from its neighbours, `overrides` all that its command changes of the file."""

    id: str
    cell: Cell
    overrides: tuple[str, ...]


class Base:
    """A config file with the changes that all trials share, ready to be changed by 10,000 cells."""

    def __init__(self, sweep: Sweep, free: Mapping[str, Any] | None = None):
        """`free` are changes that leave the numbers alone, for every trial; BadInput for others."""
        self.file, self.kinds = sweep.config, config.key_types()
        self.any_length = sweep.halving is not None
        shared = self.typed(sweep.base) | self.typed(free or {})
        for key in free or {}:
            if not keeps_numbers(key):
                raise BadInput(f"--config.{key}: changes the numbers of every trial; put it into the sweep's base")
        self.shared = shared
        self.validated: set[str] = set()  # values of keys that some trial has had
        self.cfg = config.load(sweep.config, overrides(shared))
        self.flat = config.flatten(config.to_dict(self.cfg))
        self.numbers = {key: written(key, value) for key, value in sorted(self.flat.items()) if self.counts(key)}

    def counts(self, key: str) -> bool:
        return not keeps_numbers(key) and not (self.any_length and key == LENGTH)

    def rollback(self, own: Cell) -> dict[str, str]:
        values = self.flat | own
        return {key: written(key, values[key]) for key in ROLLBACK if values["spike.action"] == "rollback"}

    def typed(self, cell: Mapping[str, Any]) -> Cell:
        """The cell with values of the keys' own types (1 is 1.0 where a float is wanted); BadInput for others."""
        for key in cell:
            if key not in self.kinds:
                raise config.unknown_key(key, self.kinds)
        return {key: config.checked(self.kinds[key], value, key) for key, value in cell.items()}

    def trial(self, cell: Cell, sweep_name: str) -> Trial:
        """The cell as a run, its id a hash of all keys that change the numbers. Raises BadInput for keys and types."""
        own = self.typed(cell)
        numbers = self.numbers | {key: written(key, value) for key, value in own.items() if self.counts(key)}
        numbers |= self.rollback(own)
        name = hashlib.sha256("\n".join(numbers.values()).encode()).hexdigest()[:ID_DIGITS]
        named = {"name": f"{sweep_name}-{name}"} if "name" not in self.shared | own else {}
        return Trial(name, own, tuple(overrides(self.shared | own | named)))

    def config_of(self, trial: Trial) -> Config:
        """The trial's config, validated; raises BadInput with the trial's own keys in front."""
        cfg = changed(self.cfg, trial.cell)
        values = {written(key, value) for key, value in trial.cell.items()}
        try:
            if values <= self.validated:  # a value is right or wrong by itself; how sizes fit each other is not
                validation.validate_sizes(cfg)
            else:
                validation.validate(cfg)
                self.validated |= values
        except BadInput as error:
            raise BadInput(f"trial {trial.id} ({shown(trial.cell)}): {error}") from error
        return cfg


def trials(sweep: Sweep, base: Base, name: str) -> list[Trial]:
    """All trials of the sweep's cells; BadInput where two are the same, or where there is none."""
    found: dict[str, Trial] = {}
    for cell in sweep.cells:
        trial = base.trial(cell, name)
        if trial.id in found:
            other = found[trial.id].cell
            raise BadInput(f"two cells are one trial, {trial.id}: {shown(other)} and {shown(cell)}; leave one out")
        found[trial.id] = trial
    if not found and sweep.search is None:
        raise BadInput("the sweep has no cells; give it some by product, zip_ or chain")
    return list(found.values())


@functools.cache
def keeps_numbers(key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in NOT_NUMBERS)


def written(key: str, value: Any) -> str:
    return json.dumps([key, value], allow_nan=False)


def overrides(cell: Mapping[str, Any]) -> list[str]:
    """The cell as `key=value` words, which `config.load` reads back to the same values."""
    return [f"{key}={list(value) if isinstance(value, tuple) else value}" for key, value in cell.items()]


def shown(cell: Mapping[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in cell.items()) or "the config as it is"


def changed(cfg: Any, cell: Mapping[str, Any]) -> Any:
    """A frozen config with some dotted keys changed; nothing is validated."""
    own, below = {}, dict[str, Cell]()
    for key, value in cell.items():
        section, _, rest = key.partition(".")
        if rest:
            below.setdefault(section, {})[rest] = value
        else:
            own[section] = value
    return dataclasses.replace(cfg, **own, **{name: changed(getattr(cfg, name), part) for name, part in below.items()})


def load(file: str) -> tuple[str, Sweep]:
    """The name and the Sweep of an experiment's sweep.py; raises BadInput. The name is that of its folder."""
    path = pathlib.Path(file)
    if not path.is_file():
        known = sorted(map(str, pathlib.Path("experiments").glob("*/sweep.py")))
        raise BadInput(f"{file}: no such file" + (f"; there are {', '.join(known)}" if known else ""))
    name = path.resolve().parent.name if path.name == "sweep.py" else path.stem
    if not re.fullmatch(r"[a-z0-9]([a-z0-9_-]*[a-z0-9])?", name) or len(name) > 30:
        raise BadInput(f"{file}: the sweep is called {name!r}; use up to 30 of a-z, 0-9, - and _")
    spec = importlib.util.spec_from_file_location(f"launch_sweep_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(pathlib.Path.cwd()))
    try:
        spec.loader.exec_module(module)
    except BadInput as error:
        raise BadInput(f"{file}: {error}") from error
    except (Exception, SystemExit) as error:  # it is the user's code, and may fail in any way
        raise BadInput(f"{file}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        sys.path.pop(0)
    sweep = vars(module).get("SWEEP")
    if not isinstance(sweep, Sweep):
        raise BadInput(f"{file}: has no SWEEP = Sweep(...); see docs/launch.md")
    return name, sweep


def axes(found: Sequence[Trial]) -> list[str]:
    """The keys that tell the trials apart, in the order of the cells: the columns of a table."""
    keys = dict.fromkeys(itertools.chain.from_iterable(trial.cell for trial in found))
    return [key for key in keys if len({written(key, trial.cell.get(key)) for trial in found}) > 1] or list(keys)
