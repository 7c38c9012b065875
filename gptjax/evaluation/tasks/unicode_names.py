"""The name of a character, among those of three others of its kind."""

import hashlib
import random
import unicodedata

from gptjax.evaluation.task import Question, Task

BLOCKS = (range(0x21, 0x7F), range(0xA1, 0x180), range(0x391, 0x3CA), range(0x2190, 0x2200))


def named(held_out: bool) -> list[Question]:
    found = []
    for block in BLOCKS:
        names = {chr(code): unicodedata.name(chr(code), "") for code in block}
        kept = [character for character, name in names.items() if name]
        for character in kept:
            if (hashlib.sha256(character.encode()).digest()[0] % 4 == 0) != held_out:
                continue
            rng = random.Random(character)
            others = rng.sample([other for other in kept if other != character], 3)
            choices = rng.sample([character, *others], 4)
            answers = tuple(f" {names[choice].lower()}" for choice in choices)
            found.append(Question(f"The character {character} is called", answers, choices.index(character)))
    return found


TASK = Task("unicode_names", "choice", lambda: named(True), lambda: named(False), n_shots=3)
