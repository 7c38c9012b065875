"""The training step beside its peers': tokens a second, peak memory, compile time, and the part of the matmul peak.

    python -m benchmarks.step [--shape=small|gpt2|gpu]
        [--nanogpt=DIR --torch=PYTHON] [--nanodo=DIR --nanodo_python=PYTHON]

Without peers it times gptjax alone. `peers.md` says how to get them. AdamW, clipping, float32, one batch of random
tokens; GPT-2's block without biases, as nanoGPT trains it and as nanodo has it. The shape `gpu` is GPT-2 124M in
bfloat16 on the first GPU, nanoGPT compiled.
"""

import argparse
import sys

from benchmarks.contest import HERE, Contestant, Timing, in_turn, print_machine, print_table

SHAPES = {
    "smoke": dict(layers=4, heads=4, width=128, context=256, vocab=256, batch=8),
    "small": dict(layers=6, heads=6, width=384, context=256, vocab=256, batch=16),
    "gpt2": dict(layers=12, heads=12, width=768, context=512, vocab=50_304, batch=4),
    "gpu": dict(layers=12, heads=12, width=768, context=1024, vocab=50_304, batch=16),
}
BARS = {"small": {"nanogpt": 1.1, "nanodo": 1.45}, "gpt2": {"nanogpt": 1.0}}


def overrides(layers: int, heads: int, width: int, context: int, vocab: int, batch: int) -> list[str]:
    """The shape as keys of a config."""
    return [
        f"model.n_layers={layers}",
        f"model.n_heads={heads}",
        f"model.n_kv_heads={heads}",
        f"model.d_model={width}",
        f"model.d_hidden={4 * width}",
        f"model.context={context}",
        f"model.vocab_size={vocab}",
        f"batch_tokens={batch * context}",
        "model.bias=False",
        "data.mask_documents=False",
    ]


def ours(name: str, extra: list[str]) -> Contestant:
    """On a GPU it takes memory as it needs it: the contestants share one."""
    on_gpu = name == "gpu"
    return Contestant(
        [
            sys.executable,
            "-m",
            "benchmarks.contestants.ours",
            *overrides(**SHAPES[name]),
            *(["model.dtype=bfloat16"] if on_gpu else []),
            *extra,
        ],
        env={
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",  # as `gptjax` sets it for itself
            "JAX_PLATFORMS": "cuda" if on_gpu else "cpu",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        },
    )


def peer(who: str, python: str, words: list[str], shape: dict[str, int]) -> Contestant:
    script = str(HERE / "contestants" / f"{who}.py")
    sizes = [f"{key}={value}" for key, value in shape.items()]
    return Contestant([python, script, *words, *sizes], env={"PYTHONPATH": str(HERE), "JAX_PLATFORMS": "cpu"})


def row(name: str, timing: Timing, shape: dict[str, int], flops: float, peak: float) -> dict[str, object]:
    return {
        "who": name,
        "ms a step": timing.median_s * 1e3,
        "least": timing.least_s * 1e3,
        "most": timing.most_s * 1e3,
        "tokens/s": shape["batch"] * shape["context"] / timing.median_s,
        "of matmul peak": flops / timing.median_s / peak,
        "peak GiB": timing.peak_gib,
        "compile s": timing.ready["compile_s"],
        "with": timing.ready["version"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="the training step beside its peers'")
    parser.add_argument("--shape", choices=SHAPES, default="small")
    parser.add_argument("--nanogpt", metavar="DIR")
    parser.add_argument("--torch", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--nanodo", metavar="DIR")
    parser.add_argument("--nanodo_python", metavar="PYTHON", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=2, help="steps before the first round")
    parser.add_argument("--ours", action="append", default=[], metavar="KEY=VALUE", help="a key of our config")
    parser.add_argument("--against", action="append", default=[], metavar="KEY=VALUE,...", help="ours once more, so")
    flags = parser.parse_args()
    shape = SHAPES[flags.shape]
    device = "cuda" if flags.shape == "gpu" else "cpu"
    contestants = {"gptjax": ours(flags.shape, flags.ours)}
    for other in flags.against:
        contestants[f"gptjax {other}"] = ours(flags.shape, flags.ours + other.split(","))
    if flags.nanogpt:
        contestants["nanogpt"] = peer("nanogpt", flags.torch, [flags.nanogpt, device], shape)
    if flags.nanodo:
        contestants["nanodo"] = peer("nanodo", flags.nanodo_python, [flags.nanodo], shape)
    timings = in_turn(contestants, flags.rounds, flags.steps, flags.warmup)
    flops, peak = (contestants["gptjax"].ready[key] for key in ("flops", "peak_flops"))
    for contestant in contestants.values():
        contestant.close()
    print(
        f"{flags.shape}: {shape}, {flags.rounds} rounds of {flags.steps} steps; matmul peak {peak / 1e9:,.0f} GFLOP/s"
    )
    print_table([row(name, timing, shape, flops, peak) for name, timing in timings.items()])
    for name, timing in timings.items():
        if name != "gptjax":
            ratio = timing.median_s / timings["gptjax"].median_s
            bar = BARS.get(flags.shape, {}).get(name)
            print(f"gptjax / {name}: {ratio:.3f} in tokens/s" + (f" (bar {bar})" if bar else ""))
    print_machine()


if __name__ == "__main__":
    main()
