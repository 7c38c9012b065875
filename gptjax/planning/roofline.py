"""Lower bounds of a step's time: what the chips must multiply, read, and send, at their published rates.

Each bound takes its resource as fully used and everything else as free; a step takes at least the largest, the binding
resource. Unknown rates give None. Formulas are of one device; traffic by ring algorithms (Thakur et al. 2005).
"""

from typing import NamedTuple

from gptjax.config import Config
from gptjax.planning import flops, memory
from gptjax.planning.chips import Chip
from gptjax.planning.hlo import Traffic
from gptjax.planning.memory import F32, Number, Ways


class Roofline(NamedTuple):
    """Seconds of a step, at least."""

    compute_s: float | None
    hbm_s: float | None
    ici_s: float | None
    dcn_s: float | None

    @property
    def binding(self) -> str | None:
        """The resource that takes longest, of those whose rates are known."""
        known = {name.removesuffix("_s"): value for name, value in self._asdict().items() if value is not None}
        return max(known, key=lambda name: known[name]) if known else None

    @property
    def step_s(self) -> Number | None:
        """The least time of a step; None where compute's is not known."""
        return None if self.compute_s is None else max(value for value in self if value is not None)


def bound(cfg: Config, ways: Ways, chip: Chip | None, collectives: dict[str, Traffic]) -> Roofline:
    """Seconds that a step takes at the least for its FLOPs, its memory traffic and what it sends, each alone; None
    where the chip, or its peak at the config's dtype, is unknown."""
    if chip is None:
        return Roofline(None, None, None, None)
    peak = chip.peak_flops if cfg.model.dtype == "bfloat16" else None
    n_devices = ways.replica * ways.data * ways.tensor * ways.sequence
    sent = [sum(part) for part in zip(*((one.ici_bytes, one.dcn_bytes) for one in collectives.values()), strict=True)]
    ici, dcn = sent or (0.0, 0.0)
    return Roofline(
        rate(hardware_flops(cfg) / n_devices, peak),
        rate(hbm_bytes(cfg, ways), chip.hbm_bandwidth),
        rate(ici, chip.ici_bandwidth),
        rate(dcn, chip.dcn_bandwidth),
    )


def rate(amount: Number, per_s: Number | None) -> Number | None:
    return 0.0 if amount == 0 else None if per_s is None else amount / per_s


def hardware_flops(cfg: Config) -> Number:
    """FLOPs of a step over all devices: the model's, with what remat and chunks of the loss compute again."""
    m = cfg.model
    head = 2 * m.d_model * m.vocab_size
    forward = flops.train_flops_per_token(m) / 3 - head
    attention = forward - 2 * m.n_layers * flops.layer_weights(m)
    again = {"none": 0, "dots": attention, "full": forward}[m.remat] + (head if cfg.loss.n_chunks > 1 else 0)
    return cfg.batch_tokens * (flops.train_flops_per_token(m) + again)


def hbm_bytes(cfg: Config, ways: Ways) -> Number:
    """Bytes that a device reads and writes in a step, if each array passes once: a lower bound.

    The optimizer reads and writes parameters and moments; each part of the batch reads the weights twice (forward and
    backward) in the compute dtype; what is saved, and the logits, are written once and read once.
    """
    m, held = cfg.model, memory.estimate(cfg, ways)
    weights = memory.layer_size(m, ways) * m.n_layers + m.padded_vocab * m.d_model / ways.tensor
    update = 2 * (held.parameters + held.optimizer) + 2 * held.gradients + 2 * held.narrow
    return update + cfg.accumulate * (
        2 * memory.width(m) * weights + 2 * held.activations + 2 * held.logits * cfg.loss.n_chunks
    )


def traffic(cfg: Config, ways: Ways, n_islands: int) -> dict[str, Traffic]:
    """Bytes that a device sends in a step, by kind, as this layout asks for; the compiler may do otherwise.

    `data` gathers every weight twice for each part of the batch (forward, backward) and scatters its gradient, all
    in the compute dtype; `replica` sums the gradients; `tensor` sums B T D after attention and MLP in the forward
    pass and its gradients in the backward pass; `sequence` gathers keys and values and scatters their gradients.
    Replicas lie between islands (slices, hosts) where there are several, and what they send goes by the slow network.
    """
    m, w, parts = cfg.model, memory.width(cfg.model), cfg.accumulate
    whole = sum(one.size(ways._replace(data=1)) for one in memory.parameters(m).values())
    tokens = cfg.batch_tokens / parts / (ways.replica * ways.data * ways.sequence)
    part = lambda n: (n - 1) / n
    sent = {"all-gather": 0.0, "all-reduce": 0.0, "reduce-scatter": 0.0}
    sent["all-gather"] += 2 * parts * w * whole * part(ways.data)
    sent["reduce-scatter"] += parts * w * whole * part(ways.data)
    sums = 4 + (2 if m.remat == "full" else 0)
    sent["all-reduce"] += 2 * parts * sums * m.n_layers * w * tokens * m.d_model * part(ways.tensor)
    keys = m.n_layers * w * 2 * m.n_kv_heads * m.d_head / ways.tensor * tokens * ways.sequence * part(ways.sequence)
    sent["all-gather"] += parts * keys * (1 if m.remat == "none" else 2)
    sent["reduce-scatter"] += parts * keys
    gradients = 2 * F32 * whole / ways.data * part(ways.replica)
    crosses = n_islands > 1 and ways.replica % n_islands == 0
    found = {kind: Traffic(1, amount, 0.0) for kind, amount in sent.items()}
    if crosses:
        inside = ways.replica // n_islands
        found["all-reduce"] = Traffic(
            1, sent["all-reduce"] + 2 * F32 * whole / ways.data * part(inside),
            2 * F32 * whole / ways.data / inside * part(n_islands),
        )  # fmt: skip
    else:
        found["all-reduce"] = Traffic(1, sent["all-reduce"] + gradients, 0.0)
        if n_islands > 1:  # `data` crosses the slow network: what leaves an island goes once by each of its devices
            crossing = part(n_islands) * n_islands / (ways.replica * ways.data * ways.tensor * ways.sequence)
            for kind in ("all-gather", "reduce-scatter"):
                factor = crossing / part(ways.data) if ways.data > 1 else 0.0
                found[kind] = found[kind]._replace(dcn_bytes=sent[kind] * factor)
    return {kind: one for kind, one in found.items() if one.ici_bytes or one.dcn_bytes}
