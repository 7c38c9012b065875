"""Held against TransformerLens (the [torch] extra) on random GPT-2s and a Llama: the same numbers at every point."""

import importlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.insight import ablation, attribution, heads, lens, patching, paths
from gptjax.insight.contrast import Contrast
from tests.insight.test_attribution import added
from tests.interop import folders, make_golden
from tests.model.small import forward

pytestmark = [pytest.mark.prove, pytest.mark.filterwarnings("default")]
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", dict(vocab_size=61, n_positions=32, n_embd=32, n_layer=3, n_head=4)),
    "deep": ("GPT2", dict(vocab_size=131, n_positions=16, n_embd=24, n_layer=5, n_head=2, n_inner=40)),
    "llama": (
        "Llama",
        dict(vocab_size=71, max_position_embeddings=32, hidden_size=24, num_hidden_layers=3, num_attention_heads=6)
        | dict(num_key_value_heads=2, intermediate_size=36, rms_norm_eps=1e-5),
    ),
}
POINTS = {  # ours: theirs, of a layer
    "residual_in": "hook_resid_pre",
    "queries": "attn.hook_q",
    "keys": "attn.hook_k",
    "values": "attn.hook_v",
    "attn_probs": "attn.hook_pattern",
    "mixed_heads": "attn.hook_z",
    "attn_out": "hook_attn_out",
    "mlp_hidden": "mlp.hook_post",
    "mlp_out": "hook_mlp_out",
    "residual_out": "hook_resid_post",
}
ACTIVATIONS, EFFECTS = 1e-4, 1e-3


class Both:
    """One model here and there, and two texts of which the first is patched into the second."""

    def __init__(self, name: str, folder):
        self.torch, bridges = (
            importlib.import_module(library) for library in ("torch", "transformer_lens.model_bridge")
        )
        kind, options = MODELS[name]
        theirs = make_golden.make_model(kind, make_golden.SMALL | options, seed=2)
        theirs.save_pretrained(folder)
        self.params, self.cfg = folders.read(folder)
        self.bridge = bridges.TransformerBridge.boot_transformers(
            str(folder), hf_model=theirs, tokenizer=self.any_tokenizer()
        )
        self.bridge.enable_compatibility_mode(no_processing=True, disable_warnings=True)
        rng = np.random.default_rng(3)
        self.clean_BT, self.corrupted_BT = rng.integers(0, self.cfg.vocab_size, (2, 3, 9))
        self.at_B, self.right_B, self.wrong_B = np.array([8, 5, 7]), np.array([3, 1, 4]), np.array([15, 9, 2])
        self.asked = Contrast(*map(jnp.asarray, (self.at_B, self.right_B, self.wrong_B)))

    @staticmethod
    def any_tokenizer() -> Any:
        """Which nobody calls: texts are given as tokens."""
        words = importlib.import_module("tokenizers").models.WordLevel({"x": 0}, unk_token="x")
        of_words = importlib.import_module("tokenizers").Tokenizer(words)
        special = dict(eos_token="x", pad_token="x")  # no bos: it would be looked for in a folder
        return importlib.import_module("transformers").PreTrainedTokenizerFast(tokenizer_object=of_words, **special)

    def cached(self, tokens_BT: np.ndarray) -> tuple[np.ndarray, Any]:
        with self.torch.no_grad():
            logits, cache = self.bridge.run_with_cache(self.torch.tensor(tokens_BT))
        return logits.numpy(), cache

    def by_row(self, of_row: Callable, rows: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
        """`of_row(corrupted tokens, clean cache, metric)` of each row, stacked in front."""

        def one(row: int) -> np.ndarray:
            def metric(logits: Any) -> Any:
                at, right, wrong = self.at_B[row], self.right_B[row], self.wrong_B[row]
                return logits[0, at, right] - logits[0, at, wrong]

            _, cache = self.cached(self.clean_BT[row : row + 1])
            with self.torch.no_grad():
                return of_row(self.torch.tensor(self.corrupted_BT[row : row + 1]), cache, metric).numpy()

        return np.stack([one(row) for row in rows])

    def given(self) -> Any:
        """What our functions of patching are given first."""
        return self.params, jnp.asarray(self.corrupted_BT), jnp.asarray(self.clean_BT), self.asked


@pytest.fixture(scope="module", params=MODELS)
def both(request, tmp_path_factory):
    try:
        return Both(request.param, tmp_path_factory.mktemp(request.param))
    except ImportError:
        pytest.fail("torch or transformer-lens is missing: pip install 'gptjax[torch]' (make prove does)")


def close(ours, theirs, atol):
    np.testing.assert_allclose(np.asarray(ours), theirs, rtol=0, atol=atol)
    assert np.abs(theirs).max() > 10 * atol, "what is nothing shows nothing"


def test_activations_and_logits(both):
    logits_BTV, cache = both.cached(both.clean_BT)
    out = forward(both.params, jnp.asarray(both.clean_BT), both.cfg, capture=(*POINTS, "final"))
    close(out.logits_BTV[..., : both.cfg.vocab_size], logits_BTV, ACTIVATIONS)
    close(out.activations["final"], cache["ln_final.hook_out"].numpy(), ACTIVATIONS)
    for ours, theirs in POINTS.items():
        for layer in range(both.cfg.n_layers):
            close(out.activations[ours][layer], cache[f"blocks.{layer}.{theirs}"].numpy(), ACTIVATIONS)


def test_logit_lens(both):
    """Every reading through TransformerLens's own last norm and head."""
    _, cache = both.cached(both.clean_BT)
    ours_RBTV = lens.logits(both.params, jnp.asarray(both.clean_BT), both.cfg)[..., : both.cfg.vocab_size]
    stream, names = cache.accumulated_resid(layer=-1, incl_mid=False, return_labels=True)
    assert len(names) == len(ours_RBTV) == both.cfg.n_layers + 1
    with both.torch.no_grad():
        for ours_BTV, x_BTD in zip(ours_RBTV, stream, strict=True):
            close(ours_BTV, both.bridge.unembed(both.bridge.ln_final(x_BTD)).numpy(), ACTIVATIONS)


@pytest.mark.parametrize("point", ["residual_in", "attn_out", "mlp_out"])
def test_patching_by_position(both, point):
    theirs = importlib.import_module("transformer_lens.patching")
    sweep = {"residual_in": theirs.get_act_patch_resid_pre, "attn_out": theirs.get_act_patch_attn_out}
    sweep = (sweep | {"mlp_out": theirs.get_act_patch_mlp_out})[point]
    expected_BLT = both.by_row(lambda tokens, cache, metric: sweep(both.bridge, tokens, cache, metric))
    found = patching.positions(*both.given(), cfg=both.cfg, point=point)
    close(found.values, expected_BLT.transpose(1, 2, 0), EFFECTS)


@pytest.mark.parametrize("point", ["mixed_heads", "attn_probs"])
def test_patching_by_head(both, point):
    theirs = importlib.import_module("transformer_lens.patching")
    of_point = {"mixed_heads": theirs.get_act_patch_attn_head_out_all_pos}
    sweep = (of_point | {"attn_probs": theirs.get_act_patch_attn_head_pattern_all_pos})[point]
    expected_BLN = both.by_row(lambda tokens, cache, metric: sweep(both.bridge, tokens, cache, metric))
    found = patching.heads(*both.given(), cfg=both.cfg, point=point)
    close(found.values, expected_BLN.transpose(1, 2, 0), EFFECTS)


@pytest.mark.parametrize("component", ["q", "k", "v"])
def test_paths_from_head_to_head(both, component):
    """Their direct path is ours with the MLPs kept as they were."""
    if component != "q" and both.cfg.n_kv_heads != both.cfg.n_heads:
        return  # they refuse it where heads share keys
    theirs = importlib.import_module("transformer_lens.patching").get_act_patch_direct_path_all_sources

    def of_row(tokens: Any, cache: Any, metric: Callable) -> Any:
        _, corrupted = both.bridge.run_with_cache(tokens)
        return theirs(both.bridge, tokens, cache, corrupted, metric, component, verbose=False)

    (expected_LNLN,) = both.by_row(of_row, rows=(0,))
    inputs = ({"q": "queries", "k": "keys", "v": "values"}[component],)
    for layer in range(1, both.cfg.n_layers):
        for head in range(both.cfg.n_heads):
            found = paths.to_head(
                *both.given(), layer=layer, head=head, cfg=both.cfg, inputs=inputs, through_mlps=False
            )
            close(found.values[:layer, :, 0], expected_LNLN[:layer, :, layer, head], EFFECTS)


def test_ablation(both):
    """A head zeroed by their hook."""
    tokens = both.torch.tensor(both.clean_BT)
    found_MB = ablation.contrasts(
        both.params, jnp.asarray(both.clean_BT), both.asked, ablation.singly(both.cfg), both.cfg
    )
    rows = np.arange(3)
    for layer in range(both.cfg.n_layers):
        for head in range(both.cfg.n_heads):

            def zero(z, hook, head=head):
                z = z.clone()
                z[:, :, head] = 0
                return z

            with both.torch.no_grad():
                logits = both.bridge.run_with_hooks(tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)]).numpy()
            logits = logits[rows, both.at_B]
            expected_B = logits[rows, both.right_B] - logits[rows, both.wrong_B]
            close(found_MB[layer * both.cfg.n_heads + head], expected_B, EFFECTS)


def test_where_scores_look():
    detector = importlib.import_module("transformer_lens.head_detector")
    torch = importlib.import_module("torch")
    tokens_1T = np.random.default_rng(0).permutation(40)[None, np.r_[0:12, 0:12]]
    for ours, theirs in (
        (heads.previous, detector.get_previous_token_head_detection_pattern),
        (heads.duplicates, detector.get_duplicate_token_head_detection_pattern),
        (heads.induced, detector.get_induction_head_detection_pattern),
    ):
        expected_TS = theirs(torch.tensor(tokens_1T)).numpy()
        np.testing.assert_array_equal(np.asarray(ours(jnp.asarray(tokens_1T)))[0], expected_TS > 0)


@pytest.mark.parametrize("name", MODELS)
def test_direct_attribution(name, tmp_path):
    """With their weights processed as they advise, but for the value biases, which they would take from the heads."""
    both = Both(name, tmp_path)
    both.bridge.enable_compatibility_mode(fold_value_biases=False, disable_warnings=True)
    logits_BTV, cache = both.cached(both.clean_BT)
    right_BT, wrong_BT = both.corrupted_BT, (both.corrupted_BT + 5) % both.cfg.vocab_size
    found = attribution.direct(both.params, *map(jnp.asarray, (both.clean_BT, right_BT, wrong_BT)), both.cfg)
    tokens = both.torch.tensor(right_BT), both.torch.tensor(wrong_BT)
    with both.torch.no_grad():
        of_heads = cache.logit_attrs(cache.stack_head_results(layer=-1), *tokens).numpy()
        of_mlps = [
            cache.logit_attrs(cache["mlp_out", layer][None], *tokens)[0].numpy() for layer in range(both.cfg.n_layers)
        ]
    ours = jnp.moveaxis(found.heads_LBTN, -1, 1).reshape(of_heads.shape)
    close(ours, of_heads, EFFECTS)
    close(found.mlp_LBT, np.stack(of_mlps), EFFECTS)
    picked = [np.take_along_axis(logits_BTV, t[..., None], -1)[..., 0] for t in (right_BT, wrong_BT)]
    close(found.total_BT, picked[0] - picked[1], EFFECTS)
    close(added(found), picked[0] - picked[1], EFFECTS)
