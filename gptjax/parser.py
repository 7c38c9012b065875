"""argparse, in the manners of this house: what is wrong is one line, with the nearest right word."""

import argparse
import difflib
import re
from typing import NoReturn

from gptjax import config, help_text
from gptjax.config import BadInput

Row = tuple[str, type, object, str, str]  # of a flag: name, type, default, metavar, help


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are one line with the nearest right word."""

    def error(self, message: str) -> NoReturn:
        word = re.match(r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", message)
        if word is None:
            raise BadInput(f"{message}; {self.prog} --help says more")
        known = re.findall(r"[\w-]+", word[2])
        near = difflib.get_close_matches(word[1], known, n=1)
        raise BadInput(
            f"no command {word[1]}; " + (f"did you mean {near[0]}?" if near else "it is one of " + ", ".join(known))
        )


def one_line(text: str) -> str:
    """The text with all that would end its line, or move a terminal's cursor, spelled out, and with no password."""
    shown = (c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)
    return config.without_password("".join(shown))


def add_rows(parser: argparse._ActionsContainer, rows: list[Row]) -> None:
    """Adds a flag for each row of a table."""
    for name, kind, default, metavar, text in rows:
        help_text.add_flag(parser, name, kind, default, metavar, text)


def add(commands, name: str, summary: str) -> argparse.ArgumentParser:
    """A new command's parser, without abbreviations of flags; what it parses holds it as `parser`."""
    ending = help_text.ending(name)
    made = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False, **ending)
    made.set_defaults(parser=made)
    return made
