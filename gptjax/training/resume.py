"""What may differ between a run's config and the one it is resumed with, by the rules of `config.resume_rule`."""

import dataclasses
import itertools
import json
from collections.abc import Mapping

from gptjax.config import BadInput, ModelConfig, flatten, resume_rule
from gptjax.data.checks import shard_name

WEIGHTS_FIT_ANY = ("dropout", "dtype")  # what a new run may choose afresh for given weights


def check_resume(old_config: Mapping, new_config: Mapping, *, run: str, change_optimizer: bool) -> dict[str, list]:
    """The permitted differences of two nested configs, {"n_steps": [old, new]}, for `sessions` of run.json.

    Raises BadInput naming every key whose difference is not permitted.
    """
    old, new = (flatten(json.loads(json.dumps(config))) for config in (old_config, new_config))  # tuples become lists
    changed = {
        key: [old[key] if key in old else "absent", new[key] if key in new else "absent"]
        for key in sorted(old.keys() | new.keys())
        if key not in old or key not in new or old[key] != new[key]
    }
    never = [key for key in changed if resume_rule(key) == "never"]
    optimizer = [key for key in changed if resume_rule(key) == "optimizer" and not change_optimizer]
    if never or optimizer:
        differences = "; ".join(f"{key} was {changed[key][0]}, is now {changed[key][1]}" for key in never + optimizer)
        advice = (
            "model, tokenizer, data and seed never change within a run: "
            f"start a new one with --config.init_from={run} --workdir=NEW"
            if never
            else "changing the optimizer within a run needs --change_optimizer"
        )
        raise BadInput(f"resume of {run}: {differences}; {advice}")
    return changed


def check_fingerprints(saved: Mapping, now: Mapping, *, run: str) -> None:
    """Raises BadInput where the tokenizer or the text is not the one that a checkpoint's meta was saved with."""
    if saved["tokenizer"] != now["tokenizer"]:
        found = "the tokenizer has changed since it was saved, its ids would mean other text"
    elif saved["data"] != now["data"]:
        shard = other_shard(saved["data"], now["data"])
        found = f"the data has changed since it was saved, its batches would differ: {shard}"
    else:
        return
    raise BadInput(f"resume of {run}: {found}; start a new run with --config.init_from={run} --workdir=NEW")


def other_shard(saved: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> str:
    """The first shard that differs of stores {"corpus/split": hashes of their shards}, and how."""
    return next(
        f"{shard_name(index)} of {store} was {old[:12]}, is now {new[:12]} (SHA-256)"
        for store in sorted(saved.keys() | now.keys())
        for index, (old, new) in enumerate(
            itertools.zip_longest(*(of[store] if store in of else [] for of in (saved, now)), fillvalue="absent")
        )
        if old != new
    )


def check_weights(given: ModelConfig, wanted: ModelConfig, *, origin: str) -> None:
    """Raises BadInput naming every option in which weights of `origin` do not fit the model that is asked for."""
    differing = [
        field.name
        for field in dataclasses.fields(ModelConfig)
        if resume_rule(f"model.{field.name}") == "never"
        and field.name not in WEIGHTS_FIT_ANY
        and getattr(given, field.name) != getattr(wanted, field.name)
    ]
    if differing:
        there, here = ({name: getattr(model, name) for name in differing} for model in (given, wanted))
        told = "; ".join(f"model.{name} is {there[name]} there, {here[name]} here" for name in differing)
        keys = " ".join(f"--config.model.{name}={there[name]}" for name in differing)
        raise BadInput(f"init_from={origin}: {told}; for that model: {keys}")
