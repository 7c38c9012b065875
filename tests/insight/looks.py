"""A look at a text that no model took, of any size: for pages."""

import jax.numpy as jnp
import numpy as np

from gptjax.insight.attribution import Direct
from gptjax.insight.heads import Scores
from gptjax.insight.lens import Lens
from gptjax.insight.look import LIKELIEST, Look, Patches

WORDS = ["the", " house", " of", "\n", "  ", "<script>", "é", "", " a", '"quoted"', "\t", "&amp;"]


def spelled(token: int) -> str:
    return WORDS[token % len(WORDS)]


def made(n_layers: int = 2, n_heads: int = 3, n_tokens: int = 8, seed: int = 0) -> Look:
    draw = np.random.default_rng(seed)
    normal = lambda *shape: draw.standard_normal(shape).astype(np.float32)
    scores = np.where(np.tri(n_tokens, dtype=bool), 3 * normal(n_layers, n_heads, n_tokens, n_tokens), -np.inf)
    probs = np.exp(scores - scores.max(-1, keepdims=True))
    tokens = draw.integers(0, len(WORDS), n_tokens)
    R, L, N, T = n_layers + 1, n_layers, n_heads, n_tokens
    return Look(
        tokens_T=tokens,
        answer=2,
        instead=3,
        lens=Lens(
            jnp.asarray(draw.integers(0, len(WORDS), (R, T, LIKELIEST))),
            jnp.log(jnp.tile(jnp.array([0.5, 0.2, 0.1, 0.05, 0.01]), (R, T, 1))),
            jnp.abs(3 * normal(R, T - 1)),
            jnp.abs(normal(R, T)),
        ),
        probs_LNTS=probs / probs.sum(-1, keepdims=True),
        direct=Direct(
            *map(jnp.asarray, (normal(T), normal(L, T, N), normal(L, T), normal(L, T), normal(T), normal(T)))
        ),
        gradient_T=normal(T),
        scores=Scores(*(jnp.abs(normal(L, N)) for _ in range(3))),
        norms_RT=np.abs(normal(R, T)),
        patches=Patches(np.where(np.arange(T) == T // 2, 5, tokens), normal(L, T), normal(L, N), -1.5, 2.5),
    )
