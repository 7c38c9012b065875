"""What transformers computed with torch (make_golden.py), computed here without either."""

import numpy as np
import pytest

from gptjax.generation import decode
from tests.interop import folders
from tests.interop.folders import GOLDEN, NAMES
from tests.interop.make_golden import TEXTS


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_those_of_transformers(name):
    golden = np.load(GOLDEN / name / "golden.npz")
    params, cfg = folders.read(GOLDEN / name)
    ours_BTV = folders.logits(params, golden["tokens_BT"], golden["mask_BT"], cfg)
    text_BT = golden["mask_BT"] == 1
    assert np.abs(golden["logits_BTV"]).max() > 2
    np.testing.assert_allclose(ours_BTV[text_BT], golden["logits_BTV"][text_BT], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_greedy_text_is_that_of_transformers(name):
    golden = np.load(GOLDEN / name / "golden.npz")
    params, cfg = folders.read(GOLDEN / name)
    found_BT = decode.generate(params, golden["prompt_T"], cfg, n_tokens=16, temperature=0.0)
    assert found_BT[0].tolist() == golden["greedy_T"].tolist()
    assert len(set(golden["greedy_T"].tolist())) > 3


def test_ids_are_those_of_the_tokenizer_of_transformers():
    from gptjax.data import subwords

    golden = np.load(GOLDEN / "gpt2" / "golden.npz")
    tokenizer = subwords.read_gpt2(str(GOLDEN / "gpt2"))
    for number, text in enumerate(TEXTS):
        assert tokenizer.encode(text).tolist() == golden[f"ids_{number}"].tolist()
