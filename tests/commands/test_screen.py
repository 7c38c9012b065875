"""What a training command shows: its line on a narrow terminal, and a GPU that stands idle."""

from gptjax.commands import screen

METRICS = {"train/nll": 6.5, "eval/nll": 6.6, "eval/bits_per_byte": 3.5, "perf/tokens_per_s": 8219.0, "perf/mfu": 0.9}


def test_a_narrow_terminal_loses_what_matters_least():
    assert screen.sentence(METRICS, 80) == screen.sentence(METRICS)
    assert screen.sentence(METRICS, 46) == "train 6.500  valid 6.600 nats  8,219 tokens/s"
    assert screen.sentence(METRICS, 10) == "train 6.500  valid 6.600 nats"


def test_a_gpu_that_stands_idle_is_told_of(tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert screen.unused_gpu(["cpu"], tmp_path) == []
    (tmp_path / "nvidia0").touch()
    assert "pip install 'gptjax[cuda12]'" in screen.unused_gpu(["cpu"], tmp_path)[0]
    assert screen.unused_gpu(["NVIDIA L4"], tmp_path) == []
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert screen.unused_gpu(["cpu"], tmp_path) == []
