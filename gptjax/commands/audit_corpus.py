"""`gptjax audit --corpus`: what a corpus holds that a model had better not learn, and a corpus without it, or with
canaries."""

import contextlib
import json
import pathlib
import shlex
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO

from gptjax.commands import audit_text
from gptjax.config import BadInput
from gptjax.data import corpora, split_files
from gptjax.data.documents import Corpus
from gptjax.data.split_files import Document
from gptjax.privacy import canaries, credentials, findings, personal
from gptjax.privacy.duplicates import Seen
from gptjax.progress import progress_line

KINDS = ("duplicates", "personal", "secrets")
FINDERS = {"personal": personal.find, "secrets": credentials.find}
CANARIES = "canaries.json"


class Asked(NamedTuple):
    """The flags of an audit of a corpus, by their names."""

    corpus: str
    find: str
    similar: float
    limit: int
    strict: bool
    to: str | None
    json: str | None
    plant: int
    repeats: str
    form: str
    alphabet: str
    code_length: int
    row: int
    secret_seed: str | None

    @property
    def command(self) -> str:
        """What gives the same again; a seed is a secret, so that of canaries is left out."""
        names = ("corpus", "find", "similar", "limit", "to")
        return shlex.join(
            ["gptjax", "audit", *(f"--{name}={getattr(self, name)}" for name in names if self.given(name))]
        )

    def given(self, name: str) -> bool:
        return getattr(self, name) not in (None, 0)


def run(asked: Asked) -> int:
    """Scans a corpus, or plants canaries in it; returns the exit code. Raises BadInput."""
    check(asked)
    corpus = corpora.open_corpus(asked.corpus)
    if asked.plant:
        return plant(asked, corpus)
    if "personal" in asked.find.split(",") and not personal.loaded():
        print("loading presidio-analyzer, which takes some seconds", file=sys.stderr)
        personal.recognizers()
    with contextlib.ExitStack() as files:
        scan = Scan(asked, {split: opened(asked, split, files) for split in corpus.splits})
        with told_of_disk(asked):
            for split in corpus.splits:
                scan.split(corpus, split)
    audit_text.show_corpus(scan.report())
    if asked.json is not None:
        with told_of_disk(asked):
            pathlib.Path(asked.json).write_text(json.dumps(scan.report(), indent=1, ensure_ascii=False) + "\n")
        print(f"wrote {asked.json}")
    if asked.to is not None:
        print(f"wrote {asked.to}: --config.data.corpora=splits:{asked.to}")
    if asked.strict and scan.n_found:
        raise BadInput(f"corpus {asked.corpus}: {scan.n_found} findings; --to=FOLDER writes it without them")
    return 0


def check(asked: Asked) -> None:
    """Raises BadInput for flags that cannot be, before anything is read."""
    for name, value in asked._asdict().items():
        if value == "":
            raise BadInput(f"--{name}: is empty; give at least one character")
    if unknown := [name for name in asked.find.split(",") if name not in KINDS]:
        raise BadInput(f"--find={asked.find}: no {unknown[0]!r}; it is some of {','.join(KINDS)}")
    if not 0 < asked.similar <= 1:
        raise BadInput(f"--similar={asked.similar}: must be above 0 and at most 1; 0.8 is usual")
    for name in ("limit", "plant", "row"):
        if not 0 <= getattr(asked, name) < 2**31:
            raise BadInput(f"--{name}={getattr(asked, name)}: must be at least 0")
    if asked.plant and asked.to is None:
        raise BadInput(f"--plant={asked.plant}: name a folder for the corpus with canaries, --to=FOLDER")
    if asked.to is not None and pathlib.Path(asked.to).exists():
        raise BadInput(f"--to={asked.to}: is there already; name a new folder")
    above = pathlib.Path(asked.to or "").absolute().parents
    if not (near := next(folder for folder in above if folder.exists())).is_dir():
        raise BadInput(f"--to={asked.to}: {near} is no folder; name another place")
    if asked.json is not None and not pathlib.Path(asked.json).parent.is_dir():
        raise BadInput(f"--json={asked.json}: the folder it would be in is not there")


@contextlib.contextmanager
def told_of_disk(asked: Asked) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BadInput(f"--to={asked.to}: {error.strerror}; name a folder that can be written") from error


def opened(asked: Asked, split: str, files: contextlib.ExitStack) -> TextIO | None:
    """The file that a split is written to, if any is."""
    if asked.to is None:
        return None
    with told_of_disk(asked):
        pathlib.Path(asked.to).mkdir(parents=True, exist_ok=True)
        return files.enter_context((pathlib.Path(asked.to) / f"{split}.jsonl").open("w", encoding="utf-8"))


def documents(corpus: Corpus, split: str, limit: int) -> Iterator[Document]:
    """Of a split, the first `limit` where that is above 0."""
    for number, document in enumerate(split_files.documents(corpus, split)):
        if limit and number >= limit:
            return
        yield document


class Scan:
    """What was found so far. Documents held out are held against those to train on too."""

    def __init__(self, asked: Asked, files: dict[str, TextIO | None]):
        self.asked, self.files, kinds = asked, files, asked.find.split(",")
        self.seen = Seen(asked.similar) if "duplicates" in kinds else None
        self.finders = {name: find for name, find in FINDERS.items() if name in kinds}
        self.n_documents = self.n_characters = 0
        self.found: dict[str, list[dict[str, Any]]] = {name: [] for name in KINDS}

    @property
    def n_found(self) -> int:
        return sum(map(len, self.found.values()))

    def split(self, corpus: Corpus, split: str) -> None:
        with progress_line(f"scanning {corpus.name}/{split}", shown=True) as show:
            for document in documents(corpus, split, self.asked.limit):
                kept = self.document(split, document)
                file = self.files[split]
                if file is not None and kept is not None:
                    split_files.write_one(file, kept)
                self.n_documents, self.n_characters = self.n_documents + 1, self.n_characters + len(document.text)
                show(f"{self.n_documents:,} documents, {self.n_characters / 1e6:,.1f} million characters")

    def document(self, split: str, document: Document) -> Document | None:
        """The document as it is written; None for one that is left out."""
        seen, here = self.seen, []
        repeated = None if seen is None else seen.duplicate(f"{split}/{document.name}", document.text)
        if repeated is not None:
            self.found["duplicates"].append(repeated._asdict())
        for name, find in self.finders.items():
            found = findings.settled(find(document.text))
            here += found
            for one in found:
                place = {"split": split, "document": document.name, "offset": one.start, "kind": one.kind}
                self.found[name].append({**place, "value": findings.masked(document.text, one)})
        return None if repeated is not None else document._replace(text=findings.replaced(document.text, here))

    def report(self) -> dict[str, Any]:
        return {
            "command": self.asked.command,
            "documents": self.n_documents,
            "characters": self.n_characters,
            "looked_for": self.asked.find.split(","),
            "similar": self.asked.similar,
            **self.found,
        }


def plant(asked: Asked, corpus: Corpus) -> int:
    """Writes the corpus with canaries in its text to train on, and a file that says which."""
    try:
        repeats = [int(word) for word in asked.repeats.split(",")]
    except ValueError as error:
        raise BadInput(f"--repeats={asked.repeats}: expected whole numbers, as 1,2,4") from error
    made = canaries.make(
        asked.plant,
        corpus=asked.corpus,
        form=asked.form,
        alphabet=asked.alphabet,
        length=asked.code_length,
        repeats=repeats,
        row=asked.row,
        seed=asked.secret_seed,
    )
    folder = pathlib.Path(asked.to or "")
    with told_of_disk(asked):
        folder.mkdir(parents=True)
        n = split_files.write(folder, "train", canaries.planted(made, lambda: documents(corpus, "train", asked.limit)))
        split_files.write(folder, "valid", documents(corpus, "valid", asked.limit))
        canaries.write(folder / CANARIES, made)
    copies = sum(canary.repeats for canary in made.canaries if canary.planted)
    print(f"{sum(canary.planted for canary in made.canaries)} of {asked.plant} canaries, {copies} of {n:,} documents")
    print(f"wrote {folder}: --config.data.corpora=splits:{folder}; its secrets are in {folder / CANARIES}")
    return 0
