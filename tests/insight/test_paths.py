"""Path patching moves one path and nothing else."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.config import BadInput
from gptjax.insight import patching, paths
from tests.insight.asked import CLOSE, base_BT, question, source_BT
from tests.model.small import forward

RUNS = base_BT, source_BT, question


def test_a_sender_reaches_only_later_heads(cfg, params):
    found = paths.to_head(params, *RUNS, 1, 2, cfg)
    moved_LN = np.abs(found.values - found.base_B[None, None]).max(-1)
    assert (moved_LN[0] > 1e-3).all()
    np.testing.assert_allclose(moved_LN[1:], 0, atol=2e-5)


def test_all_inputs_together_are_the_output_of_the_head(cfg, params):
    """What a head hears by queries, keys and values is what its own output becomes when nobody keeps it as it was."""
    found = paths.to_head(params, *RUNS, 2, 1, cfg)
    base, source = (
        forward(params, x_BT, cfg, capture=("mixed_heads",)).activations["mixed_heads"] for x_BT in RUNS[:2]
    )

    @jax.jit
    def by_output(sender):
        def frozen(x_BTNH, layer):
            kept_BTNH = (
                base[layer]
                .at[:, :, sender]
                .set(jnp.where(layer == 0, source[0][:, :, sender], base[layer][:, :, sender]))
            )
            return jnp.where((jnp.arange(4) == 1)[None, None, :, None] & (layer == 2), x_BTNH, kept_BTNH)

        heard = patching.run(params, base_BT, question, cfg, edits={"mixed_heads": frozen}, capture=("mixed_heads",))[1]
        put = lambda x_BTNH, layer: jnp.where(
            layer == 2, x_BTNH.at[:, :, 1].set(heard["mixed_heads"][2][:, :, 1]), x_BTNH
        )
        return patching.run(params, base_BT, question, cfg, edits={"mixed_heads": put})[0]

    for sender in range(4):
        np.testing.assert_allclose(found.values[0, sender], by_output(sender), **CLOSE)


def test_values_tell_nothing_that_a_head_does_not_read(cfg, params):
    """A head whose queries and keys are fed by nobody hears through its values alone."""
    attn = params["blocks"]["attn"]
    deaf = attn | {name: attn[name].at[2].set(0) for name in ("w_q", "w_k")}
    params = params | {"blocks": params["blocks"] | {"attn": deaf}}
    by_values = paths.to_head(params, *RUNS, 2, 3, cfg, inputs=("values",))
    by_all = paths.to_head(params, *RUNS, 2, 3, cfg)
    by_queries = paths.to_head(params, *RUNS, 2, 3, cfg, inputs=("queries", "keys"))
    np.testing.assert_allclose(by_values.values, by_all.values, **CLOSE)
    np.testing.assert_allclose(by_queries.values, jnp.broadcast_to(by_all.base_B, (3, 4, 4)), **CLOSE)
    assert np.abs(by_all.values - by_all.base_B[None, None]).max() > 1e-3


def test_the_last_layer_speaks_to_the_logits_alone(cfg, params):
    """From the last layer there is no other way, so the path is the whole effect; an earlier head has others."""
    direct = paths.to_logits(params, *RUNS, cfg)
    whole = patching.heads(params, *RUNS, cfg)
    np.testing.assert_allclose(direct.values[-1], whole.values[-1], **CLOSE)
    assert np.abs(direct.values[0] - whole.values[0]).max() > 1e-2


def test_without_mlps_what_reaches_the_last_norm_is_one_write(cfg, params):
    """All else as it was, the stream moves by what the sender writes differently."""
    points = ("mixed_heads", "residual_out")
    base, source = (forward(params, x_BT, cfg, capture=points).activations for x_BT in RUNS[:2])
    change_BTH = (source["mixed_heads"] - base["mixed_heads"])[0][:, :, 3]
    stream_BTD = base["residual_out"][-1] + jnp.einsum(
        "BTH,HD->BTD", change_BTH, params["blocks"]["attn"]["w_out"][0, 3]
    )
    put = lambda x_BTD, layer: jnp.where(layer == 2, stream_BTD, x_BTD)
    expected_B = jax.jit(lambda: patching.run(params, base_BT, question, cfg, edits={"residual_out": put})[0])()
    found = paths.to_logits(params, *RUNS, cfg, through_mlps=False)
    np.testing.assert_allclose(found.values[0, 3], expected_B, **CLOSE)


@pytest.mark.parametrize("through_mlps", [True, False])
def test_the_last_mlp_is_the_only_ear(cfg, params, through_mlps):
    """Where the last MLP writes nothing, telling it anything changes nothing; else it hears heads of its layer too."""
    found = paths.to_mlp(params, *RUNS, 2, cfg, through_mlps=through_mlps)
    assert (np.abs(found.values - found.base_B[None, None]).max(-1) > 1e-4).all()
    earlier = paths.to_mlp(params, *RUNS, 0, cfg, through_mlps=through_mlps)
    np.testing.assert_allclose(earlier.values[1:], jnp.broadcast_to(found.base_B, (2, 4, 4)), **CLOSE)
    mlp = params["blocks"]["mlp"]
    mute = {name: x.at[2].set(0) if name in ("w_out", "b_out") else x for name, x in mlp.items()}
    params = params | {"blocks": params["blocks"] | {"mlp": mute}}
    found = paths.to_mlp(params, *RUNS, 2, cfg, through_mlps=through_mlps)
    np.testing.assert_allclose(found.values, jnp.broadcast_to(found.base_B, (3, 4, 4)), **CLOSE)


REFUSED = {
    "no head 4": lambda params, cfg: paths.to_head(params, *RUNS, 1, 4, cfg),
    "no layer 3": lambda params, cfg: paths.to_mlp(params, *RUNS, 3, cfg),
    "a head reads queries, keys, values": lambda params, cfg: paths.to_head(params, *RUNS, 1, 0, cfg, inputs=("q",)),
    "point='mlp_hidden' is not of the stream": lambda params, cfg: patching.positions(
        params, *RUNS, cfg, point="mlp_hidden"
    ),
    "point='keys' is not of heads": lambda params, cfg: patching.heads(params, *RUNS, cfg, point="keys"),
    "must be alike": lambda params, cfg: patching.check(base_BT, source_BT[:, 1:], question),
    "Contrast.at_B has 4 rows": lambda params, cfg: paths.to_logits(params, base_BT[1:], source_BT[1:], question, cfg),
}


@pytest.mark.parametrize("says", REFUSED)
def test_what_does_not_fit_is_refused_by_name(cfg, params, says):
    with pytest.raises(BadInput, match=says.replace("(", ".")):
        REFUSED[says](params, cfg)
