"""What `gptjax analyze` writes: JSON (a contract, docs/analysis.md), CSV and Parquet with a row for each run."""

import csv
import io
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from gptjax.analysis import where
from gptjax.analysis.axes import At
from gptjax.analysis.summary import Found, Group, Row
from gptjax.config import BadInput


def write(flag: str, file: str, found: Found) -> None:
    """Raises BadInput where the file cannot be written."""
    put(flag, file, {"json": as_json, "csv": as_csv, "parquet": as_parquet, "html": as_html}[flag](found))


def put(flag: str, file: str, content: bytes) -> None:
    """Writes a file and says so; BadInput, which names the flag, where it cannot be written."""
    try:
        pathlib.Path(file).write_bytes(content)
    except OSError as error:
        raise BadInput(f"--{flag}={file}: {error.strerror}; name a file that can be written") from error
    print(f"wrote {file}" + (f" ({len(content) / 1e6:.1f} MB)" if len(content) > 1e6 else ""))


def tell(lines: Sequence[str]) -> None:
    """Prints lines of whatever was read, none of which can move a terminal's cursor."""
    for line in lines:
        print("".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in line))


def as_json(found: Found) -> bytes:
    from gptjax.runs.log import with_names  # which loads fsspec, in a fifth of the time that a table takes

    whole = {
        "metric": found.metric,
        "at": None if found.at is None else found.at._asdict(),
        "runs": [of_run(row, found.metric, found.at) for row in found.rows],
        "groups": [of_group(group) for group in found.groups],
        "notes": found.notes,
    }
    return (json.dumps(with_names(whole), indent=1, allow_nan=False) + "\n").encode()


def of_run(row: Row, metric: str, at: At | None) -> dict[str, Any]:
    run = row.run
    return {
        "name": run.name,
        "path": run.path,
        "status": run.status,
        "config": row.config,
        "final": row.final,
        "best": None if row.best is None else {"metric": metric, "value": row.best[0], "step": row.best[1]},
        "at": None if row.at is None or at is None else row.at._asdict() | at._asdict(),
        "step": run.last_step,
        "tokens": int(row.tokens) if row.tokens is not None else None,
        **{name: getattr(row, name) for name in ("time_s", "flops", "tokens_per_s", "mfu", "goodput")},
        "sessions": len(run.sessions),
        "redone": run.redone,
        "left_out": dict(run.left_out),
        "notes": [*run.notes, *run.oddities],
    }


def of_group(group: Group) -> dict[str, Any]:
    return {"config": group.config, "n": group.n, "mean": group.mean, "interval": group.interval} | {
        "runs": group.names,
        "left_out": group.left_out,
    }


def flat(row: Row, found: Found) -> dict[str, Any]:
    """A run as one row: words, numbers, and None for what is unknown."""
    made = of_run(row, found.metric, found.at)
    best, at = made["best"], made["at"]
    return {
        **{name: made[name] for name in ("name", "path", "status")},
        **{key: where.spelled(value) if isinstance(value, tuple) else value for key, value in row.config.items()},
        **{name: made[name] for name in ("step", "tokens", "time_s", "flops", "tokens_per_s", "mfu", "goodput")},
        f"best {found.metric}": None if best is None else best["value"],
        "best step": None if best is None else best["step"],
        **({} if found.at is None else {f"{found.metric} at {found.at}": None if at is None else at["value"]}),
        **row.final,
        "redone": made["redone"],
        "left_out": sum(made["left_out"].values()),
    }


def table(found: Found) -> list[dict[str, Any]]:
    """Rows with the same columns."""
    rows = [flat(row, found) for row in found.rows]
    columns = dict.fromkeys(name for row in rows for name in row)
    return [{name: row[name] if name in row else None for name in columns} for row in rows]


def as_csv(found: Found) -> bytes:
    """RFC 4180; what is unknown is an empty field."""
    rows, file = table(found), io.StringIO()
    made = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["name"])
    made.writeheader()
    made.writerows(rows)
    return file.getvalue().encode()


def as_parquet(found: Found) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet

    rows, file = table(found), io.BytesIO()
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ["name"])}
    pyarrow.parquet.write_table(pa.table({name: of_one_kind(values) for name, values in columns.items()}), file)
    return file.getvalue()


def as_html(found: Found) -> bytes:
    from gptjax.analysis import report  # which only pages need

    return report.html(found).encode()


def of_one_kind(values: list[Any]) -> list[Any]:
    """A column of Parquet has one type: words, where not all are numbers or not all are true or false."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or kinds <= {bool}:
        return [float(value) if value is not None and float in kinds else value for value in values]
    return [None if value is None else where.spelled(value) for value in values]
