"""docs/analysis.md answers twenty questions by commands: each is run, and held against how the runs were made."""

import math
import pathlib
import re
import shlex
from collections.abc import Callable
from typing import NamedTuple

import pytest

from gptjax import cli
from gptjax.analysis import logs
from tests.analysis import planted
from tests.analysis.planted import BATCH, LARGE, N_STEPS, SMALL, Planted

PAGE = pathlib.Path(__file__).parents[2] / "docs/analysis.md"
QUESTION = re.compile(r"\*\*(\d+)\. (.*?)\*\*\n\n    (gptjax analyze .*?)\n\n(.*?)\n")
SWEEP = planted.sweep()
DONE = [one for one in SWEEP if one.fate not in ("stale", "stopped", "diverged")]


def question(number: int) -> tuple[str, list[str]]:
    """The command of the page, and its answers."""
    found = {
        int(n): (command, re.findall("`(.*?)`", answer)) for n, _, command, answer in QUESTION.findall(PAGE.read_text())
    }
    assert list(found) == list(range(1, 21))
    return found[number]


class Said(NamedTuple):
    """What the command printed: its tables as dicts by column, and the lines below."""

    groups: list[dict[str, str]]
    runs: list[dict[str, str]]
    lines: list[str]


def parse(text: str) -> Said:
    tables: dict[str, list[dict[str, str]]] = {"groups": [], "runs": []}
    lines, columns, into = [], [], ""
    for line in text.splitlines():
        if re.search(r"  +(n  +mean|step  +tokens) ", line):
            columns = [(match.start(), match[0]) for match in re.finditer(r"\S+( \S+)*", line)]
            into = "runs" if line.startswith("run ") else "groups"
            continue
        elif into and re.match(r"[\d,]+ runs: ", line):
            into = ""
        if into:
            ends = [start for start, _ in columns[1:]] + [len(line)]
            tables[into].append(
                {name: line[start:end].strip() for (start, name), end in zip(columns, ends, strict=True)}
            )
        else:
            lines.append(line)
    return Said(tables["groups"], tables["runs"], lines)


def eval_nll(one: Planted, step: int) -> float:
    return planted.loss(one)(step) + 0.05


def mean(runs: list[Planted], step: int) -> float:
    return math.fsum(eval_nll(one, step) for one in runs) / len(runs)


def best(runs: list[Planted], key: Callable[[Planted], float]) -> Planted:
    return min(runs, key=key)


def at_flops(budget: float) -> int:
    """The width that is best for the budget, at the rate and the seed that are best everywhere."""
    runs = [one for one in SWEEP if one.seed == 0 and one.fate == "done"]
    return best(runs, lambda one: planted.loss(one)(int(budget / planted.flops_per_token(one) / BATCH))).width


def after(seconds: float, one: Planted) -> float:
    step_s = planted.STEP_S * one.width / SMALL * (3 if one.fate == "slow" else 1) * 1.01
    return planted.loss(one)(int((seconds - 10) / step_s))


def fated(*fates: str) -> list[str]:
    return sorted(one.name for one in SWEEP if one.fate in fates)


WIDE = [one for one in DONE if one.width == LARGE]
first = lambda said: said.runs[0]["run"]
names = lambda said: [row["run"] for row in said.runs]
TRUTH: dict[int, tuple[list[str], Callable[[Said], list[str]]]] = {  # what is so, and where the command says it
    1: ([best(DONE, lambda one: eval_nll(one, N_STEPS)).name], lambda said: [first(said)]),
    2: (
        ["0.003", "2.2720 to 2.3217"],  # 2.2969 and 4.3027 / sqrt(3) hundredths to each side
        lambda said: [said.groups[0]["optim.peak_lr"], said.groups[0]["95% interval"]],
    ),
    3: ([str(at_flops(5e10))], lambda said: [said.runs[0]["model.d_model"]]),
    4: ([str(at_flops(1.7e11))], lambda said: [said.runs[0]["model.d_model"]]),
    5: (fated("diverged"), names),
    6: ([str(one.end) for one in SWEEP if one.fate == "diverged"], lambda said: [said.runs[0]["step"]]),
    7: (
        ["seed", "model.d_model", "model.d_hidden", "optim.peak_lr"],
        lambda said: [key for key in said.runs[0] if "." in key or key == "seed"],
    ),
    8: (fated("diverged", "stopped", "stale"), names),
    9: (fated("stopped"), names),
    10: (
        [*fated("stale"), f"{88 * BATCH:,}"],  # killed after step 89, and every second is logged
        lambda said: [first(said), said.runs[0]["tokens"]],
    ),
    11: (
        [*fated("restarted"), str(len(range(100, 130, 2)))],
        lambda said: [first(said), *re.findall(rf"{first(said)}: (\d+) steps were done again", "\n".join(said.lines))],
    ),
    12: (fated("restarted"), lambda said: [first(said)]),
    13: (fated("slow"), lambda said: [first(said)]),
    14: ([f"{best([o for o in DONE if o.width == SMALL], lambda o: eval_nll(o, N_STEPS)).lr:g}"],
         lambda said: [said.groups[0]["optim.peak_lr"]]),
    15: (
        [f"{mean([o for o in SWEEP if o.width == width], 50):.4f}" for width in (LARGE, SMALL)],
        lambda said: [row["mean eval/nll at 50 step"] for row in said.groups],
    ),
    16: (
        [f"{sum(one.lr >= 1e-2 for one in SWEEP)} of {len(SWEEP)} runs"],
        lambda said: re.findall(r"\d+ of \d+ runs", "\n".join(said.lines)),
    ),
    17: ([f"{eval_nll(SWEEP[9], 100):.4f}"], lambda said: [said.runs[0]["at 409,600 tokens"]]),
    18: ([best(SWEEP, lambda one: after(25, one)).name], lambda said: [first(said)]),
    19: ([str(best(DONE, lambda one: eval_nll(one, N_STEPS)).seed)], lambda said: [said.groups[0]["seed"]]),
    20: ([f"{len(DONE)} of {len(SWEEP)} runs"], lambda said: re.findall(r"\d+ of \d+ runs", "\n".join(said.lines))),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The sweep of the page, of which each log is read once."""
    made = tmp_path_factory.mktemp("quiz")
    planted.write_sweep(made / "runs/planted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(made / "cache"))
        patch.setattr(logs, "SMALL", 1000)
        yield made


@pytest.mark.parametrize("number", TRUTH)
def test_the_page_answers_a_question_by_a_command(number, folder, monkeypatch, capsys):
    command, answers = question(number)
    expected, where = TRUTH[number]
    monkeypatch.chdir(folder)
    assert cli.main(shlex.split(command)[1:]) == 0
    said = parse(capsys.readouterr().out)
    assert where(said) == expected, said
    assert answers == expected, "the page"


def test_the_planted_runs_are_as_they_are_described():
    assert len(SWEEP) == 24 and SWEEP[9].name == "lr0.003-d64-s0" and len(DONE) == 21
