"""--help of every command: complete, within 80 columns, and with an example that the command takes."""

import shlex

import pytest

from gptjax.flags import config_overrides, make_parser
from gptjax.help_text import EXAMPLES


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
