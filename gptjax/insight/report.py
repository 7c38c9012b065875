"""`gptjax inspect --html`: a page on which one text can be looked at from all sides, and which loads nothing."""

import base64
import math
import pathlib
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Array

from gptjax import pages
from gptjax.insight.look import Look

PAGE = pathlib.Path(__file__).parent / "page"
SCRIPTS = ("data.js", "text.js", "attention.js", "lens.js", "parts.js", "main.js")
SMALL = 40  # pixels of a small attention map, at most


def html(found: Look, name: str, spelled: Callable[[int], str]) -> str:
    """The page, whole; `spelled` is the text of a token."""
    return pages.filled("gptjax inspect", PAGE, SCRIPTS, data(found, name, spelled))


def data(found: Look, name: str, spelled: Callable[[int], str]) -> dict[str, Any]:
    """What the page knows."""
    _, n_heads, n_tokens, _ = found.probs_LNTS.shape
    likely = found.lens.tokens_RBTk
    ids = [found.tokens_T, likely, [found.answer, *([] if found.instead is None else [found.instead])]]
    ids += [] if found.patches is None else [found.patches.tokens_T]
    words = {int(one): spelled(int(one)) for one in np.unique(np.concatenate([np.ravel(part) for part in ids]))}
    small = min(SMALL, n_tokens)
    return {
        "name": name,
        "words": words,
        "tokens": found.tokens_T.tolist(),
        "answer": found.answer,
        "instead": found.instead,
        "heads": n_heads,
        "likely": likely.tolist(),
        "nats": numbers(-np.asarray(found.lens.log_probs_RBTk)),  # of the likeliest
        "next": numbers(found.lens.nats_RBt),  # of the token that comes
        "kl": numbers(found.lens.kl_RBT),
        "norms": numbers(found.norms_RT),
        "attention": [[packed(lower(squeezed(map_TS))) for map_TS in layer] for layer in found.probs_LNTS],
        "small": small,
        "maps": packed(squeezed(shrunk(found.probs_LNTS, small))),
        "scores": {part.removesuffix("_LN"): numbers(values) for part, values in found.scores._asdict().items()},
        "direct": {part.rpartition("_")[0]: numbers(values) for part, values in found.direct._asdict().items()},
        "gradient": numbers(found.gradient_T),
        "patches": None if found.patches is None else of_patches(found),
    }


def of_patches(found: Look) -> dict[str, Any]:
    assert found.patches is not None
    return {
        "tokens": found.patches.tokens_T.tolist(),
        "positions": numbers(found.patches.positions_LT),
        "heads": numbers(found.patches.heads_LN),
        "base": number(float(found.patches.base)),
        "source": number(float(found.patches.source)),
    }


def squeezed(probs: np.ndarray) -> np.ndarray:
    """A byte for each: 255 times the root, so that small weights keep some digits."""
    return np.rint(255 * np.sqrt(np.clip(probs, 0, 1))).astype(np.uint8)


def lower(map_TS: np.ndarray) -> np.ndarray:
    """The rows of a map up to the query itself, one after another: nothing is attended to that comes later."""
    return map_TS[np.tril_indices(len(map_TS))]


def shrunk(probs_LNTS: np.ndarray, size: int) -> np.ndarray:
    """Each map as so many pixels a side, each of which is the greatest weight of its part."""
    edges = np.linspace(0, probs_LNTS.shape[-1], size + 1).astype(int)[:-1]
    return np.maximum.reduceat(np.maximum.reduceat(probs_LNTS, edges, axis=-1), edges, axis=-2)


def packed(values: np.ndarray) -> str:
    """zlib in base64, which a browser undoes."""
    return base64.b64encode(zlib.compress(values.tobytes())).decode()


def numbers(values: np.ndarray | Array) -> Any:
    """Nested lists, with no more digits than are shown."""
    nested = lambda part: [nested(one) for one in part] if isinstance(part, list) else number(part)
    return nested(values.tolist())


def number(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
