"""What may differ between a run's config and the one it is resumed with, by the rules of `config.resume_rule`."""

import dataclasses
import json
from collections.abc import Mapping

from gptjax.config import BadInput, ModelConfig, flatten, resume_rule

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
    for what, consequence in (("tokenizer", "its ids would mean other text"), ("data", "its batches would differ")):
        if saved[what] != now[what]:
            raise BadInput(
                f"resume of {run}: the {what} has changed since it was saved, {consequence}; "
                f"start a new run with --config.init_from={run} --workdir=NEW"
            )


def check_weights(given: ModelConfig, wanted: ModelConfig, *, origin: str) -> None:
    """Raises BadInput naming every option in which weights of `origin` do not fit the model that is asked for."""
    differing = [
        f"model.{field.name} is {getattr(given, field.name)} there, {getattr(wanted, field.name)} here"
        for field in dataclasses.fields(ModelConfig)
        if resume_rule(f"model.{field.name}") == "never"
        and field.name not in WEIGHTS_FIT_ANY
        and getattr(given, field.name) != getattr(wanted, field.name)
    ]
    if differing:
        raise BadInput(f"init_from={origin}: " + "; ".join(differing))
