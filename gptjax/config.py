"""A config file and its overrides, frozen before any code sees them. The keys themselves stand in keys.py.

A config file is Python with a `get_config()` that returns a locked `ml_collections.ConfigDict` (configs/base.py lists
every key with a comment). Beside it gptjax executes only the functions that `dialogs:FILE.py:FUNCTION` names.
A file that the current folder lacks is one of those that ship: `--config=configs/smoke.py` needs no checkout.
"""

import ast
import dataclasses
import difflib
import importlib.util
import pathlib
import sys
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gptjax.keys import (
    BadInput,
    Config,
    DataConfig,
    DpoConfig,
    LogConfig,
    LoraConfig,
    LossConfig,
    MeshConfig,
    ModelConfig,
    OptimConfig,
    PrivacyConfig,
    SpikeConfig,
    TokenizerConfig,
    TuneConfig,
    flatten,
    resume_rule,
)
from gptjax.validation import validate, without_password

__all__ = [
    "BadInput",
    "Config",
    "DataConfig",
    "DpoConfig",
    "LogConfig",
    "LoraConfig",
    "LossConfig",
    "MeshConfig",
    "ModelConfig",
    "OptimConfig",
    "PrivacyConfig",
    "SpikeConfig",
    "TokenizerConfig",
    "TuneConfig",
    "flatten",
    "from_dict",
    "load",
    "resume_rule",
    "to_dict",
    "without_password",
]


def load(file: str | pathlib.Path, overrides: Sequence[str] = ()) -> Config:
    """The config of a file, with `key.path=value` overrides applied in order.

    Raises BadInput for a missing file, an unknown key (with its nearest neighbour), a wrong type, an impossible value.
    """
    values, kinds = to_dict(freeze(Config, read_file(pathlib.Path(file)), "")), key_types()
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise BadInput(f"--config.{override}: expected --config.{override}=VALUE")
        if key not in kinds:
            raise unknown_key(key, kinds)
        *path, name = key.split(".")
        section = values
        for part in path:
            section = section[part]
        section[name] = parse(key, text, kinds[key])
    return from_dict(values)


def shipped() -> pathlib.Path:
    """The folder with the `configs/` that ship: in an installed gptjax inside it, in a checkout the checkout."""
    inside = pathlib.Path(__file__).parent / "shipped"
    return inside if inside.is_dir() else pathlib.Path(__file__).parents[1]


def find_file(file: pathlib.Path) -> pathlib.Path:
    """The file, or the one of `configs/` that ships; raises BadInput, with the nearest name of either, for neither."""
    if file.is_dir():
        raise BadInput(f"--config={file}: is a folder; name a file in it, such as configs/base.py")
    folder, ours = file.parent if file.parent.is_dir() else pathlib.Path("configs"), shipped() / "configs"
    if file.is_file():
        return file
    if file.parent == pathlib.Path("configs") and (ours / file.name).is_file():
        return ours / file.name
    known = [path.name for path in (*folder.glob("*.py"), *ours.glob("*.py"))]
    near = difflib.get_close_matches(file.name, known, n=1, cutoff=0.4)
    if not near:
        raise BadInput(f"--config={file}: no such file, here or in {ours}")
    there = folder if (folder / near[0]).is_file() else pathlib.Path("configs")
    raise BadInput(f"--config={file}: no such file; did you mean {there / near[0]}?")


def read_file(asked: pathlib.Path) -> dict:
    """The nested dict that `get_config()` of a config file returns."""
    file = find_file(asked)
    spec = importlib.util.spec_from_file_location(f"gptjax_config_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise BadInput(f"--config={file}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    before = sys.path[:]  # so that a config can say `from configs import base`, one's own or that which ships
    sys.path = [str(pathlib.Path.cwd()), *before, str(shipped())]
    try:
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise BadInput(f"--config={file}: has no get_config(); see configs/base.py")
        made = module.get_config()
        if not hasattr(made, "to_dict"):
            raise BadInput(f"--config={file}: get_config() returned {made!r}, not a ConfigDict; see configs/base.py")
        return made.to_dict()
    except BadInput:
        raise
    except (Exception, SystemExit) as error:  # it is the user's code, and may fail in any way
        raise BadInput(f"--config={file}: {type(error).__name__}: {' '.join(str(error).split())}") from error
    finally:
        sys.path = before


def from_dict(values: Mapping) -> Config:
    """The frozen config of a nested dict (a file's, or the `config` of a run.json); raises BadInput."""
    cfg = freeze(Config, values, "")
    validate(cfg)
    return cfg


def to_dict(cfg: Config) -> dict:
    """The nested dict of a config, as a file would write it."""
    return dataclasses.asdict(cfg)


def key_types() -> dict[str, Any]:
    """The type of every key, by its dotted path."""

    def types_of(kind, prefix):
        for name, hint in typing.get_type_hints(kind).items():
            yield from (
                types_of(hint, f"{prefix}{name}.") if dataclasses.is_dataclass(hint) else [(prefix + name, hint)]
            )

    return dict(types_of(Config, ""))


def parse(key: str, text: str, kind: Any):
    """A value of the key's type from the command line; tuples are comma-separated or Python literals."""
    shown = " ".join(text.split())  # a message is one line
    if (element := element_of(kind)) is not None:
        try:
            literal = text.startswith(("(", "["))
            items = ast.literal_eval(text) if literal else [item for item in text.split(",") if item]
            if not isinstance(items, list | tuple):
                raise TypeError  # ("python") is a string, and would fall into its letters
            return tuple(parse(key, str(item), element) for item in items)
        except (SyntaxError, TypeError, ValueError) as error:
            raise BadInput(f"{key}={shown}: not a list of {element.__name__}") from error
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        if kind is int and not text.lstrip("+-").isdigit():
            number = float(text)
            if number != int(number):
                raise ValueError
            return int(number)  # 1e6 and 65_536 are integers too
        return kind(text)
    except (KeyError, ValueError, OverflowError) as error:
        wanted = "true or false" if kind is bool else f"a valid {kind.__name__}"
        raise BadInput(f"{key}={shown}: not {wanted}") from error


def freeze(kind: Any, values: Mapping, prefix: str) -> Any:
    """A dataclass of the values; raises BadInput for unknown and missing keys and for wrong types."""
    hints = typing.get_type_hints(kind)
    if extra := [key for key in values if key not in hints]:
        raise unknown_key(prefix + extra[0], key_types())
    if missing := [key for key in hints if key not in values]:
        raise BadInput(f"the config lacks {prefix}{missing[0]}; configs/base.py lists every key")
    return kind(**{key: checked(hint, values[key], prefix + key) for key, hint in hints.items()})


def checked(hint: Any, value: Any, key: str) -> Any:
    """The value, if it has the type that its key was declared with, else BadInput; 1 becomes 1.0 and lists tuples."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise BadInput(f"{key} is a section, not {value!r}")
        return freeze(hint, value, key + ".")
    if (element := element_of(hint)) is not None:
        if not isinstance(value, list | tuple):
            raise BadInput(f"{key}={value!r}: expected a tuple")
        return tuple(checked(element, item, key) for item in value)
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is hint:
        return value
    raise BadInput(f"{key}={value!r}: expected {hint.__name__}, got {type(value).__name__}")


def element_of(hint: Any) -> Any:
    """The type of a tuple's elements; None for other types."""
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else None


def unknown_key(key: str, known: Iterable[str]) -> BadInput:
    """What to raise for a key that is none of the `known`; it names the nearest, or one of the section's."""
    known = list(known)
    if inside := [name for name in known if name.startswith(key + ".")]:
        return BadInput(f"{key} is a section of the config; set a key of it, such as {inside[0]}")
    last = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
    near = difflib.get_close_matches(key, last or known, n=1, cutoff=0.0 if last else 0.5)
    return BadInput(
        f"config has no key {key}; " + (f"did you mean {near[0]}?" if near else "configs/base.py lists every key")
    )
