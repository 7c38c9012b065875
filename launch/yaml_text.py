"""Manifests as text that every reader of YAML takes for what was meant."""

import re
from typing import Any

import yaml


class Dumper(yaml.SafeDumper):
    """Scripts as blocks of lines; in quotes, what YAML 1.2 and Go take for a number: `12e45678` is a trial's id."""


Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"),
    list("-+.0123456789"),
)


def written(made: dict[str, Any]) -> str:
    """Keys in their own order, and no line folded below 1,000 characters."""
    return yaml.dump(made, Dumper=Dumper, sort_keys=False, width=1000)
