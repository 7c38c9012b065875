"""Each line of the Zen of Python after all those before it: what a model of code knows by heart."""

import codecs
import inspect
import pathlib
import re

from gptjax.evaluation.task import Question, Task


def lines() -> list[str]:
    """`this` holds them in ROT13; importing it would print them."""
    source = pathlib.Path(inspect.__file__).with_name("this.py").read_text()
    hidden = re.search('s = """(.*?)"""', source, re.DOTALL)
    return codecs.decode(hidden[1], "rot13").splitlines() if hidden else []


def questions() -> list[Question]:
    said = [line for line in lines() if line.strip()]
    return [Question("\n".join(said[:at]) + "\n", (said[at],)) for at in range(1, len(said))]


TASK = Task("zen", "cloze", questions, metrics=("bits_per_byte", "accuracy"))
