"""`gptjax audit`: what a model keeps of its training text; and, of a corpus, what it had better not learn."""

import json
import math
import pathlib
import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from gptjax.commands import audit_text
from gptjax.commands.evaluate import mesh_for, telling, write
from gptjax.config import BadInput
from gptjax.data.documents import whole
from gptjax.data.split_files import joined
from gptjax.data.text_files import TextFiles
from gptjax.generation import decode
from gptjax.privacy import canaries, extraction, membership, memorised, report
from gptjax.privacy.canaries import Canaries
from gptjax.privacy.membership import Nats, Scored
from gptjax.training import source
from gptjax.training.source import Source


class Asked(NamedTuple):
    """The flags of an audit of a model, by their names."""

    folder: str
    canaries: str | None
    members: str | None
    nonmembers: str | None
    reference: str | None
    others: int
    samples: int
    delta: float
    seed: int
    json: str | None

    @property
    def command(self) -> str:
        """What gives the same figures again."""
        names = ("canaries", "members", "nonmembers", "reference", "others", "samples", "delta", "seed")
        named = {"from": self.folder, **{name: getattr(self, name) for name in names}}
        words = [f"--{name}={value}" for name, value in named.items() if value is not None]
        return shlex.join(["gptjax", "audit", *words])


class Model(NamedTuple):
    """A model, opened, and where it lies."""

    given: Source
    on: Mesh | None


def run(asked: Asked) -> int:
    """Prints the tables, and writes the report where that is asked; returns the exit code. Raises BadInput."""
    check(asked)
    found = None if asked.canaries is None else canaries.read(asked.canaries)
    texts = None if asked.members is None else (read("members", asked.members), read("nonmembers", asked.nonmembers))
    if asked.reference is not None:
        same_tokens(asked.folder, asked.reference)
    model = opened(asked.folder)
    reference = None if asked.reference is None else opened(asked.reference)
    whole: dict[str, Any] = {
        "command": asked.command,
        "from": {"path": asked.folder, "run": model.given.run, "step": model.given.step},
        "delta": asked.delta,
        "canaries": None,
        "attacks": [],
    }
    if found is not None:
        whole["canaries"], whole["attacks"] = of_canaries(asked, model, reference, found)
    if texts is not None:
        whole["attacks"] += of_texts(asked, model, reference, *texts)
    audit_text.show(whole)
    if asked.json is not None:
        write("--json", asked.json, json.dumps(whole, indent=1) + "\n")
    return 0


def check(asked: Asked) -> None:
    """Raises BadInput for flags that cannot be, before anything is opened."""
    for name, value in asked._asdict().items():
        if value == "":
            raise BadInput(f"--{'from' if name == 'folder' else name}: is empty; give at least one character")
    if asked.canaries is None and asked.members is None:
        raise BadInput("--canaries: name a file of canaries, or --members and --nonmembers, texts to be told apart")
    if (asked.members is None) != (asked.nonmembers is None):
        raise BadInput(f"--{'members' if asked.members is None else 'nonmembers'}: both of the two, or neither")
    for name, least, most in (("others", 1, 10**6), ("samples", 0, 10**4), ("seed", 0, 2**32 - 1)):
        if not least <= getattr(asked, name) <= most:
            raise BadInput(f"--{name}={getattr(asked, name)}: must be from {least} to {most}")
    if not (math.isfinite(asked.delta) and 0 <= asked.delta < 1):
        raise BadInput(f"--delta={asked.delta}: must be from 0 to below 1")
    if asked.json is not None and not pathlib.Path(asked.json).parent.is_dir():
        raise BadInput(f"--json={asked.json}: name a file in a folder that exists")


def read(flag: str, pattern: str | None) -> list[str]:
    """The texts that a pattern names: a document each, as `text:GLOB` has them."""
    try:
        texts = [one.text for one in joined(whole(TextFiles(f"text:{pattern}", pattern or "", None).sources()))]
    except BadInput as error:
        raise BadInput(f"--{flag}: {str(error).removeprefix('data.corpora: ')}") from error
    if not texts:
        raise BadInput(f"--{flag}={pattern}: holds no text")
    return texts


def same_tokens(folder: str, reference: str) -> None:
    if source.described(folder)[1] != source.described(reference)[1]:
        raise BadInput(f"--reference={reference}: its tokenizer is another, so their likelihoods cannot be compared")


def opened(folder: str) -> Model:
    on = mesh_for(source.described(folder)[0])
    return Model(source.open_run(folder, on), on)


def of_canaries(
    asked: Asked, model: Model, reference: Model | None, found: Canaries
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The figures of the canaries, and of the attacks that tell planted ones from those left out."""
    given, on = model
    n = len(found.canaries) * (1 + asked.others)
    with telling(f"{asked.folder}: codes", n, "codes") as tell:
        measured = memorised.measure(
            given.params,
            given.cfg.model,
            given.tokenizer,
            found,
            n_others=asked.others,
            seed=asked.seed,
            on=on,
            tell=tell,
        )
    prefixes = memorised.asked(found, given.tokenizer)
    writer = decode.writer(given.params, given.cfg.model)
    with telling(f"{asked.folder}: extraction", len(prefixes) * (1 + asked.samples), "texts") as tell:
        extracted = extraction.extract(
            writer, given.tokenizer, prefixes, samples=asked.samples, seed=asked.seed, tell=tell
        )
    figures = report.Asked(asked.others, asked.samples, asked.delta, asked.seed)
    told = {"file": asked.canaries, **report.of_canaries(found, measured, extracted, figures)}
    texts = [found.prefix(canary) + found.secret(canary, canary.code) for canary in found.canaries]
    scored = Scored(measured.nats, texts, None if reference is None else of_codes(reference, found))
    planted_N = memorised.groups(found).planted_N
    return told, list(report.of_attacks("canaries", membership.scores(scored), planted_N, asked.seed))


def of_codes(model: Model, found: Canaries) -> Nats:
    given = model.given
    return memorised.code_nats(given.params, given.cfg.model, given.tokenizer, found, model.on)


def of_texts(
    asked: Asked, model: Model, reference: Model | None, members: Sequence[str], others: Sequence[str]
) -> list[dict[str, Any]]:
    """The attacks that tell texts apart: of each as much as both models' contexts hold."""
    models = [one for one in (model, reference) if one is not None]
    context = min(one.given.cfg.model.context for one in models)
    nats: list[Nats] = []
    texts: list[str] = []
    for one in models:
        with telling(f"{one.given.run}: texts", len(members) + len(others), "texts") as tell:
            found, texts = membership.of_texts(
                one.given.params,
                one.given.cfg.model,
                one.given.tokenizer,
                [*members, *others],
                context,
                one.on,
                tell,
            )
            nats.append(found)
    scored = Scored(nats[0], texts, nats[1] if reference is not None else None)
    member_N = np.arange(len(texts)) < len(members)
    return list(report.of_attacks("texts", membership.scores(scored), member_N, asked.seed))
