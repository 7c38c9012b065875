"""Spikes of the loss, told from noise by the median and the median deviation of the latest losses.

The window lies in the train state and the decision is made in the update, so a run that is resumed or repeated makes
the same ones, and no device waits for the host. A robust z-score: Iglewicz and Hoaglin, "How to Detect and Handle
Outliers", 1993. Going back and leaving batches out: Chowdhery et al., "PaLM", 2022, section 5.1.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gptjax.config import SpikeConfig

OF_NORMAL = 1.4826  # standard deviations of a normal distribution in one median deviation
LEAST = 1e-3  # of the median: smaller deviations are no noise that a spike could be held against


class Spiked(Exception):
    """The loss of a step has spiked, and the run is to go back to before it."""

    def __init__(self, step: int):
        super().__init__(f"the loss has spiked at step {step}")
        self.step = step


def window(cfg: SpikeConfig) -> Float[Array, " W"] | None:
    """The latest losses, oldest first, of which there are none yet; None where nobody looks for spikes."""
    return None if cfg.action == "none" else jnp.full(cfg.window, -1.0)


def saved_with(config: Mapping) -> SpikeConfig:
    """The keys of the nested config in a checkpoint's meta; those from before there were such keys have no window."""
    return SpikeConfig(**config["spike"]) if "spike" in config else SpikeConfig("none", 0.0, 0)


def judge(losses_W: Float[Array, " W"], loss: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, " W"]]:
    """How many standard deviations a loss lies above the median of the window, 0 until that is full; and the next.

    Every loss enters the window: what stays high is no spike, and is the rule after half a window.
    """
    median = jnp.median(losses_W)
    deviation = OF_NORMAL * jnp.median(jnp.abs(losses_W - median))
    z = (loss - median) / jnp.maximum(deviation, LEAST * jnp.abs(median))
    return jnp.where(losses_W[0] >= 0, z, 0.0), jnp.append(losses_W[1:], loss)


def unless(spiked: Any, new: Any, old: Any) -> Any:
    """The new state, or the old one with the new one's counters: the schedule and the batches go on by the step."""
    keep = lambda new, old: new if jnp.issubdtype(new.dtype, jnp.integer) else jnp.where(spiked, old, new)
    return jax.tree.map(keep, new, old)


def moved_on(state: Any, n_steps: int) -> Any:
    """The state as if so many steps had been left out."""
    later = lambda leaf: leaf + n_steps if jnp.issubdtype(leaf.dtype, jnp.integer) else leaf
    return jax.tree.map(later, state)
