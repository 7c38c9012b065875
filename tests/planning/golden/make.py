"""Writes loop.hlo.txt, the program that tests/planning/test_hlo.py reads: for two slices of TPU v5e, never run.

    python -m tests.planning.golden.make        # needs the [plan] extra

Three layers in a loop whose weights are gathered along "data" just before use, a Pallas kernel in each, and their
gradients, which are scattered along "data" and summed over "replica", which lies between the slices.
"""

import functools
import os
import pathlib
import re

os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "JAX_PLATFORMS": "cpu", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from gptjax import mesh
from gptjax.config import MeshConfig
from gptjax.planning import topology

P = PartitionSpec
L, D, B = 3, 1024, 512  # layers, width, rows of all devices


def doubled(x_BD: jax.Array) -> jax.Array:
    def kernel(x_ref, y_ref):
        y_ref[...] = x_ref[...] * 2

    return pl.pallas_call(kernel, out_shape=jax.ShapeDtypeStruct(x_BD.shape, x_BD.dtype))(x_BD)


def gradients(w_LDD: jax.Array, x_BD: jax.Array) -> jax.Array:
    """On each device: its part of the weights' gradient, summed over all rows."""

    @functools.partial(jax.checkpoint, policy=jax.checkpoint_policies.nothing_saveable)
    def layer(x_BD, w_DD):
        w_DD = jax.lax.all_gather(w_DD.astype(jnp.bfloat16), "data", tiled=True)
        return jnp.tanh(x_BD @ w_DD), None

    def loss(w_LDD):
        return jnp.sum(jax.lax.scan(layer, x_BD, w_LDD)[0].astype(jnp.float32))

    kernelled = jax.lax.stop_gradient(doubled(x_BD))
    return jax.lax.psum(jax.grad(loss)(w_LDD) + kernelled[0, 0], "replica")


def main() -> None:
    grid = mesh.make(MeshConfig(2, -1, 1, 1), topology.devices(topology.parse("2*v5e:2x2")))
    on = Mesh(grid.devices.reshape(2, 4), ("replica", "data"), axis_types=(AxisType.Auto,) * 2)
    step = jax.shard_map(
        gradients,
        mesh=on,
        in_specs=(P(None, "data"), P(("replica", "data"))),
        out_specs=P(None, "data"),
        check_vma=False,
    )
    shaped = lambda shape, dtype, spec: jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(on, spec))
    w_LDD = shaped((L, D, D), jnp.float32, P(None, "data"))
    x_BD = shaped((B, D), jnp.bfloat16, P(("replica", "data")))
    text = jax.jit(step).lower(w_LDD, x_BD).compile().as_text() or ""
    text = re.sub(r", metadata=\{[^}]*\}", "", text)
    pathlib.Path(__file__).with_name("loop.hlo.txt").write_text(text)


if __name__ == "__main__":
    main()
