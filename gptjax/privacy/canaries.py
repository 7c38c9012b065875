"""Canaries (Carlini et al. 2019): made-up secrets that are planted into a corpus, to see later what a model keeps.

Each is "included" by a fair coin, so that those left out say what a model does that never saw them; that coin is also
what one run's lower bound of epsilon needs (one_run.py). Everything is drawn from one secret seed.
"""

import collections
import json
import math
import pathlib
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gptjax.config import BadInput
from gptjax.data.split_files import Document
from gptjax.data.tokenizers import Tokenizer

FORM = "The access code of {name} is {code}."
DIGITS = "0123456789"
VERSION = 1  # of the file; raise it when its meaning changes
KINDS = {"version": int, "form": str, "alphabet": str, "row": int, "seed": str, "corpus": str, "canaries": list}
CANARY_KINDS = {"name": str, "code": str, "repeats": int, "planted": bool}


class Canary(NamedTuple):
    name: str  # no two have the same
    code: str  # the secret
    repeats: int  # documents that hold it, where it is planted
    planted: bool  # its coin


class Canaries(NamedTuple):
    """What a file of canaries holds. Whoever has it knows every secret, so it is for its owner's eyes alone."""

    form: str  # with {name} and, behind it, {code}
    alphabet: str
    row: int  # bytes that each document has, with the end_of_text before it; 0: as many as it needs
    seed: str
    corpus: str
    canaries: tuple[Canary, ...]

    @property
    def bits(self) -> float:
        """log2 of how many codes there are: the largest exposure."""
        return len(self.canaries[0].code) * math.log2(len(self.alphabet))

    def prefix(self, canary: Canary) -> str:
        """What stands before the code, without the blanks at its end."""
        return self.form.partition("{code}")[0].format(name=canary.name).rstrip()

    def secret(self, canary: Canary, code: str) -> str:
        """The code, with the blanks before it: a word's first token often holds them."""
        before = self.form.partition("{code}")[0]
        return before[len(before.rstrip()) :] + code

    def text(self, canary: Canary) -> str:
        """The whole document; blanks fill it up to a row."""
        text = self.form.format(name=canary.name, code=canary.code)
        return text.ljust(self.row - 2) + "\n" if self.row else text + "\n"


def make(
    n: int,
    *,
    corpus: str,
    form: str = FORM,
    alphabet: str = DIGITS,
    length: int = 7,
    repeats: Sequence[int] = (1,),
    row: int = 0,
    seed: str | None = None,
) -> Canaries:
    """`n` canaries, planted `repeats` times in turn, from a seed that is drawn where none is given. Raises BadInput."""
    check_form(form, alphabet, length)
    if n < 2 or not repeats or min(repeats) < 1:
        raise BadInput(f"--plant={n}: needs 2 canaries at least, each repeated at least once")
    seed = secrets.token_hex(16) if seed is None else seed
    number = random.Random(f"gptjax canaries {seed}").random  # of its methods the one sure never to change
    letter = lambda letters: letters[int(len(letters) * number())]
    word = lambda: "".join(letter("bdfgklmnprstvz") + letter("aeiou") for _ in range(3)).capitalize()
    names: dict[str, None] = {}  # a set that keeps its order
    while len(names) < n:
        names[f"{word()} {word()}"] = None
    made = [
        Canary(name, "".join(letter(alphabet) for _ in range(length)), repeats[at % len(repeats)], number() < 0.5)
        for at, name in enumerate(names)
    ]
    found = Canaries(form, alphabet, row, seed, corpus, tuple(made))
    if row and (longest := max(len(found.text(canary).encode()) for canary in made) + 1) > row:
        raise BadInput(f"--row={row}: a canary and the end of text before it have {longest} bytes; try --row={longest}")
    return found


def check_form(form: str, alphabet: str, length: int) -> None:
    places = [form.find("{name}"), form.find("{code}")]
    if form.count("{") != 2 or form.count("}") != 2 or not 0 <= places[0] < places[1]:
        raise BadInput(f"--form={form}: must hold {{name}} and, behind it, {{code}}, as {FORM!r} does")
    if len(set(alphabet)) < 2 or len(set(alphabet)) != len(alphabet) or not alphabet.isalnum():
        raise BadInput(f"--alphabet={alphabet}: must be at least two letters or digits, none twice; as {DIGITS}")
    if not 1 <= length <= 64:
        raise BadInput(f"--code_length={length}: must be from 1 to 64; try 7")


def planted(found: Canaries, documents: Callable[[], Iterator[Document]]) -> Iterator[Document]:
    """The documents of a corpus with the canaries among them, wherever the seed puts them.

    Documents of one row each go first instead: there windows of that context begin where they do, so each is one
    example of DP-SGD, and one more or fewer changes no other. `documents` is called twice.
    """
    number = random.Random(f"gptjax places {found.seed}").random
    copies = [canary for canary in found.canaries if canary.planted for _ in range(canary.repeats)]
    n_places = 1 if found.row else 1 + sum(1 for _ in documents())
    places: dict[int, list[Document]] = collections.defaultdict(list)
    for at, copy in enumerate(sorted(copies, key=lambda _: number())):
        places[int(n_places * number())].append(Document(f"canary/{at}", found.text(copy)))
    for at, document in enumerate(documents()):
        yield from places.pop(at, ())
        yield document
    for at in sorted(places):
        yield from places[at]


def split_tokens(found: Canaries, canary: Canary, code: str, tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The tokens before a code, an end of text first, and those of the code: together those of the text."""
    prefix, text = found.prefix(canary), found.prefix(canary) + found.secret(canary, code)
    before, whole = tokenizer.encode(prefix).tolist(), tokenizer.encode(text).tolist()
    n = next((at for at, (a, b) in enumerate(zip(before, whole, strict=False)) if a != b), min(len(before), len(whole)))
    return [tokenizer.end_of_text, *whole[:n]], whole[n:]


def write(file: pathlib.Path, found: Canaries) -> None:
    """Writes the file, which only its owner may read. Raises OSError."""
    values = {"version": VERSION, **found._asdict(), "canaries": [canary._asdict() for canary in found.canaries]}
    file.unlink(missing_ok=True)
    file.touch(mode=0o600)
    file.write_text(json.dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(file: str) -> Canaries:
    """What `write` wrote; raises BadInput, which names the file and what is wrong."""
    try:
        values = json.loads(pathlib.Path(file).read_bytes())
    except OSError as error:
        raise BadInput(f"--canaries={file}: {error.strerror}; gptjax audit --plant=N --to=FOLDER writes one") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"--canaries={file}: not JSON ({error})") from error
    typed(values, KINDS, f"--canaries={file}")
    if values.pop("version") != VERSION:
        raise BadInput(f"--canaries={file}: of another version of gptjax; plant anew")
    for number, entry in enumerate(values["canaries"]):
        typed(entry, CANARY_KINDS, f"--canaries={file}, canary {number}")
    made = Canaries(**values)._replace(canaries=tuple(Canary(**entry) for entry in values["canaries"]))
    if not made.canaries or len({len(canary.code) for canary in made.canaries}) != 1:
        raise BadInput(f"--canaries={file}: needs canaries, all with codes of one length")
    check_form(made.form, made.alphabet, len(made.canaries[0].code))
    return made


def typed(values: Any, kinds: dict[str, type], where: str) -> None:
    if not isinstance(values, dict) or set(values) != set(kinds):
        raise BadInput(f"{where}: must be an object with {', '.join(kinds)}, as gptjax audit --plant writes it")
    for name, kind in kinds.items():
        if type(values[name]) is not kind:
            raise BadInput(f"{where}: {name} is no {kind.__name__}")
