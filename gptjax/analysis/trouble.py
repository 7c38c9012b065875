"""What has gone wrong in a run, by its log alone: one line each, with the step to look at.

Everything is held against the run's own noise (medians and median deviations, which a few wild values do not move) and
against a share below which nobody cares; a rule that cannot tell says nothing. A window is a number of logged lines.
"""

import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from gptjax.analysis.medians import median, medians
from gptjax.analysis.run import Run, Series

OF_NORMAL = 1.4826  # standard deviations of a normal distribution in one median deviation
SPIKE = 8.0  # deviations above the lines before; the greatest of ten million normal values lies 5.2 above
SPIKE_RISE = 0.05  # of the loss
FLAT = (
    0.005  # of the loss: a fall that is surely less, over FLAT_TENTHS of the run. 410 / D^0.28 (Hoffmann et al. 2022)
)
FLAT_TENTHS = 4  # falls by 15 % of itself there, some 1 % of a loss
LOW_RATE = 0.1  # of the highest learning rate: below it a loss that stands still is no trouble
GROWTH = 4.0  # times: gradient norms rise some two times as the rate decays (Defazio 2025, arXiv:2506.02285)
WAITING = 0.2  # of the time of the updates
SLOWER = 0.2  # of the tokens/s before
MOST = 5  # lines of one kind
OF_THE_MODEL = ("train/", "eval/", "grad/", "update/", "param/")  # beginnings of metrics that are always finite


class Trouble(NamedTuple):
    step: int
    kind: str  # "not finite", "spike", "plateau", "growing gradients", "waits for data", "slower", "restart", "stale"
    text: str


def find(run: Run) -> list[Trouble]:
    """All that looks wrong, by step: of a kind the MOST that are worst, and a line that counts the others."""
    loss, rate = finite(run.series("train/nll")), finite(run.series("optim/lr"))
    found = [
        *not_finite(run),
        *fewest(told_by_the_run(run, list(spikes(loss))), "spike"),
        *plateau(loss, rate),
        *growing(finite(run.series("grad/norm")), rate),
        *fewest(waiting(run.series("perf/data_wait_s"), run.series("perf/tokens_per_s")), "waits for data"),
        *fewest(slower(finite(run.series("perf/tokens_per_s"))), "slower"),
        *fewest(restarts(run), "restart"),
        *stale(run),
    ]
    return sorted(found)


class Found(NamedTuple):
    weight: float  # how bad, beside others of its kind
    first: int
    last: int  # steps
    text: str


def fewest(found: Sequence[Found] | Iterator[Found], kind: str) -> list[Trouble]:
    worst = sorted(found, key=lambda one: -one.weight)
    shown = [Trouble(one.first, kind, one.text) for one in worst[:MOST]]
    if rest := worst[MOST:]:
        first, last = min(one.first for one in rest), max(one.last for one in rest)
        shown.append(Trouble(first, kind, f"{len(rest)} more, less bad, from step {first:,} to {last:,}"))
    return shown


def finite(series: Series) -> Series:
    keep = np.isfinite(series.value)
    return series if keep.all() else Series(*(part[keep] for part in series))


def deviations(blocks_KW: np.ndarray) -> np.ndarray:
    """For each block the standard deviation that a normal distribution with its median deviation has."""
    return OF_NORMAL * medians(np.abs(blocks_KW - medians(blocks_KW)[:, None]))


def in_blocks(value: np.ndarray, size: int) -> np.ndarray:
    """(block, line): whole blocks of neighbours, counted from the end; what does not fill one is left out."""
    n = len(value) // size
    return value[len(value) - n * size :].reshape(n, size)


def not_finite(run: Run) -> Iterator[Trouble]:
    first = {}
    for metric in (name for name in run.metrics if name.startswith(OF_THE_MODEL)):
        series = run.series(metric)
        wrong = np.flatnonzero(~np.isfinite(series.value))
        if len(wrong):
            first[metric] = int(series.step[wrong[0]]), series.value[wrong[0]]
    if first:
        step = min(at for at, _ in first.values())
        names = {np.inf: "Infinity", -np.inf: "-Infinity"}
        here = [f"{name} is {names.get(value, 'NaN')}" for name, (at, value) in first.items() if at == step]
        yield Trouble(step, "not finite", ", ".join(here))


def spikes(loss: Series) -> Iterator[Found]:
    """Losses far above the lines before them, each until it has come back."""
    value = loss.value
    width = int(np.clip(len(value) // 8, 16, 64))
    blocks_KW = in_blocks(value, width)
    if len(blocks_KW) < 2:
        return
    usual = 0.5 * median(deviations(blocks_KW))  # a window whose lines agree by chance is not believed
    medians_K = medians(blocks_KW)
    before_K = np.minimum(medians_K[:-1], medians_K[1:])  # a first look, by blocks; then window by window
    offset = len(value) - blocks_KW[1:].size
    high_KW = blocks_KW[1:] > (before_K + np.maximum(0.5 * SPIKE * usual, SPIKE_RISE * np.abs(before_K)))[:, None]
    at_C = offset + np.flatnonzero(high_KW)
    windows_CW = np.lib.stride_tricks.sliding_window_view(value, width)[at_C - width]
    median_C, noise_C = medians(windows_CW), np.maximum(deviations(windows_CW), usual)
    over = 0
    for at, usually, noise in zip(at_C, median_C, noise_C, strict=True):
        if at < over:
            continue
        rise = value[at] - usually
        if rise <= SPIKE * noise or rise <= SPIKE_RISE * abs(usually):
            continue
        later = value[at : at + width]
        back = np.flatnonzero(later < usually + max(3 * noise, 0.2 * rise))
        n = int(back[0]) if len(back) else len(later)
        over = at + max(n, 1)
        peak, first = float(later[:n].max()), int(loss.step[at])
        ends = f"back by step {loss.step[over]:,}" if len(back) else f"not back by step {loss.step[over - 1]:,}"
        z = (peak - usually) / noise if noise else np.inf
        text = f"train/nll {peak:.4g}, {z:.0f} deviations above the {usually:.4g} before; {ends}"
        yield Found(z, first, int(loss.step[over - 1]), text)


def told_by_the_run(run: Run, found: list[Found]) -> list[Found]:
    """The spikes of the log, and those that the run itself saw, with what it did."""
    told = run.header["spikes"] if isinstance(run.header.get("spikes"), list) else []
    for one in told:
        if not (isinstance(one, dict) and isinstance(one.get("step"), int) and isinstance(one.get("z"), int | float)):
            continue
        step, seen = one["step"], f"the run saw {one['z']:.1f} deviations (spike.action={one.get('action')})"
        at = next((n for n, spike in enumerate(found) if spike.first <= step <= spike.last), None)
        if at is None:
            found.append(Found(float(one["z"]), step, step, seen))
        else:
            found[at] = found[at]._replace(text=f"{found[at].text}; {seen}")
    return found


def plateau(loss: Series, rate: Series) -> Iterator[Trouble]:
    """The longest stretch over which the loss has surely not fallen by FLAT, two standard errors included."""
    n_bins = 100
    if len(loss.value) < 2 * n_bins:
        return
    value = medians(in_blocks(loss.value, len(loss.value) // n_bins)[-n_bins:])
    step = in_blocks(loss.step, len(loss.value) // n_bins)[-n_bins:]
    for tenths in range(10, FLAT_TENTHS - 1, -1):
        for start in range(0, n_bins - 10 * tenths + 1, 10):
            part = value[start : start + 10 * tenths]
            x = np.linspace(-0.5, 0.5, len(part))
            fall = -float(x @ part) / float(x @ x)  # by least squares
            if fall > FLAT * abs(part[0]):
                continue
            residual = part - part.mean() + fall * x
            error = float(np.sqrt(residual @ residual / (len(part) - 2) / (x @ x)))
            first, last = int(step[start, 0]), int(step[start + 10 * tenths - 1, -1])
            if fall + 2 * error < FLAT * abs(part.mean()) and not slow_rate(rate, first, last):
                change = f"fell by {fall:.2g}" if fall > 0 else f"rose by {-fall:.2g}"
                yield Trouble(first, "plateau", f"train/nll {change} nats from step {first:,} to {last:,}")
                return


def slow_rate(rate: Series, first: int, last: int) -> bool:
    """Whether the learning rate was low in the second half of a stretch, where the loss is to stand still."""
    inside = (rate.step >= (first + last) / 2) & (rate.step <= last)
    return bool(inside.any()) and median(rate.value[inside]) < LOW_RATE * float(rate.value.max())


def growing(norm: Series, rate: Series) -> Iterator[Trouble]:
    """Gradient norms that have grown GROWTH times over what they were after the warm-up, from block to block."""
    if len(rate.value):  # warm-up: until the rate is all but the highest
        warm = rate.step[np.argmax(rate.value >= 0.99 * rate.value.max())]
        norm = Series(*(part[norm.step >= warm] for part in norm))
    size = max(4, len(norm.value) // 40)
    middle = medians(in_blocks(norm.value[len(norm.value) // 10 :], size))
    steps = in_blocks(norm.step[len(norm.value) // 10 :], size)
    for at in range(4, len(middle)):
        if not middle[at - 2] < middle[at - 1] < middle[at]:
            continue
        usual = median(middle[: at - 2])
        if middle[at] < GROWTH * usual:
            continue
        calm = np.flatnonzero(middle[:at] < 1.5 * usual)
        first, last = int(steps[calm[-1], -1]), int(steps[at, -1])
        if not slow_rate(rate, first, last):
            ends = f"{float(middle[-1]):.3g} at the end"
            times = f"{middle[at] / usual:.1f} times the {usual:.3g} before" if usual else "from 0"
            yield Trouble(first, "growing gradients", f"grad/norm grew to {times} by step {last:,}; {ends}")
            return


def waiting(waited: Series, rate: Series) -> Iterator[Found]:
    """Stretches of lines whose updates spent WAITING of their time on waiting for a batch."""
    _, ours, theirs = np.intersect1d(waited.step, rate.step, assume_unique=True, return_indices=True)
    if len(ours) < 6:
        return
    step, wait_s = waited.step[ours], np.diff(waited.value[ours])  # counts from the start of each session
    with np.errstate(divide="ignore", invalid="ignore"):
        update_s = np.diff(waited.tokens[ours]) / rate.value[theirs][1:]
        share = np.where((wait_s >= 0) & (update_s > 0), wait_s / update_s, 0.0)
    share = np.clip(np.nan_to_num(share), 0.0, 1.0)
    most = np.convolve(share >= WAITING, np.ones(5), "valid") >= 3  # of each and two on either side
    for start, stop in stretches(most):
        inside = slice(start + 2 if start else 0, stop + 2 if stop < len(most) else len(share))
        first, last = int(step[inside.start]), int(step[inside.stop])
        part = float(np.average(share[inside], weights=np.diff(waited.tokens[ours])[inside]))
        text = f"{part:.0%} of the updates' time went into waiting for data, steps {first:,} to {last:,}"
        yield Found(part * (last - first), first, last, text)


def stretches(true: np.ndarray) -> Iterator[tuple[int, int]]:
    """Start and stop of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], true, [False]]).astype(int)))
    yield from ((int(start), int(stop)) for start, stop in zip(edges[::2], edges[1::2], strict=True))


def slower(rate: Series) -> Iterator[Found]:
    """Stretches of at least two blocks that ran slower by SLOWER than the blocks before them, beyond their noise."""
    value, step = rate.value[1:], rate.step[1:]  # the first line has the first batch in it
    size = int(np.clip(len(value) // 20, 8, 64))
    blocks, steps = in_blocks(value, size), in_blocks(step, size)
    if len(blocks) < 3:
        return
    middle = medians(blocks).tolist()
    error = 1.2533 * median(deviations(blocks)) / size**0.5  # of a block's median
    usual, before, slow = [middle[0]], [middle[0]], [False]  # before: what was usual when a block came
    for one in middle[1:]:
        before.append(statistics.median(usual[-9:]))
        slow.append(one < (1 - SLOWER) * before[-1] and before[-1] - one > 4 * error)
        if not slow[-1]:
            usual.append(one)
    for start, stop in stretches(np.array(slow)):
        if stop - start < 2:
            continue
        was, now = before[start], statistics.median(middle[start:stop])
        first, last = int(steps[start, 0]), int(steps[stop - 1, -1])
        text = f"{now:,.0f} tokens/s instead of {was:,.0f} ({now / was - 1:.0%}), steps {first:,} to {last:,}"
        yield Found((1 - now / was) * (last - first), first, last, text)


def restarts(run: Run) -> Iterator[Found]:
    reached = run.sessions[0].last_step if run.sessions else 0
    for number, session in enumerate(run.sessions[1:], 2):
        again = max(0, reached - session.first_step)
        done = f"; steps {session.first_step:,} to {reached:,} were done again" if again else ""
        text = f"session {number} of {len(run.sessions)} began at step {session.first_step:,}{done}"
        yield Found(again, session.first_step, session.first_step, text)
        reached = max(reached, session.last_step)


def stale(run: Run) -> Iterator[Trouble]:
    if run.status == "stale":
        step = run.sessions[-1].last_step if run.sessions else 0
        wanted = run.config["n_steps"] if "n_steps" in run.config else None
        yield Trouble(
            step,
            "stale",
            f"nothing written since step {step:,}" + (f" of {wanted:,}" if isinstance(wanted, int) else ""),
        )
