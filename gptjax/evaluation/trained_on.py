"""The text that a run was trained on, its base's included, looked through for the questions of an evaluation."""

import hashlib
import json
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gptjax.config import BadInput, Config, from_dict
from gptjax.data import dialogs, prepared
from gptjax.data.documents import Corpus
from gptjax.evaluation import contamination
from gptjax.evaluation.contamination import Grams, Overlap
from gptjax.interop import huggingface
from gptjax.progress import progress_line
from gptjax.runs.faults import told_of_storage
from gptjax.training import checkpoint, source
from gptjax.training.source import Source

RULES = 1  # of how questions are looked for; raise it when they change, so that nothing remembered is used
MOST_BYTES = 2 * 10**9  # of one corpus that are looked through, some four minutes; a larger one is told as such


class Found(NamedTuple):
    """What the training text shares with each task, or why that is not known."""

    overlaps: dict[str, Overlap]
    unknown: str  # empty where all the training text is known


def overlaps(given: Source, tasks: Mapping[str, Sequence[str]]) -> Found:
    """Looks for the questions of each task, by name, in the training text of the weights.

    What was found is remembered in `data.cache`, by corpus and task. Where the text is gone, is other text by now, or
    was never known, as that of a Hugging Face folder, nothing is told but the reason.
    """
    try:
        opened = list(trained_on(given))
    except BadInput as error:
        return Found({}, str(error))
    grams = {name: contamination.grams_of(questions) for name, questions in tasks.items()}
    looked = [(corpus, looked_through(corpus, cache, grams)) for corpus, cache in opened]
    found = {}
    for name, (n, hashes, _) in grams.items():
        parts = [of_task[name] for _, of_task in looked]
        dirty_N = np.zeros(len(hashes), np.bool_)
        for part in parts:
            dirty_N[part["dirty"]] = True
        found[name] = Overlap(
            n,
            dirty_N,
            n_short=sum(not len(found) for found in hashes),
            seen_bytes=sum(part["seen_bytes"] for part in parts),
            whole=all(part["whole"] for part in parts),
        )
    return Found(found, "")


def trained_on(given: Source) -> Iterator[tuple[Corpus, pathlib.Path]]:
    """Every corpus that the weights saw, and where that run caches. Raises BadInput where one is not known."""
    path, cfg = f"{given.run}/checkpoints/{given.step}", given.cfg
    if huggingface.is_model_folder(given.run):
        raise BadInput(f"{given.run} is a model folder, which does not say what it was trained on")
    while True:
        if cfg.data.corpora == ("unknown",):
            raise BadInput(f"{path} was imported and does not say what it was trained on")
        yield from corpora_of(path, cfg)
        if not cfg.init_from:
            return
        if huggingface.is_model_folder(cfg.init_from):
            raise BadInput(f"it began with {cfg.init_from}, which does not say what it was trained on")
        path = source.chosen(cfg.init_from, lambda run, step: f"{run}/checkpoints/{step}")
        cfg = from_dict(checkpoint_meta(path)["config"])


def checkpoint_meta(path: str) -> dict:
    run, _, step = path.rpartition("/")
    return checkpoint.read_meta(run, int(step))


def corpora_of(path: str, cfg: Config) -> Iterator[tuple[Corpus, pathlib.Path]]:
    """The corpora of a checkpoint's run, once it is sure that they still hold the text of then."""
    data = prepared.prepare(cfg)
    if data.fingerprints["data"] != checkpoint_meta(path)["data"]:
        raise BadInput(f"data.corpora={', '.join(cfg.data.corpora)}: holds other text than {path} was trained on")
    cache = pathlib.Path(cfg.data.cache).expanduser()
    yield from ((prepared.opener(cfg)(spec, cache), cache) for spec in cfg.data.corpora)


def looked_through(corpus: Corpus, cache: pathlib.Path, grams: Mapping[str, Grams]) -> dict[str, dict]:
    """For each task {"dirty": numbers of questions, "seen_bytes", "whole"}; tasks not yet remembered share a pass."""
    fingerprint, files = corpus.fingerprint("train"), {}
    for name, of_task in grams.items():
        key = f"{RULES} {MOST_BYTES} {fingerprint} {of_task.fingerprint}"
        files[name] = cache / "contamination" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    found = {name: json.loads(file.read_bytes()) for name, file in files.items() if file.is_file()}
    if missing := {name: of_task for name, of_task in grams.items() if name not in found}:
        seen = Seen(corpus)
        dirty = contamination.found_in(seen.texts(), missing)
        for name, dirty_N in dirty.items():
            numbers = np.flatnonzero(dirty_N).tolist()
            found[name] = {"dirty": numbers, "seen_bytes": seen.n_bytes, "whole": seen.whole}
            remember(files[name], found[name])
    return found


class Seen:
    """A corpus as it goes by: at most MOST_BYTES of it, counted, with a line of progress."""

    def __init__(self, corpus: Corpus):
        self.corpus, self.n_bytes, self.whole = corpus, 0, False

    def texts(self) -> Iterator[str]:
        with progress_line(f"looking for the questions in {self.corpus.name}/train", True) as show:
            for text in dialogs.texts(self.corpus):
                if self.n_bytes >= MOST_BYTES:
                    return
                self.n_bytes += len(text.encode())
                show(f"{self.n_bytes / 1e6:,.1f} MB of text")
                yield text
        self.whole = True


def remember(file: pathlib.Path, found: dict) -> None:
    part = file.with_suffix(f".{os.getpid()}")
    with told_of_storage(str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps(found))
        part.replace(file)
