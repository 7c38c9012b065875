"""Writes launch/jobset_v1alpha2.json.gz: `python -m tests.launch.golden.make_schema JOBSET_CRD.yaml`.

The file is JobSet's own definition of its resource (config/components/crd/bases/jobset.x-k8s.io_jobsets.yaml of the
JobSet repository, Apache 2.0), the version that is stored, without its prose. Of `metadata` a definition says only
that it is an object; which fields it has is written here, since a misspelt label would be dropped in silence too.
"""

import gzip
import json
import pathlib
import sys
from typing import Any

import yaml

from launch import jobset

WORDS = {"type": "object", "additionalProperties": {"type": "string"}}
METADATA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "namespace": {"type": "string"}, "labels": WORDS, "annotations": WORDS},
}
ROOT = {"apiVersion": ["jobset.x-k8s.io/v1alpha2"], "kind": ["JobSet"]}


def schema_of(definition: Any) -> dict[str, Any]:
    (stored,) = [version for version in definition["spec"]["versions"] if version["storage"]]
    found = without_prose(stored["schema"]["openAPIV3Schema"])
    found["properties"]["metadata"] = METADATA
    found["required"] = ["apiVersion", "kind", "metadata", "spec"]
    for key, allowed in ROOT.items():
        found["properties"][key]["enum"] = allowed
    return found


def without_prose(node: Any) -> Any:
    """The node without descriptions; a property that is called so is a mapping and stays."""
    if isinstance(node, dict):
        kept = {key: value for key, value in node.items() if not (key == "description" and isinstance(value, str))}
        return {key: without_prose(value) for key, value in kept.items()}
    return [without_prose(value) for value in node] if isinstance(node, list) else node


if __name__ == "__main__":
    found = schema_of(yaml.safe_load(pathlib.Path(sys.argv[1]).read_text()))
    jobset.SCHEMA.write_bytes(gzip.compress(json.dumps(found, separators=(",", ":")).encode(), mtime=0))
    print(f"wrote {jobset.SCHEMA}")
