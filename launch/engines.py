"""The engines by name, and their settings: what sweep.py says of each, changed by `--on.KEY=VALUE`."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from gptjax import config
from gptjax.config import BadInput
from launch import jobset, local, skypilot, slurm

ENGINES: dict[str, ModuleType] = {"local": local, "slurm": slurm, "jobset": jobset, "skypilot": skypilot}


def engine(name: str) -> ModuleType:
    """The module of a name of ENGINES; BadInput, with the nearest one, for another."""
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, n=1, cutoff=0.0)
        raise BadInput(f"--on={name}: did you mean {near[0]}? It is one of {', '.join(ENGINES)}")
    return ENGINES[name]


def settings(name: str, given: Mapping[str, Any], words: Sequence[str] = ()) -> Any:
    """The engine's Settings; `words` are KEY=VALUE of the command line. Raises BadInput for unknown keys and types."""
    made = engine(name).Settings
    kinds = typing.get_type_hints(made)
    values = {
        key: config.checked(known(key, kinds, name), value, f"engines[{name!r}].{key}") for key, value in given.items()
    }
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise BadInput(f"--on.{word}: expected --on.{word}=VALUE")
        values[key] = config.parse(f"--on.{key}", text, known(key, kinds, name))
    return dataclasses.replace(made(), **values)


def known(key: str, kinds: Mapping[str, Any], name: str) -> Any:
    if key not in kinds:
        near = difflib.get_close_matches(key, kinds, n=1, cutoff=0.0)
        raise BadInput(f"the engine {name} has no setting {key}; did you mean {near[0]}?")
    return kinds[key]
