"""Numbers that go around among all processes beside the steps and are read later: no device waits for them.

Every process calls each at the same places of its loop.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gptjax.training.stop import REASONS, Stop


def together(stop: Stop) -> Callable[[], bool]:
    """`stop` for all processes at the same step, when any of them is told to; called once a step by each.

    A number goes around with every step and is read two steps later, when it has long arrived.
    """
    if jax.process_count() == 1:
        return stop
    words = [one_each(word, placed("all")) for word in range(len(REASONS))]
    largest = jax.jit(lambda words_D: jnp.max(words_D, keepdims=True), out_shardings=placed(None))
    under_way: list[jax.Array] = []

    def ask() -> bool:
        stop()
        under_way.append(largest(words[REASONS.index(stop.reason)]))
        if len(under_way) <= 2:
            return False
        heard = int(np.asarray(under_way.pop(0))[0])
        stop.reason = REASONS[heard] or stop.reason
        return bool(heard)

    return ask


def shared() -> Callable[[int], Callable[[], Sequence[int]]]:
    """Sends a number of 32 bits to all; what it returns waits for those of all, one of each process."""
    if jax.process_count() == 1:
        return lambda number: lambda: [number]
    everywhere = jax.jit(lambda numbers_D: numbers_D, out_shardings=placed(None))
    each, of_process = placed("all"), [device.process_index for device in jax.devices()]

    def send(number: int) -> Callable[[], Sequence[int]]:
        sent = everywhere(one_each(number, each))
        return lambda: list(dict(zip(of_process, np.asarray(sent).tolist(), strict=True)).values())

    return send


def placed(axis: str | None) -> NamedSharding:
    return NamedSharding(Mesh(np.array(jax.devices()), ("all",)), PartitionSpec(axis))


def one_each(number: int, each: NamedSharding) -> jax.Array:
    """An array with a number of this process at each of its devices, and those of the others at theirs."""
    numbers_D = np.full(jax.device_count(), number, np.uint32)
    return jax.make_array_from_callback(numbers_D.shape, each, lambda index: numbers_D[index])
