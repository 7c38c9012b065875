"""What the tests of this room ask of the two tiny models of tests/model/small.py."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from gptjax.config import ModelConfig
from gptjax.insight.contrast import Contrast
from tests.model import small

# The modern one has all that may go wrong: RMSNorm, rope, few keys, a gate, a head of its own, a soft-cap.
CONFIGS: dict[str, ModelConfig] = {
    "gpt2": dataclasses.replace(small.GPT2, n_layers=3),
    "modern": dataclasses.replace(small.CONFIGS["modern"], n_layers=3, logit_softcap=5.0, remat="full"),
}
CLOSE: dict[str, Any] = dict(atol=2e-5, rtol=2e-5)
base_BT, source_BT = jax.random.randint(jax.random.key(1), (2, 4, 10), 0, small.GPT2.vocab_size)
question = Contrast(jnp.array([9, 5, -1, 7]), jnp.array([3, 1, 4, 1]), jnp.array([5, 9, 2, 6]))
