"""Logs as kills, full disks and people leave them are read as far as they can be; what is left out is counted aloud."""

import json
import pathlib

import pytest

from gptjax import cli
from gptjax.analysis import frames, logs
from gptjax.analysis.rows import CUT, JUNK, NO_NUMBER, NO_OBJECT, NO_STEP, TWICE
from tests.analysis import planted

GOOD = b'{"step": 0, "tokens": 0, "time_s": 1.0, "train/nll": 5.0, "time/began": 9.0}\n'
NEXT = b'{"step": 1, "tokens": 8, "time_s": 2.0, "train/nll": 4.0, "time/began": 9.0}\n'
DEEP = b'{"step": 1, "a": ' + b"[" * 100_000 + b"\n"
BROKEN: dict[str, tuple[bytes, dict[str, int], int]] = {  # content: what is left out of it, and the steps that are read
    "nothing": (b"", {}, 0),
    "only a cut line": (b'{"step": 1, "tok', {CUT: 1}, 0),
    "a last line cut short": (GOOD + NEXT[:30], {CUT: 1}, 1),
    "a last line cut inside a letter": (GOOD + b'{"step": 1, "text": "\xc3', {CUT: 1}, 1),
    "a last line without its end": (GOOD + NEXT[:-1], {}, 2),
    "a last line without a step, and without its end": (GOOD + b'{"a": 1}', {NO_STEP: 1}, 1),
    "a line cut short before others": (NEXT[:30] + b"\n" + GOOD + NEXT, {JUNK: 1}, 2),
    "two lines run into each other": (GOOD[:-1] + NEXT + NEXT, {JUNK: 1}, 1),
    "empty lines": (b"\n\r\n  \n" + GOOD + b"\n" + NEXT, {}, 2),
    "the line ends of Windows": ((GOOD + NEXT).replace(b"\n", b"\r\n"), {}, 2),
    "NULs, as after a crash": (GOOD + b"\0" * 4096 + b"\n" + NEXT, {JUNK: 1}, 2),
    "NULs at its end": (GOOD + NEXT + b"\0" * 4096, {CUT: 1}, 2),
    "bytes of something else": (b"\x89PNG\r\n\x1a\n\xff\xfe" + bytes(range(256)) + b"\n" + GOOD, {JUNK: 4}, 1),
    "UTF-16": ('{"step": 1}\n'.encode("utf-16") + b"\n" + GOOD, {JUNK: 2}, 1),
    "a mark of UTF-8 first": (b"\xef\xbb\xbf" + GOOD + NEXT, {JUNK: 1}, 1),
    "lines that are no object": (b"[]\n1\nnull\n" + b'"a"\n[["step", 3]]\n' + GOOD, {NO_OBJECT: 5}, 1),
    "a line that nests for ever": (GOOD + DEEP, {JUNK: 1}, 1),
    "keys given twice": (b'{"step": 0, "a": 1, "a": 2, "step": 3}\n', {TWICE: 2}, 1),
    "steps that are none": (
        b'{"a": 1}\n{"step": "3"}\n{"step": true}\n{"step": 1.5}\n{"step": -1}\n{"step": null}\n{"step": 1e99}\n'
        b'{"step": NaN}\n{"step": "Infinity"}\n' + GOOD,
        {NO_STEP: 9},
        1,
    ),
    "values that are none": (
        b'{"step": 0, "a": null, "b": true, "c": "1.5", "d": [1], "e": {"f": 2}, "g": "nan", "time_s": "late"}\n'
        b'{"step": 1, "a": 1' + b"0" * 400 + b', "tokens": false}\n',
        {NO_NUMBER: 9},
        2,
    ),
    "a number too long to read": (GOOD + b'{"step": 1, "a": ' + b"9" * 5000 + b"}\n", {JUNK: 1}, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_left_out_is_counted_and_said(name, tmp_path, capsys):
    content, left_out, n_steps = BROKEN[name]
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_bytes(content)
    (run,) = frames.read([str(tmp_path / "run")])
    assert dict(run.left_out) == left_out and len(set(run.rows.step.tolist())) == n_steps
    assert cli.main(["analyze", str(tmp_path / "run"), f"--json={tmp_path / 'out.json'}"]) == 0
    said = capsys.readouterr()
    for reason, n in left_out.items():
        assert f"{n:,} {reason}" in said.out
    assert ("left out" in said.out) == bool(left_out) and said.err == ""
    assert json.loads((tmp_path / "out.json").read_text())["runs"][0]["left_out"] == left_out


def test_words_for_numbers_are_numbers(tmp_path):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 0, "a": "NaN", "b": "Infinity", "c": "-Infinity", "d": NaN}\n')
    (run,) = frames.read([str(tmp_path)])
    assert not run.left_out and [str(run.series(name).value[0]) for name in "abcd"] == ["nan", "inf", "-inf", "nan"]


HEADERS = {
    "missing": None, "cut": b'{"config": {"seed"', "empty": b"", "no object": b"[1]", "no UTF-8": b"\xff\xfe{}",
    "without a config": b"{}", "a config that is a list": b'{"config": [1]}', "deep": b"[" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HEADERS)
def test_a_run_without_its_record_is_read_and_says_so(name, tmp_path, capsys):
    planted.write(planted.sweep()[0], tmp_path)
    planted.write(planted.sweep()[1], tmp_path)
    header = tmp_path / planted.sweep()[0].name / "run.json"
    header.unlink() if HEADERS[name] is None else header.write_bytes(HEADERS[name])
    assert cli.main(["analyze", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert f"{header.parent.name}: run.json is {'missing' if name == 'missing' else 'damaged'}" in said


@pytest.mark.parametrize(
    "config", ['{"n_steps": "many", "model": 3}', '{"seed": {"a": []}, "optim": null}', '{"lora": {"rank": []}}', "{}"]
)
def test_a_config_of_another_kind_is_shown_as_it_is(config, tmp_path, capsys):
    for name, text in (("one", config), ("two", '{"seed": 3}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(f'{{"config": {text}}}')
        (tmp_path / name / "metrics.jsonl").write_bytes(GOOD + NEXT)
    assert cli.main(["analyze", str(tmp_path), "--group=seed", "--at=flops"]) == 0
    assert "2 runs" in capsys.readouterr().out


def test_restarts_that_lie_between_each_other_are_told_as_two_writers(tmp_path, capsys):
    one, two = (
        [{"step": step, "train/nll": began + step, "time/began": began} for step in range(4)] for began in (5.0, 7.0)
    )
    planted.write_run(tmp_path / "run", {}, [line for both in zip(one, two, strict=True) for line in both])
    (run,) = frames.read([str(tmp_path)])
    assert run.series("train/nll").value.tolist() == [7, 8, 9, 10] and run.redone == 4 and len(run.sessions) == 2
    assert cli.main(["analyze", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "two processes wrote at the same time" in said and "4 steps were done again" in said


def test_a_clock_that_went_back_is_told_and_time_goes_on(tmp_path, capsys):
    times = [1.0, 2.0, 3.0, 1.5, 2.5, -4.0, -3.0]
    planted.write_run(
        tmp_path / "run", {}, [{"step": n, "time_s": at, "train/nll": 1.0 * n} for n, at in enumerate(times)]
    )
    (run,) = frames.read([str(tmp_path)])
    assert run.series("train/nll").time_s.tolist() == [1, 2, 3, 3, 4, 4, 5]
    assert cli.main(["analyze", str(tmp_path), "--at=time:3.5"]) == 0
    said = capsys.readouterr().out
    assert "the clock went back 2 times" in said and "~3.5000" in said


def test_a_line_longer_than_a_block_is_left_out_and_memory_stays_small(tmp_path, monkeypatch):
    monkeypatch.setattr(logs, "BLOCK", 200)
    path = tmp_path / "metrics.jsonl"
    for junk in (
        b"x" * 150,
        b"x" * 1000,
        b"x" * 199,
        b"x" * 200,
        b"x" * 201,
        b'{"step": 1, "a": "' + b"y" * 999 + b'"}',
    ):
        path.write_bytes(GOOD + junk + b"\n" + NEXT * 5)
        (run,) = frames.read([str(tmp_path)])
        assert len(run.rows.step) == 6 and sum(run.left_out.values()) == 1, junk
    path.write_bytes(GOOD + b"x" * 1000)
    (run,) = frames.read([str(tmp_path)])
    assert len(run.rows.step) == 1 and run.left_out == {CUT: 1}


def test_words_of_a_run_cannot_move_the_cursor(tmp_path, capsys):
    name = "evil\x1b[2J\x1b]0;x\x07"
    planted.write_run(tmp_path / name, {"seed": 1, "sample_prompt": "\x1b[31m"}, [{"step": 0, "\x1b[0m": 1}])
    planted.write_run(tmp_path / "[bold]two", {"sample_prompt": "[red]x[/red]"}, [{"step": 0, "train/nll": 1}])
    assert cli.main(["analyze", str(tmp_path), "--metric=\x1b[0m"]) == 0
    said = capsys.readouterr().out
    assert "\x1b" not in said and r"evil\x1b[2J\x1b]0;x\x07" in said and "[red]x[/red]" in said
    assert r"1 of the 2 runs that have measured anything lack \x1b[0m" in said


def test_what_cannot_be_opened_is_told(tmp_path, capsys):
    (tmp_path / "run/metrics.jsonl").mkdir(parents=True)
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone/metrics.jsonl").symlink_to(tmp_path / "nowhere")
    (tmp_path / "gone/run.json").mkdir()
    pathlib.Path(tmp_path / "run/run.json").write_text('{"config": {}}')
    assert cli.main(["analyze", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "metrics.jsonl cannot be read: Is a directory" in said and "cannot be read: No such file" in said
    assert "run.json cannot be read (Is a directory)" in said
