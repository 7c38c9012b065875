"""Bytes of a device's memory in a training step, by formula: what `gptjax plan` knows before anything is compiled.

Every term is counted from the arrays that the code makes; none is fitted. With B rows and T positions on a device
(after replica, data, sequence and `accumulate` have divided the batch), w bytes a number of `model.dtype`, and widths
divided by `mesh.tensor` where model/table.py says so:

| term | what |
|---|---|
| parameters | float32, adapters too, divided as model/table.py divides them; on a TPU in whole tiles |
| optimizer | moments (and the average of `optim.ema_decay`), of what is trained, divided as that is |
| batch | inputs, targets, weights; segments and positions where documents are masked |
| activations | what the forward pass leaves for the backward pass: `saved_a_token`, of all layers |
| narrow | the device's part of the parameters in the compute dtype: with FSDP, or on a TPU (cast before the loop) |
| summed | with `accumulate`, the float32 gradients of the parts so far, to which each layer's is added |
| gradients | else, of what is trained: float32, or the compute dtype with FSDP; an untied embedding's comes last |
| logits | float32 logits of one chunk; their gradient in w bytes, but a TPU makes it within the products that take it |
| head | the head, whole along `data`, and its gradient; of one chunk, too, where there are several |
| relaid | after the loss, on a TPU where `data` does not cut whole tiles of V: the head and its gradient, each twice |
| gathered | with FSDP, `in_flight`: the weights of layers that are whole along `data`, and gradients |
| layer | what the backward pass of one layer holds besides: `layer_a_token`; cuDNN's mask; the matrices of adapters |

Parameters, optimizer and batch are arguments of the step. Its temporaries peak in the loss (logits, head), just after
it (relaid) or in the backward pass of a layer (gradients, gathered, layer); the other three terms are always there.
"""

from typing import NamedTuple

from gptjax.config import Config, ModelConfig, OptimConfig
from gptjax.keys import GATES, MOMENTS
from gptjax.model.adapters import A
from gptjax.planning.parameters import LANES, Number, Parameter, Ways, held, parameters, trained, with_adapters

F32 = 4
PACKED = 16  # rows of bfloat16 in a TPU's memory tile
WRITTEN_OUT, BLOCKS, MIN_BLOCK, TILE = 1024, 8, 64, 512  # as in model/blockwise.py
FACTORED = 128  # adafactor factors a matrix whose two longest sides are this long


class Memory(NamedTuple):
    """Bytes on one device."""

    parameters: float
    optimizer: float
    batch: float
    activations: float
    narrow: float
    summed: float
    gradients: float
    logits: float
    head: float
    relaid: float
    gathered: float
    layer: float

    @property
    def arguments(self) -> Number:
        return self.parameters + self.optimizer + self.batch

    @property
    def temporaries(self) -> Number:
        """Bytes at the peak of the step, beyond its arguments: in the loss, just after it, or in the backward pass."""
        loss, backward = self.logits + self.head, self.gradients + self.gathered + self.layer
        return self.activations + self.narrow + self.summed + max(loss, self.relaid, backward)

    @property
    def total(self) -> Number:
        """Bytes at the peak of the step."""
        return self.arguments + self.temporaries


def estimate(cfg: Config, ways: Ways, kind: str = "") -> Memory:
    """The table above for one device, of a kind as JAX calls it.

    Sizes are taken as divisible; `sharding.of_params` refuses those that are not."""
    m, found, learning = cfg.model, held(cfg), trained(cfg)
    on_tpu = kind.startswith("TPU")
    tiled = lambda of: sum(one.tiled(ways) if on_tpu else one.size(ways) for one in of.values())
    own, learned, numbers = tiled(found), tiled(learning), sum(one.size(ways) for one in learning.values())
    rows = cfg.batch_size / cfg.accumulate / (ways.replica * ways.data)
    n_tokens = rows * m.context / ways.sequence
    w, splash = width(m), fused(cfg, kind) and kind.startswith("TPU")
    final = 3 * F32 * m.d_model + w * m.d_model  # the last norm's, and its output
    saved = m.n_layers * (saved_a_token(m, m.remat, ways, splash) + points_a_token(m, ways))
    sharded = ways.replica * ways.data > 1  # training/fsdp.py
    narrowed = sharded or on_tpu and m.remat != "none"  # without remat `weights_kept` is that copy
    heads = m.padded_vocab * m.d_model / ways.tensor
    last = found["w_tok"].size(ways) if not m.tied and "w_tok" in learning else 0
    of_head = (w if sharded else F32) * heads if ("w_tok" if m.tied else "w_head") in learning else 0  # its gradient
    relaid = on_tpu and ways.data > 1 and m.padded_vocab % (ways.data * PACKED) != 0
    return Memory(
        parameters=F32 * own,
        optimizer=(F32 * optimizer_size(cfg.optim, learning, ways) - narrower(cfg.optim) * numbers) * learned / numbers,
        batch=(12 + 8 * cfg.data.mask_documents) * n_tokens * cfg.accumulate,
        activations=n_tokens * (saved + final) + weights_kept(m, ways),
        narrow=w * own if narrowed and w < F32 else 0,
        summed=F32 * learned if cfg.accumulate > 1 else 0,
        gradients=(w if sharded else F32) * (learned - last) if cfg.accumulate == 1 else 0,
        logits=(F32 if on_tpu else F32 + w) * n_tokens / cfg.loss.n_chunks * m.padded_vocab / ways.tensor,
        head=w * heads + of_head * (1 + (cfg.loss.n_chunks > 1)),
        relaid=2 * (w * heads + of_head) if relaid else 0,
        gathered=w * in_flight(m, ways) if sharded else 0,
        layer=n_tokens * (layer_a_token(m, ways, fused(cfg, kind), splash) + mask_a_token(cfg, kind))
        + merged_in_layer(cfg, ways),
    )


def merged_in_layer(cfg: Config, ways: Ways) -> Number:
    """Bytes of one layer's matrices with adapters merged in, whole along `data`, and of their gradients."""
    found = with_adapters(cfg)
    names = [name.removesuffix(A) for name in found if name.endswith(A) and name.startswith("blocks/")]
    return 2 * F32 * sum(found[name].size(ways._replace(data=1)) for name in names) / cfg.model.n_layers


def fused(cfg: Config, kind: str) -> bool:
    """Whether attention is one kernel that keeps no scores: Splash or cuDNN, where `auto` chooses them."""
    if kind.startswith("TPU"):
        return cfg.model.attention in ("auto", "splash")
    apart = cfg.data.mask_documents and cfg.privacy.on  # as model/choice.py has it
    cudnn = kind.startswith("NVIDIA") and cfg.model.dtype == "bfloat16" and not apart
    return cfg.model.attention == "cudnn" or cfg.model.attention == "auto" and cudnn


def mask_a_token(cfg: Config, kind: str) -> Number:
    """Bytes of cuDNN's mask, T numbers for each token, by which it sees documents."""
    masked = fused(cfg, kind) and not kind.startswith("TPU") and cfg.data.mask_documents
    return width(cfg.model) * cfg.model.context if masked else 0


def narrower(cfg: OptimConfig) -> int:
    """Bytes that each number's first moment saves by `momentum_dtype`."""
    return 2 if cfg.momentum_dtype == "bfloat16" and (cfg.b1 or cfg.name != "adafactor") else 0


def points_a_token(cfg: ModelConfig, ways: Ways) -> Number:
    """Bytes of the points that `saved` keeps of each token in a layer, less its input where that is offloaded."""
    w, D = width(cfg), cfg.d_model
    sizes = {"residual_in": 0, "attn_out": D, "mlp_out": D}  # the input is kept anyway
    sizes |= {"mixed_heads": D / ways.tensor, "mlp_hidden": cfg.d_hidden / ways.tensor}
    return w * (sum(sizes[point] for point in cfg.saved) - (D if "residual_in" in cfg.offloaded else 0))


def width(cfg: ModelConfig) -> int:
    """Bytes of a number in the compute dtype."""
    return 2 if cfg.dtype == "bfloat16" else 4


def optimizer_size(cfg: OptimConfig, found: dict[str, Parameter], ways: Ways) -> Number:
    """Numbers that a device keeps between steps besides the parameters; scalars are left out."""
    own = {name: one.size(ways) for name, one in found.items()}
    total = sum(own.values())
    matrices = sum(size for name, size in own.items() if name.startswith("blocks/") and "/w_" in name)
    kept = MOMENTS[cfg.name] * total
    if cfg.name == "muon":
        kept += total - matrices  # which adamw updates
    if cfg.name == "adafactor":
        kept += sum(second_moment(one, ways) for one in found.values()) - (0 if cfg.b1 else total)
    return kept + (total if cfg.ema_decay else 0)


def second_moment(one: Parameter, ways: Ways) -> Number:
    """Of adafactor: means over each of the two longest sides, which no row of TABLE divides, or all of it."""
    *_, short, long = sorted(one.shape) if len(one.shape) > 1 else (0, *one.shape)
    if short < FACTORED:
        return one.size(ways)
    return one.size() / long + one.size() / short


def saved_a_token(cfg: ModelConfig, remat: str, ways: Ways, splash: bool = False) -> Number:
    """Bytes that one layer's forward pass leaves for its backward pass, of each token.

    Of a norm: its centred input, that normalised, and the float32 input; of a product its input; of attention q, k, v,
    the mix (in two layouts) and a row's logarithm; of the MLP what its activation takes and gives. Splash returns its
    mix and logarithms to `dots` too.
    """
    w, D, F, C = width(cfg), cfg.d_model, cfg.d_hidden / ways.tensor, GATES[cfg.mlp]
    q, kv = heads_a_token(cfg, ways, splash)
    if remat == "full":
        return w * D
    if remat == "dots":
        returned = w * q + F32 * cfg.n_heads / ways.tensor if splash else 0
        return w * (D * (1 if cfg.parallel else 2) + q + kv + C * F) + returned
    norms = (1 if cfg.parallel else 2) * (3 * F32 + w) * D + (3 * F32 * (q + kv / 2) if cfg.qk_norm else 0)
    attention = w * (q + kv + 2 * q) + F32 * cfg.n_heads / ways.tensor
    if cfg.attention == "reference" or cfg.dropout:
        attention += (F32 + w) * cfg.n_heads / ways.tensor * cfg.context  # weights of all pairs
    return norms + attention + w * (C + 1) * F + (2 * D if cfg.dropout else 0)


def heads_a_token(cfg: ModelConfig, ways: Ways, splash: bool) -> tuple[Number, Number]:
    """Numbers in the queries of a token, and in its keys and values. Splash wants each head in whole lanes of a TPU."""
    wide = -(-cfg.d_head // LANES) * LANES if splash else cfg.d_head
    return cfg.n_heads * wide / ways.tensor, 2 * cfg.n_kv_heads * wide / ways.tensor


def weights_kept(cfg: ModelConfig, ways: Ways) -> Number:
    """Without remat the backward pass finds the weights as the forward pass used them: all layers, whole."""
    return width(cfg) * layer_size(cfg, ways) * cfg.n_layers if cfg.remat == "none" else 0


def layer_size(cfg: ModelConfig, ways: Ways) -> Number:
    """Numbers in the weights of one layer, whole along `data`."""
    whole = ways._replace(data=1)
    layers = (one.size(whole) for name, one in parameters(cfg).items() if name.startswith("blocks/"))
    return sum(layers) / cfg.n_layers


def in_flight(cfg: ModelConfig, ways: Ways) -> Number:
    """Numbers in the weights that are whole at a time, with FSDP: of a layer and the next, which is fetched meanwhile,
    and the gradient. A layer that waits for its input from the host is not fetched ahead: then it is one layer and the
    gradient of its largest matrix, after which the others are still to come."""
    if "residual_in" not in cfg.offloaded:
        return 3 * layer_size(cfg, ways)
    return layer_size(cfg, ways) + cfg.d_model * cfg.d_hidden / ways.tensor


def layer_a_token(cfg: ModelConfig, ways: Ways, fused: bool, splash: bool) -> Number:
    """Bytes that the backward pass of one layer holds of each token besides what is saved.

    With remat first the products again, and six arrays of the residual stream: its two norms, its state between the
    halves, and gradients. Then the MLP's gradients, or attention's: float32 ones of q, k, v and its tiles. Written out,
    no block of rows waits for another, so the weights of the lower triangle and their gradients are all there; in the
    loop it is three tiles at a time.
    """
    w, F, C = width(cfg), cfg.d_hidden / ways.tensor, GATES[cfg.mlp]
    N, T = cfg.n_heads / ways.tensor, cfg.context
    q, kv = heads_a_token(cfg, ways, splash)
    again = w * (q + kv + 2 * q) + 6 * w * cfg.d_model if cfg.remat != "none" else 0
    mlp = w * (C + 1) * F * (1 if cfg.remat == "none" else 2)
    if fused:
        tiles = F32 * N * (2 * LANES if splash else 1)  # a row's logarithm; Splash's and its gradient's fill lanes
    elif cfg.attention == "reference" or cfg.dropout:
        tiles = 2 * F32 * N * T
    elif T > WRITTEN_OUT:
        tiles = 3 * F32 * N * TILE * TILE / T
    else:
        tiles = 2 * F32 * N * (T + max(MIN_BLOCK, T / BLOCKS)) / 2
    return again + max(mlp, F32 * (q + kv) + tiles)
