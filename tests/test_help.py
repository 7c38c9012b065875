"""--help of every command: complete, within 80 columns, and with an example that the command takes."""

import pathlib
import re
import shlex

import pytest

from gptjax.flags import config_overrides, make_parser
from gptjax.help_text import EXAMPLES
from launch import flags as launch_flags


def shown(words: list[str], capsys) -> str:
    with pytest.raises(SystemExit):
        make_parser().parse_args(words)
    return capsys.readouterr().out


def test_every_command_has_an_example(capsys):
    commands = [
        line.split()[0] for line in shown(["--help"], capsys).splitlines() if line[:5].strip() and line[:4] == "    "
    ]
    assert list(EXAMPLES) == commands


@pytest.mark.parametrize("command", EXAMPLES)
def test_help_fits_80_columns_and_its_examples_are_taken(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = shown([command, "--help"], capsys)
    assert max(map(len, text.splitlines())) <= 80
    examples = "\n".join(EXAMPLES[command]).replace("\\\n", "").splitlines()
    for example in examples:
        program, *words = shlex.split(example)
        flags, rest = make_parser().parse_known_args(words)
        config_overrides(rest, flags)
        assert program == "gptjax" and words[0] == command and example.split("\\")[0].split("    ")[0] in text


def test_defaults_are_told(capsys):
    assert "(default 256)" in shown(["generate", "--help"], capsys)
    assert "(default 8000)" in shown(["serve", "--help"], capsys)


@pytest.mark.parametrize("job", ["Your own text on one GPU", "A sweep on TPU slices", "Fifty runs"])
def test_the_readme_leads_to_each_job_by_commands_that_parse(job):
    section = pathlib.Path("README.md").read_text().partition(f"## {job}\n")[2].partition("\n## ")[0]
    assert 0 < len(section.strip().splitlines()) <= 12 and "](docs/" in section
    words = [shlex.split(line, comments=True) for line in section.split("```")[1].splitlines()]
    for own in words:
        if own[:1] == ["gptjax"]:
            flags, rest = make_parser().parse_known_args(own[1:])
            config_overrides(rest, flags)
        elif own[:3] == ["python", "-m", "launch"]:
            launch_flags.parsed([word for word in own[3:] if word != "$TPU"])
    for page in re.findall(r"\]\((docs/[a-z_]+\.md)\)", section):
        assert pathlib.Path(page).is_file()
