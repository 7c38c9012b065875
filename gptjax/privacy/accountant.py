"""What so many steps of DP-SGD cost, by dp-accounting's privacy loss distributions (Koskela et al. 2020, Doroshenko et
al. 2022). Neighbours are lists with one example more or less.

A step whose batch would have been larger than its rows leaves some examples out, so one example more may push out
another: such steps cost more, and are counted as dp-accounting counts them.
"""

import concurrent.futures
import functools
import math
from typing import Any, NamedTuple

from gptjax.config import BadInput

ROUGH = 2.0**-6  # the widest interval in which losses are told apart; every one rounds up, so no epsilon is too small
PRECISION = 1e-3  # part of an epsilon by which it may be too large
SPACING = 1.02  # between numbers of steps of which a line's epsilon is computed: it may be of 2 % more steps


class Mechanism(NamedTuple):
    """One step: who is drawn, and how much noise is on the sum."""

    noise_multiplier: float
    n_examples: int
    mean: int  # examples that a step draws on average
    most: int  # rows of its batch

    @property
    def rate(self) -> float:
        """The probability with which each example is drawn into a step."""
        return self.mean / self.n_examples

    @property
    def overflow(self) -> float:
        """The probability that a step draws more than it has rows."""
        from scipy import special  # which takes longer to load than all else that `train` needs of this file

        return float(special.bdtrc(self.most, self.n_examples, self.rate))


def library() -> Any:
    """dp-accounting, which only a private run loads: that takes a second."""
    try:
        from dp_accounting.pld import privacy_loss_distribution
    except ImportError as error:
        raise BadInput(
            "privacy.clip_norm: epsilon is counted by dp-accounting; pip install 'gptjax[privacy]'"
        ) from error
    return privacy_loss_distribution


@functools.lru_cache(16)
def losses(step: Mechanism, interval: float) -> Any:
    """The distribution of the privacy loss of one step."""
    return library().from_truncated_subsampled_gaussian_mechanism(
        step.n_examples,
        step.rate,
        step.most,
        step.noise_multiplier,
        value_discretization_interval=interval,
    )


def interval_for(about: float, n_steps: int) -> float:
    """The interval, a power of 2, with which an epsilon of about that size comes out so precise: a step adds
    about interval^2 / 2 (measured)."""
    return min(2.0 ** math.floor(math.log2(math.sqrt(PRECISION * about / n_steps) / 2)), ROUGH)


def epsilon(step: Mechanism, n_steps: int, delta: float, interval: float | None = None) -> float:
    """The epsilon of so many steps at a delta, rounded up by a thousandth at most; infinite without noise."""
    if n_steps == 0:
        return 0.0
    if step.noise_multiplier == 0:
        return math.inf
    if interval is None:
        interval = interval_for(max(epsilon(step, n_steps, delta, ROUGH), 1e-3), n_steps)
    return float(losses(step, interval).self_compose(n_steps).get_epsilon_for_delta(delta))


def noise_for(target: float, step: Mechanism, n_steps: int, delta: float) -> float:
    """The least noise multiplier, to a thousandth of it and rounded up, with which so many steps cost no more than the
    target. Raises BadInput where none does."""
    interval = interval_for(target, n_steps)
    enough = lambda noise: epsilon(step._replace(noise_multiplier=noise), n_steps, delta, interval) <= target
    high = 1.0
    while not enough(high):
        high *= 2
        if high > 1e4:
            raise BadInput(f"privacy.epsilon={target}: no noise is enough for it with privacy.delta={delta}; try 1.0")
    low = high / 2
    while low > 0.1 and enough(low):
        low, high = low / 2, low
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return round(high + 5e-7, 6)


class Accountant:
    """Epsilons of a run, for the lines of its log: computed in a thread, a line ahead, so that no step waits."""

    def __init__(self, step: Mechanism, delta: float, n_steps: int, every: int):
        self.step, self.delta, self.n_steps, self.every = step, delta, n_steps, every
        self.thread = concurrent.futures.ThreadPoolExecutor(1, "accountant")
        self.known: dict[int, concurrent.futures.Future] = {}

    def exactly(self, n: int) -> float:
        """The epsilon of n steps."""
        return epsilon(self.step, n, self.delta)

    def at_most(self, n: int) -> float:
        """The epsilon of n steps, or of at most 2 % more; of n at the end."""
        self.ask(n)
        found = self.known[self.rounded(n)].result()
        self.ask(min(n + self.every, self.n_steps))
        return found

    def ask(self, n: int) -> None:
        n = self.rounded(n)
        if n not in self.known:
            self.known[n] = self.thread.submit(epsilon, self.step, n, self.delta)

    def rounded(self, n: int) -> int:
        """The next number, from n on, of those of which epsilons are computed."""
        if n <= 0:
            return 0
        return max(n, min(math.floor(SPACING ** math.ceil(math.log(n) / math.log(SPACING))), self.n_steps))

    def close(self) -> None:
        """Waits for the epsilon that is being computed, and for no other."""
        self.thread.shutdown(cancel_futures=True)
