"""What a launcher reads of a run under way, from a disk and from a bucket."""

import fsspec
import pytest

from launch import results

LOG = [
    b'{"step": 0, "tokens": 0, "eval/nll": 5.0}\n', b'{"step": 2, "to\n', b"[1]\n", b'{"a": 1}\n',
    b'{"step": 4, "tokens": 40, "eval/nll": 4.0}\n', b'{"step": 6, "tokens": 60}\n', b'{"step": 8, "tok',
]  # fmt: skip


@pytest.mark.parametrize("place", ["disk", "bucket", "nowhere", "no bucket"])
def test_the_newest_numbers_are_found_among_damaged_lines(place, tmp_path):
    root = f"memory://{tmp_path.name}/{place.replace(' ', '-')}" if "bucket" in place else str(tmp_path / "run")
    if place == "disk":
        (tmp_path / "run").mkdir()
        (tmp_path / "run/metrics.jsonl").write_bytes(b"".join(LOG))
    if place == "bucket":
        fs = fsspec.filesystem("memory")
        for number, lines in enumerate([LOG[:2], LOG[2:]]):
            fs.pipe_file(f"/{tmp_path.name}/bucket/metrics-{number:05d}.jsonl", b"".join(lines))
    found = results.last(root, "eval/nll")
    known = {"step": 6, "tokens": 60, "eval/nll": 4.0, "metric_step": 4}
    assert found == (known if place in ("disk", "bucket") else {})
