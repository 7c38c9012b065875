"""Text in: the corpora that a config can name.

`python`, `synthetic`, `tfds:NAME[/CONFIG][:FIELD]` (TensorFlow Datasets, read without TensorFlow),
`text:GLOB[:FIELD]` (text_files.py) and `splits:FOLDER` (split_files.py). Each gives its documents as `Piece`s, one at
a time.
"""

import bisect
import difflib
import functools
import hashlib
import importlib.util
import io
import itertools
import os
import pathlib
import platform
import random
import sysconfig
from collections.abc import Iterator
from typing import Any

from gptjax.config import BadInput
from gptjax.data import text_files
from gptjax.data.documents import Corpus, Piece, Source, divided, whole
from gptjax.data.split_files import SplitFiles
from gptjax.data.text_files import TextFiles

KINDS = (
    "python",
    "synthetic",
    "tfds:NAME[/CONFIG][:FIELD]",
    "text:GLOB[:FIELD]",
    "splits:FOLDER",
    "dialogs:GLOB",
    "preferences:GLOB",
)  # the last two: dialogs.py, preferences.py


def open_corpus(spec: str, cache: pathlib.Path | None = None) -> Corpus:
    """The corpus of an entry of `data.corpora`; fingerprints of large ones are remembered under `cache`.

    Raises BadInput for an unknown name, for files that are not there and for a TFDS set that is not prepared.
    """
    kind, _, rest = spec.partition(":")
    if kind == "text" and rest:
        return TextFiles(spec, rest, cache)
    if kind == "splits" and rest:
        return SplitFiles(spec, rest, cache)
    if kind == "tfds" and rest:
        return Tfds(spec, cache)
    if spec == "python":
        return PythonLibrary(cache)
    if spec == "synthetic":
        return Synthetic()
    near = difflib.get_close_matches(kind, [name.partition(":")[0] for name in KINDS], n=1)
    meant = [name for name in KINDS if near and name.startswith(near[0])]
    meant = [f"text:{spec}"] if spec and text_files.matches(spec) else meant
    raise BadInput(
        f"data.corpora: no corpus {spec!r}; {''.join(f'did you mean {name}? ' for name in meant)}"
        f"It is one of {', '.join(KINDS)}"
    )


class PythonLibrary(Corpus):
    """Code and prose that every machine has: the sources of Python's standard library and its manual's topics.

    Modules of one package, and each topic, are a family; one family in 16, by the hash of its name, is held out
    (4.7, 5.0 and 5.4 percent of the bytes of Python 3.11, 3.12 and 3.13). Topics repeat each other and modules
    borrow from each other, so a held-out document is left out altogether where more than a tenth of its runs of
    eight lines stand in a training document. `encodings` is left out too: tables, generated and nearly alike.
    """

    def __init__(self, cache: pathlib.Path | None):
        self.root, self.modules = pathlib.Path(sysconfig.get_path("stdlib")), []
        for folder, subfolders, files in os.walk(self.root):
            subfolders[:] = [name for name in subfolders if name not in LEFT_OUT and not name.startswith("config-")]
            named = [name for name in files if name.endswith(".py") and not name.startswith("_sysconfigdata")]
            self.modules += [pathlib.Path(folder, name) for name in named]
        self.files = *sorted(self.modules), self.root / "pydoc_data/topics.py"
        super().__init__("python", cache, {"python": platform.python_version(), "files": len(self.files)})

    @functools.cached_property
    def texts(self) -> dict[str, str]:
        """By name, ordered by its hash so that code and prose mix; some 10 MB."""
        from pydoc_data.topics import topics

        found = {f"topics/{name}": text for name, text in topics.items()}
        found |= {path.relative_to(self.root).as_posix(): path.read_bytes().decode() for path in self.modules}
        return {name: found[name] for name in sorted(found, key=hash_of) if found[name].strip()}

    @functools.cached_property
    def held_out(self) -> dict[str, bool]:
        """Of each document, whether it is valid text; those that repeat training text are not there."""
        valid = {name for name in self.texts if hash_of(family(name)) % 16 == 0}
        train_runs = set().union(*(line_runs(text) for name, text in self.texts.items() if name not in valid))
        runs_of = {name: line_runs(self.texts[name]) for name in valid}
        repeats = {name for name, runs in runs_of.items() if len(runs & train_runs) > len(runs) / 10}
        return {name: name in valid for name in self.texts if name not in repeats}

    def documents(self, split: str) -> Iterator[Piece]:
        for name, held_out in self.held_out.items():
            if held_out == (split == "valid"):
                yield Piece(name, self.texts[name], True)


LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib-dynload", "encodings", "pydoc_data"}


def hash_of(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def family(name: str) -> str:
    return name if name.startswith("topics/") else name.split("/")[0].removesuffix(".py")


def line_runs(text: str, length: int = 8) -> set[tuple[str, ...]]:
    """Every run of `length` lines that are not blank, or the whole of a shorter text."""
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    return {tuple(lines[at : at + length]) for at in range(max(1, len(lines) - length + 1))}


class Synthetic(Corpus):
    """About a megabyte of made-up sentences, for tests and throughput, the same on every machine.

    Each of 256 words is followed by one of four others with probability 1/2, 1/4, 1/8 and 1/8: a model that has
    learnt them all needs 1.75 bits a word, about 0.4 a byte. Held out are other walks on the same words.
    """

    n_documents = {"train": 1000, "valid": 50}

    def __init__(self):
        super().__init__("synthetic", None, {"documents": self.n_documents})

    def documents(self, split: str) -> Iterator[Piece]:
        number = random.Random("gptjax words").random  # of its methods the one sure never to change
        letter = lambda letters: letters[int(len(letters) * number())]
        words: dict[str, None] = {}  # a set that keeps its order
        while len(words) < 256:
            words["".join(letter("bdfgklmnprstvz") + letter("aeiou") for _ in range(2))] = None
        spelled, followers = list(words), [[int(256 * number()) for _ in range(4)] for _ in words]
        for index in range(self.n_documents[split]):
            number = random.Random(f"gptjax {split} {index}").random
            word, text = int(256 * number()), []
            for _ in range(200):
                text.append(spelled[word])
                word = followers[word][bisect.bisect((1 / 2, 3 / 4, 7 / 8), number())]
            yield Piece(f"{split}/{index}", " ".join(text) + ".\n", True)


class Tfds(Corpus):
    """A set of TensorFlow Datasets, prepared as ArrayRecord under TFDS_DATA_DIR or TFDS's own default folder.

    FIELD is the text's, and may be left out where the set has but one text. "train" is the set's train split;
    "valid" is its validation and test splits together (for tiny_shakespeare, the well-known last tenth), or where it
    has neither, what `documents.divided` holds out of train.
    """

    def __init__(self, spec: str, cache: pathlib.Path | None):
        name, _, self.field = spec.removeprefix("tfds:").partition(":")
        builder = tfds_builder(name)
        if not (builder.data_path / "dataset_info.json").exists():
            raise BadInput(f"{spec}: not prepared in {builder.data_path}; run: gptjax prepare --corpus=tfds:{name}")
        texts = [key for key, feature in builder.info.features.items() if type(feature).__name__ == "Text"]
        self.field = self.field or (texts[0] if len(texts) == 1 else "")
        if self.field not in texts:
            raise BadInput(f"{spec}: which text? Say tfds:{name}:FIELD, one of {', '.join(texts) or 'none'}")
        if "train" not in builder.info.splits:
            raise BadInput(f"{spec}: has no train split; it has {', '.join(builder.info.splits)}")
        self.builder = builder
        if (folder := pathlib.Path(builder.data_path)).is_dir():  # not in a bucket
            self.files = tuple(sorted(file for file in folder.iterdir() if file.is_file()))
        n_documents = {split: info.num_examples for split, info in builder.info.splits.items()}
        super().__init__(spec, cache, {"tfds": builder.info.full_name, "documents": n_documents})

    def documents(self, split: str) -> Iterator[Piece]:
        held_out = [name for name in ("validation", "test") if name in self.builder.info.splits]
        if not held_out:
            return divided(functools.partial(self.sources, "train"), split)
        return whole(itertools.chain(*(self.sources(name) for name in (["train"] if split == "train" else held_out))))

    def sources(self, split: str) -> Iterator[Source]:
        """The records of one of the set's own splits. Raises BadInput for TFRecord, and for a damaged record."""
        try:
            records = self.builder.as_data_source(split=split)
        except NotImplementedError as error:
            raise BadInput(
                f"{self.name}: prepared as TFRecord, not ArrayRecord, in {self.builder.data_path}"
            ) from error
        for number in range(self.builder.info.splits[split].num_examples):
            where = f"{self.name}, {split} record {number}"
            try:
                text = records[number][self.field]
            except Exception as error:  # the reader of ArrayRecord raises its own; of a truncated file it finds none
                raise BadInput(
                    f"{where}: cannot be read from {self.builder.data_path} ({' '.join(str(error).split())[:200]}); "
                    f"delete it and run: gptjax prepare --corpus={self.name}"
                ) from error
            yield Source(f"{split}/{number}", where, functools.partial(io.BytesIO, text))


def tfds_builder(name: str) -> Any:  # TFDS's own types are too loose to check against
    """TFDS's builder of a set; raises BadInput where it knows none of that name."""
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"))
    except tfds.core.DatasetNotFoundError as error:
        near = difflib.get_close_matches(name, tfds.list_builders(with_community_datasets=False), n=1)
        raise BadInput(
            f"tfds:{name}: TFDS has no such set" + "".join(f"; did you mean tfds:{n}?" for n in near)
        ) from error
    except ValueError as error:
        raise BadInput(f"tfds:{name}: {' '.join(str(error).split())}") from error


def prepare(spec: str) -> None:
    """Downloads a TFDS set and writes it as ArrayRecord, which needs TensorFlow; raises BadInput without it."""
    kind, _, rest = spec.partition(":")
    if kind != "tfds" or not rest:
        raise BadInput(f"--corpus={spec}: only tfds:NAME is prepared; the others are read as they are")
    if importlib.util.find_spec("tensorflow") is None:
        raise BadInput(f"--corpus={spec}: preparing needs TensorFlow; pip install 'gptjax[prepare]'")
    builder = tfds_builder(rest.partition(":")[0])
    builder.download_and_prepare(file_format="array_record")
    print(f"prepared {builder.info.full_name} in {builder.data_path}")
