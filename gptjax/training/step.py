"""State in, state out: one optimizer update as one jitted function."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from gptjax import mesh, tree
from gptjax.config import Config
from gptjax.data.batches import Batch
from gptjax.model import choice, gpt, lora
from gptjax.training import fsdp, loss, optim, preference, private, sharding, spikes, tuning
from gptjax.training.factors import REFERENCE
from gptjax.training.loss import in_parts

ADAPTERS = 2**32 - 1  # folded into the seed's key for their first values, as a step's number is for its dropout


class TrainState(NamedTuple):
    """All that a checkpoint holds. Randomness is a function of (seed, step), so no key is carried."""

    step: Int[Array, ""]  # updates done
    params: dict
    opt_state: Any
    ema: dict | None  # average of the parameters that are trained, where optim.ema_decay is above 0
    losses_W: Float[Array, " W"] | None = None  # the latest, where spikes are looked for

    @property
    def eval_params(self) -> dict:
        """The parameters to judge and to ship, with a reference beside them where there is one."""
        return self.params if self.ema is None else tree.joined(self.params, self.ema)


def first_state(key: PRNGKeyArray, cfg: Config) -> TrainState:
    return with_optimizer(gpt.init(key, cfg.model), cfg)


def with_optimizer(params: dict, cfg: Config) -> TrainState:
    """Step 0 from given weights: with a fresh optimizer, and, where the config has them, with fresh adapters, or with
    the weights once more as the reference."""
    given, params = params, with_adapters(params, cfg)
    if cfg.data.preferences and not cfg.lora.rank:
        params = params | {REFERENCE: given}
    trained, _ = tuning.split(params, cfg)
    opt_state = optim.make(cfg.optim, cfg.n_steps, cfg.model.wider).init(trained)
    ema = jax.tree.map(jnp.copy, trained) if cfg.optim.ema_decay else None
    return TrainState(jnp.zeros((), jnp.int32), params, opt_state, ema, spikes.window(cfg.spike))


def with_adapters(params: dict, cfg: Config) -> dict:
    """The parameters of a run's model, given those of its weights."""
    if not cfg.lora.rank:
        return params
    return lora.with_adapters(jax.random.fold_in(jax.random.key(cfg.seed), ADAPTERS), params, cfg.lora)


def abstract_state(cfg: Config, mesh: Mesh) -> TrainState:
    """Shapes, types and places of the state; nothing is allocated. Raises BadInput where the mesh does not fit it."""
    shapes = jax.eval_shape(lambda: first_state(jax.random.key(0), cfg))  # even a key would be compiled for
    places = sharding.of_state(shapes, shapes.params, mesh)
    return jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), shapes, places)


def init_state(cfg: Config, mesh: Mesh) -> TrainState:
    """Fresh weights, each device making its own part; the same numbers on every mesh."""
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(cfg, mesh))
    # LLVM's later passes make no difference to random numbers, but most of the time to the first step is compiling.
    quick = {"xla_backend_optimization_level": 1} if mesh.devices.flat[0].platform == "cpu" else {}
    make = jax.jit(functools.partial(first_state, cfg=cfg), out_shardings=places, compiler_options=quick)
    return make(jax.random.key(cfg.seed))


def state_from(params: dict, cfg: Config, mesh: Mesh) -> TrainState:
    """Step 0 from given weights, each device taking its own part."""
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(cfg, mesh))
    there = tree.named(places.params)
    at = tree.map_named(lambda name, _: there[name], params)
    return jax.jit(functools.partial(with_optimizer, cfg=cfg), out_shardings=places)(jax.device_put(params, at))


def make_update(cfg: Config, on: Mesh) -> Callable[..., tuple[TrainState, dict[str, Array]]]:
    """The jitted `update(state, batch) -> (state, metrics)`; the old state's buffers become the new one's. Of a private
    run it is `update(state, batch, noise_key)`: an argument, since what is compiled is kept on disk."""
    places = jax.tree.map(lambda leaf: leaf.sharding, abstract_state(cfg, on))
    cfg = choice.resolved(cfg, on)
    one = functools.partial(train_step, cfg=cfg, on=on)
    return jax.jit(mesh.within(on, one), donate_argnums=0, out_shardings=(places, None))


def train_step(
    state: TrainState, batch: Batch, noise_key: UInt32[Array, "2"] | None = None, *, cfg: Config, on: Mesh
) -> tuple[TrainState, dict[str, Array]]:
    """One update on the mean loss over the batch's weighted tokens, or its pairs, or by a private gradient; returns the
    next state and device-side scalars."""
    key = jax.random.fold_in(jax.random.key(cfg.seed), state.step) if cfg.model.dropout else None
    sums, grads = over_mesh(state.params, batch, cfg, key, on)
    n = jnp.maximum(sums["pairs"] if cfg.data.preferences else batch.weights_BT.sum(), 1)  # what the loss is a mean of
    rates, (trained, frozen) = tuning.Rates(state.params, cfg), tuning.split(state.params, cfg)
    if noise_key is not None:
        grads = private.noised(grads, noise_key, state.step, cfg)
    of_grads = cfg.mean_rows if cfg.privacy.on else n
    grads = rates.without_frozen(jax.tree.map(lambda g: g / of_grads, grads))
    updates, opt_state = optim.make(cfg.optim, cfg.n_steps, cfg.model.wider).update(grads, state.opt_state, trained)
    updates = rates.scaled(updates)
    trained = jax.tree.map(jnp.add, trained, updates)
    params = tree.joined(trained, frozen)
    ema = None
    if state.ema is not None:
        keep = cfg.optim.ema_decay
        ema = jax.tree.map(lambda old, new: keep * old + (1 - keep) * new, state.ema, trained)
        ema = rates.averaged(ema, trained)
    metrics = {
        **(preference.rates(sums, "train") if cfg.data.preferences else {"train/nll": sums["nll"] / n}),
        "grad/norm": tree.norm(grads),
        "update/norm": tree.norm(updates) + nan_unless_finite((opt_state, ema)),
        "param/norm": tree.norm(tuning.policy(state.params)),
        "optim/lr": jnp.asarray(optim.schedule(cfg.optim, cfg.n_steps)(state.step)),
    }
    new = TrainState(state.step + 1, params, opt_state, ema, state.losses_W)
    if state.losses_W is not None:
        metrics["spike/z"], losses_W = spikes.judge(state.losses_W, metrics["train/nll"])
        if cfg.spike.action == "skip":
            new = spikes.unless(metrics["spike/z"] > cfg.spike.threshold, new, state)
        new = new._replace(losses_W=losses_W)
    return new, metrics


def nan_unless_finite(state: Any) -> Float[Array, ""]:
    """0, or NaN where a number is not finite: an infinite second moment shows in no update, being divided by.

    A sum, so that XLA joins what devices exchange for it with the norms'.
    """
    floats = [leaf for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return sum((jnp.sum(jnp.where(jnp.isfinite(leaf), 0.0, jnp.nan)) for leaf in floats), jnp.zeros(()))


def over_mesh(params: dict, batch: Batch, cfg: Config, key: PRNGKeyArray | None, on: Mesh) -> tuple[dict, dict]:
    """`summed_gradients` with rows and parameters where the mesh has them."""
    if on.size == 1:
        return summed_gradients(params, batch, cfg, key, None)
    if key is not None or mesh.size(on, "replica") * mesh.size(on, "data") == 1:
        # Dropout draws one mask for the whole batch, the same on every mesh, so its rows are left to XLA.
        return summed_gradients(params, batch, cfg, key, sharding.gathered(on))
    of_rows = lambda params, batch, unpack: summed_gradients(params, batch, cfg, None, unpack)
    trained, _ = tuning.split(params, cfg)
    return fsdp.over_rows(of_rows, params, list(tree.named(trained)), batch, on, cfg.model.dtype, cfg.accumulate)


def summed_gradients(
    params: dict, batch: Batch, cfg: Config, key: PRNGKeyArray | None, unpack: Callable[[str, Any], Any] | None
) -> tuple[dict, dict]:
    """Sums to report (nats under "nll", of pairs preference.SUMS) and the gradient of the summed loss by what is
    trained, over `cfg.accumulate` parts of the batch in turn.

    Sums, not means: parts with fewer weighted tokens count for less, so the result is the whole batch's, to rounding.
    A private run's gradients are clipped, each example's, before they are summed.
    """
    if cfg.privacy.on and cfg.privacy.method == "vmap":
        return private.clipped_sums(params, batch, cfg, unpack)
    if cfg.privacy.on:
        batch, nll = private.reweighted(params, batch, cfg, unpack)
        _, grads = summed_over_parts(params, batch, cfg, key, unpack)
        return {"nll": nll}, grads
    return summed_over_parts(params, batch, cfg, key, unpack)


def summed_over_parts(
    params: dict, batch: Batch, cfg: Config, key: PRNGKeyArray | None, unpack: Callable[[str, Any], Any] | None
) -> tuple[dict, dict]:
    """`summed_gradients` of a batch whose weights say all."""
    trained, frozen = tuning.split(params, cfg)

    def total(trained: dict, part: Batch, key: PRNGKeyArray | None) -> tuple[Array, dict]:
        whole = tree.joined(trained, frozen)
        if cfg.data.preferences:
            return preference.summed(whole, part, cfg, key, unpack)
        loss_of_part, found = loss.summed(whole, part, cfg.model, cfg.loss, key, unpack, lora.merging(cfg.lora))
        return loss_of_part, {"nll": found["nll"]}

    if cfg.accumulate == 1:
        (_, found), grads = jax.value_and_grad(total, has_aux=True)(trained, batch, key)
        return found, grads

    grads = jax.tree.map(lambda p: jax.new_ref(jnp.zeros(p.shape, jnp.promote_types(p.dtype, jnp.float32))), trained)

    def add(sums: dict, numbered_part: tuple[Array, Batch]) -> tuple[dict, None]:
        number, part = numbered_part
        part_key = None if key is None else jax.random.fold_in(key, number)
        loss_of_part, pull, found = jax.vjp(lambda trained: total(trained, part, part_key), trained, has_aux=True)
        # It waits for the loss (of NaN it is NaN anyway), which XLA may else put off and keep the head whole till then.
        begin = jnp.where(jnp.isnan(loss_of_part), loss_of_part, 1)
        pull.with_refs(grads)(begin)  # a layer's gradient is added as soon as it is known
        return jax.tree.map(jnp.add, sums, found), None

    numbered = jnp.arange(cfg.accumulate), in_parts(batch, cfg.accumulate)
    names = preference.SUMS if cfg.data.preferences else ("nll",)
    sums, _ = jax.lax.scan(add, {name: jnp.zeros(()) for name in names}, numbered)
    return sums, jax.tree.map(jax.freeze, grads)
