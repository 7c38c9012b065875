"""How fast each parameter learns: `tune.*` and `lora.*` as factors of the learning rate, by name; imports no jax."""

import re
from collections.abc import Collection, Mapping

from gptjax.config import BadInput, Config
from gptjax.model import adapters
from gptjax.model.adapters import BLOCKS

REFERENCE = "reference"  # the tree, among a run's parameters, that DPO holds its model against
Factors = tuple[float, ...]  # of each layer, or the one of a parameter that belongs to none; 0 is frozen


def of_names(names: Collection[str], cfg: Config) -> dict[str, Factors]:
    """The factors of the parameters with these names, adapters included.

    Patterns fit whole names with the number of the layer ("blocks/3/attn/w_q"), and the first that fits counts. A
    reference is frozen. Beside adapters everything else is, and patterns are of the adapters. Raises BadInput for a
    pattern that fits nothing, and where nothing is left to train.
    """
    patterns = [re.compile(pattern) for pattern in cfg.tune.patterns]
    tuned = {
        name: [numbered(name, layer) for layer in range(cfg.model.n_layers if name.startswith(BLOCKS) else 1)]
        for name in names
        if not name.startswith(f"{REFERENCE}/") and (not cfg.lora.rank or adapters.is_adapter(name))
    }
    single = [one for layers in tuned.values() for one in layers]
    for pattern in patterns:
        if not any(pattern.fullmatch(one) for one in single):
            near = adapters.nearest(pattern.pattern, single)
            raise BadInput(
                f"tune.patterns: {pattern.pattern!r} fits no {'adapter' if cfg.lora.rank else 'parameter'}, as whole "
                f"names go; did you mean {near}?"
            )

    def factor(one: str) -> float:
        fitting = (rate for pattern, rate in zip(patterns, cfg.tune.rates, strict=True) if pattern.fullmatch(one))
        return next(fitting, 1.0)

    found = {name: tuple(map(factor, tuned[name])) if name in tuned else (0.0,) for name in names}
    if not any(map(any, found.values())):
        raise BadInput(f"tune.rates={cfg.tune.rates}: nothing is left to train; leave one above 0")
    return found


def numbered(name: str, layer: int) -> str:
    """The name of one layer's part of a parameter."""
    return name.replace(BLOCKS, f"{BLOCKS}{layer}/", 1) if name.startswith(BLOCKS) else name


def shares(found: Mapping[str, Factors]) -> dict[str, float]:
    """The part of each parameter that is trained."""
    return {name: sum(factor > 0 for factor in of) / len(of) for name, of in found.items()}
