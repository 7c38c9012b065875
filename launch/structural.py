"""Holds a value against a Kubernetes structural schema, and refuses what the schema does not name."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

KINDS = {
    "object": lambda value: isinstance(value, Mapping),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
}
BOUNDS = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
    "minItems": lambda value, bound: len(value) >= bound,
    "maxItems": lambda value, bound: len(value) <= bound,
    "enum": lambda value, allowed: value in allowed,
    "pattern": lambda value, pattern: re.search(pattern, value) is not None,
}
INT32, INT64 = 2**31, 2**63
READ_BY_OTHERS = {"x-kubernetes-validations"}  # rules in CEL, which the server runs


def problems(value: Any, schema: Mapping[str, Any], path: str) -> list[str]:
    """All that is wrong, each with where it is."""
    at = path or "the manifest"
    if "x-kubernetes-int-or-string" in schema:
        fine = isinstance(value, str) or KINDS["integer"](value)
        return [] if fine else [f"{at}: {value!r} is neither a whole number nor a string"]
    kind = schema.get("type")
    if kind is not None and not KINDS[kind](value):
        return [f"{at}: {value!r} is no {kind}"]
    found = [f"{at}: {value!r} does not keep to {key} {schema[key]}" for key, fits in BOUNDS.items()
             if key in schema and not fits(value, schema[key])]  # fmt: skip
    limit = {"int32": INT32, "int64": INT64}.get(schema.get("format", ""))
    if limit is not None and not -limit <= value < limit:
        found.append(f"{at}: {value} does not fit {schema['format']}")
    if kind == "object":
        found += of_object(value, schema, path)
    if kind == "array":
        for number, item in enumerate(value):
            found += problems(item, schema["items"], f"{path}/{number}".lstrip("/"))
        found += twice(value, schema, at)
    return found


def of_object(value: Mapping, schema: Mapping[str, Any], path: str) -> list[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    below = lambda key: f"{path}/{key}".lstrip("/")
    found = [f"{below(key)}: is missing" for key in schema.get("required", []) if key not in value]
    for key, item in value.items():
        if not isinstance(key, str):
            found.append(f"{below(key)}: a name must be a string")
        elif key in known:
            found += problems(item, known[key], below(key))
        elif isinstance(others, Mapping):
            found += problems(item, others, below(key))
        elif known and not schema.get("x-kubernetes-preserve-unknown-fields"):
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            found.append(f"{below(key)}: there is no such field" + (f"; did you mean {near[0]}?" if near else ""))
    return found


def twice(value: list, schema: Mapping[str, Any], at: str) -> list[str]:
    """Lists that are maps by some keys, or sets, hold each entry once."""
    listed = schema.get("x-kubernetes-list-type")
    if listed == "map":
        keys = [
            tuple(item.get(key) for key in schema["x-kubernetes-list-map-keys"])
            for item in value
            if isinstance(item, Mapping)
        ]
    else:
        keys = value if listed == "set" else []
    return [f"{at}: {key!r} stands there twice" for number, key in enumerate(keys) if key in keys[:number]]
