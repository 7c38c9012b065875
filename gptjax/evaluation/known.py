"""Rows of well-known sets: from TensorFlow Datasets, or from JSON lines with TFDS's fields beside them.

The lines are looked for first, as SET/SPLIT.jsonl under TFDS_DATA_DIR, for sets that TFDS lacks or cannot download.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from gptjax.config import BadInput
from gptjax.data import corpora, text_files

FOLDER = "~/tensorflow_datasets"  # TFDS's own default


def rows(name: str, split: str, fields: Sequence[str]) -> list[dict[str, Any]]:
    """The fields of every row of a split, texts as str. Raises BadInput where the set is not there."""
    file = pathlib.Path(os.environ.get("TFDS_DATA_DIR", FOLDER)).expanduser() / name / f"{split}.jsonl"
    if file.is_file():
        return [picked(row, fields, where) for _, where, row in text_files.json_rows(file, "question")]
    instead = f"write {file} with the fields {', '.join(fields)}"
    try:
        builder = corpora.tfds_builder(name)
    except BadInput as error:  # some sets' own code needs TensorFlow
        raise BadInput(f"{error}; {instead}") from error
    if not (builder.data_path / "dataset_info.json").exists():
        prepare = f"gptjax prepare --corpus=tfds:{name}"
        raise BadInput(f"tfds:{name}: not prepared in {builder.data_path}; run: {prepare}, or {instead}")
    if split not in builder.info.splits:
        raise BadInput(f"tfds:{name}: has no {split} split; it has {', '.join(builder.info.splits)}")
    records = builder.as_data_source(split=split)
    return [picked(plain(records[at]), fields, f"tfds:{name}, {split} record {at}") for at in range(len(records))]


def picked(row: Any, fields: Sequence[str], where: str) -> dict[str, Any]:
    if not isinstance(row, dict) or (lacking := [field for field in fields if field not in row]):
        has = f"it has {', '.join(row)}" if isinstance(row, dict) else "it is no object"
        raise BadInput(f"{where}: no field {(lacking if isinstance(row, dict) else fields)[0]!r}; {has}")
    return {field: row[field] for field in fields}


def plain(value: Any) -> Any:
    """What TFDS gives, as JSON would."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray | list):
        return [plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
