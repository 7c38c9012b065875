"""All that `gptjax inspect` shows of one text, and of what patching from it into another does."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gptjax.config import BadInput, ModelConfig
from gptjax.insight import attribution, heads, lens, patching, residual
from gptjax.insight.attribution import Direct
from gptjax.insight.contrast import Contrast
from gptjax.insight.heads import Scores
from gptjax.insight.lens import Lens

LIKELIEST = 5  # tokens of a reading of the lens
REPEATED = 4, 50  # rows, and random tokens before they come again, at most: on which heads are scored


class Patches(NamedTuple):
    """How far the answer moves from the corrupted run's (0) to this text's (1)."""

    tokens_T: np.ndarray  # of the corrupted text
    positions_LT: np.ndarray  # the residual stream before a layer, at a position
    heads_LN: np.ndarray  # what a head writes, at all positions
    base: float  # the answer in the corrupted run, and in this text's: nats, or a difference of logits
    source: float


class Look(NamedTuple):
    """Of one row; without its axis."""

    tokens_T: np.ndarray
    answer: int  # the token that is asked for after the last position
    instead: int | None  # the token it is held against; None: against all others
    lens: Lens
    probs_LNTS: np.ndarray
    direct: Direct  # of the token that comes, and after the last position of the answer
    gradient_T: np.ndarray  # gradient x input of the answer
    scores: Scores
    norms_RT: np.ndarray  # of the residual stream
    patches: Patches | None


def look(
    params: dict,
    tokens_T: np.ndarray,
    cfg: ModelConfig,
    corrupted_T: np.ndarray | None = None,
    answer: int | None = None,
    instead: int | None = None,
    tell: Callable[[str], None] = lambda what: None,
) -> Look:
    """Looks at a text. Where no answer is given it is the model's likeliest token; `instead`, with a corrupted text
    alone, is what the model says after that one. `tell` hears what is done next. Raises BadInput."""
    check(tokens_T, corrupted_T, cfg)
    tokens_BT = jnp.asarray(tokens_T, jnp.int32)[None]
    corrupted_BT = None if corrupted_T is None else jnp.asarray(corrupted_T, jnp.int32)[None]
    tell("lens")
    seen = lens.predictions(params, tokens_BT, cfg, k=min(LIKELIEST, cfg.vocab_size))
    answer = int(seen.tokens_RBTk[-1, 0, -1, 0]) if answer is None else answer
    if instead is None and corrupted_BT is not None:
        says = int(lens.predictions(params, corrupted_BT, cfg, k=1).tokens_RBTk[-1, 0, -1, 0])
        instead = None if says == answer else says
    asked = Contrast(jnp.array([-1]), jnp.array([answer]), None if instead is None else jnp.array([instead]))
    right_BT = jnp.append(tokens_BT[:, 1:], jnp.array([[answer]]), axis=1)
    n_rows, n_tokens = REPEATED
    repeated_BT = heads.repeated(jax.random.key(0), cfg, n_rows, min(n_tokens, cfg.context // 2))
    tell("patching")
    patches = None if corrupted_BT is None else patched(params, corrupted_BT, tokens_BT, asked, cfg)
    tell("attention and attribution")
    on_host = lambda found: jax.tree.map(np.asarray, found)
    return Look(
        tokens_T=np.asarray(tokens_T),
        answer=answer,
        instead=instead,
        lens=on_host(Lens(*(part[:, 0] for part in seen))),
        probs_LNTS=np.asarray(heads.attention(params, tokens_BT, cfg)[:, 0]),
        direct=on_host(one_row(attribution.direct(params, tokens_BT, right_BT, None, cfg))),
        gradient_T=np.asarray(attribution.gradient_x_input(params, tokens_BT, asked, cfg)[0]),
        scores=on_host(heads.scores(params, repeated_BT, cfg)),
        norms_RT=np.asarray(residual.norms(params, tokens_BT, cfg).stream_RBT[:, 0]),
        patches=patches,
    )


def one_row(found: Direct) -> Direct:
    """Without the axis of rows, which comes after that of layers where there is one."""
    return Direct(**{name: part[:, 0] if "LB" in name else part[0] for name, part in found._asdict().items()})


def patched(params: dict, base_BT: jax.Array, source_BT: jax.Array, asked: Contrast, cfg: ModelConfig) -> Patches:
    by_position = patching.positions(params, base_BT, source_BT, asked, cfg)
    by_head = patching.heads(params, base_BT, source_BT, asked, cfg)
    return Patches(
        tokens_T=np.asarray(base_BT[0]),
        positions_LT=np.asarray(by_position.moved[..., 0]),
        heads_LN=np.asarray(by_head.moved[..., 0]),
        base=float(by_position.base_B[0]),
        source=float(by_position.source_B[0]),
    )


def check(tokens_T: np.ndarray, corrupted_T: np.ndarray | None, cfg: ModelConfig) -> None:
    """Raises BadInput for texts that cannot be looked at."""
    n = len(tokens_T)
    if n < 2:
        raise BadInput(f"the prompt has {n} token; a look needs at least 2, since the first is foretold by nothing")
    if n > cfg.context:
        raise BadInput(f"the prompt has {n:,} tokens; the model reads at most model.context={cfg.context:,}")
    if corrupted_T is not None and len(corrupted_T) != n:
        raise BadInput(
            f"the corrupted prompt has {len(corrupted_T)} tokens and the prompt {n}; patching needs as many of both"
        )
