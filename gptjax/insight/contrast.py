"""What an experiment asks of a model: one number a row, whatever is done to the run."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gptjax.config import BadInput, ModelConfig
from gptjax.model import gpt


class Contrast(NamedTuple):
    """The logit of the token `right_B` less that of `wrong_B`, after position `at_B` of each row (-1 is the last).

    Where `wrong_B` is None, the log-probability of `right_B`, in nats. It is data and no function, so that what is
    compiled for one question answers all others.
    """

    at_B: Int[Array, " B"]
    right_B: Int[Array, " B"]
    wrong_B: Int[Array, " B"] | None = None


def measured(params: dict, final_BTD: Float[Array, "B T D"], asked: Contrast, cfg: ModelConfig) -> Float[Array, " B"]:
    """The contrast of each row, from the "final" activation: only the logits after `at_B` are computed."""
    rows_B = jnp.arange(len(final_BTD))
    logits_BV = gpt.unembed(params, final_BTD[rows_B, asked.at_B][:, None], cfg)[:, 0]
    right_B = logits_BV[rows_B, asked.right_B]
    if asked.wrong_B is None:
        return right_B - jax.nn.logsumexp(logits_BV, axis=-1)
    return right_B - logits_BV[rows_B, asked.wrong_B]


def check(tokens_BT: Int[Array, "B T"], asked: Contrast) -> None:
    """Raises BadInput where the question is not of as many rows as the tokens."""
    for name, asked_B in asked._asdict().items():
        if asked_B is not None and len(asked_B) != len(tokens_BT):
            raise BadInput(f"Contrast.{name} has {len(asked_B)} rows, but the tokens have {len(tokens_BT)}")
