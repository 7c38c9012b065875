"""Which expression a function of `operator` stands for, among those of four of its neighbours."""

import inspect
import operator
import random
import re

from gptjax.evaluation.task import Question, Task


def documented() -> dict[str, str]:
    """{call: expression} of every function of which the docstring says "Same as"."""
    found = {}
    for name in sorted(vars(operator)):
        said = re.match(r"Same as (.+?)(?:, for| \(note|\.?\n|\.?$)", vars(operator)[name].__doc__ or "")
        if said and not name.startswith("_"):
            takes = ", ".join(inspect.signature(vars(operator)[name]).parameters)
            found[f"operator.{name}({takes})"] = said[1]
    return found


def questions(held_out: bool) -> list[Question]:
    known = documented()
    found = []
    for number, (name, right) in enumerate(known.items()):
        if (number % 4 == 0) == held_out:
            continue
        rng = random.Random(name)
        others = rng.sample(sorted({other for other in known.values() if other != right}), 3)
        choices = rng.sample([right, *others], 4)
        found.append(Question(f"{name} is the same as", tuple(f" {c}" for c in choices), choices.index(right)))
    return found


TASK = Task("operators", "choice", lambda: questions(True), lambda: questions(False), n_shots=3)
