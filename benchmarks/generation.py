"""Writing with GPT-2 124M (random weights) beside transformers' `generate`, and beside a plain read of the weights.

    python -m benchmarks.generation [--torch=PYTHON] [--rounds=5] [--tokens=128] [--cases=one,eight,prefill]
        [--device=cpu|cuda]

Greedy, a prompt of 32 tokens, prefill included; `prefill` is a prompt of 1,024 tokens less one, and one token. `of the
read` is the time in which all cores read the weights once, over the time of a token at batch 1. The contestants take
turns; a ratio is the median over the rounds of their ratios. `--torch` is a Python with torch and transformers
(`peers.md`); without it gptjax is timed alone. The bars, and `of the read`, are a CPU's.

    python -m benchmarks.generation --run=DIR

The cost of a precision instead: nats a token of a run's validation text, with its weights held in each.
"""

import argparse
import statistics
import sys

from benchmarks.contest import HERE, Contestant, print_machine, print_table

CASES = {  # batch, prompt, the bar: how many times as fast as the peer
    "one": (1, 32, 1.8),
    "eight": (8, 32, 2.0),
    "prefill": (1, 1023, 1.0),
}
PRECISIONS = ("float32", "bfloat16", "int8")
READ_BAR = 0.65
READS = 10  # a round


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--run", metavar="DIR")
    flags = parser.parse_args()
    print_machine()
    if flags.run:
        print_table(costs(flags.run))
        return
    for case in flags.cases.split(","):
        tokens = 1 if case == "prefill" else flags.tokens
        print_table(rows(case, flags.torch, flags.rounds, tokens, flags.device))
        print()
    print_machine()


def rows(case: str, torch: str | None, rounds: int, tokens: int, device: str) -> list[dict[str, object]]:
    batch, prompt, bar = CASES[case]
    words = [f"batch={batch}", f"prompt={prompt}", f"tokens={tokens}"]
    contestants = {precision: ours([*words, f"precision={precision}"], device) for precision in PRECISIONS}
    weights = contestants["float32"].ready["bytes"]
    if device == "cpu":
        contestants["read"] = Contestant([sys.executable, "-m", "benchmarks.contestants.read", f"bytes={weights}"])
    if torch is not None:
        command = [torch, str(HERE / "contestants" / "generate_transformers.py"), *words, f"device={device}"]
        contestants["transformers"] = Contestant(command, env={"PYTHONPATH": str(HERE)})
    seconds = measured(contestants, rounds)
    found = []
    for name, of in contestants.items():
        if name == "read":
            continue
        row: dict[str, object] = {
            "case": case,
            "who": name,
            "s": statistics.median(seconds[name]),
            "least": min(seconds[name]),
            "most": max(seconds[name]),
            "tokens/s": batch * tokens / statistics.median(seconds[name]),
            "x the peer": ratio(seconds["transformers"], seconds[name]) if torch is not None else None,
            "bar": bar if device == "cpu" and name == "float32" else None,
        }
        if case == "one" and device == "cpu":
            read = [s * of.ready.get("bytes", weights) / weights * tokens for s in seconds["read"]]
            row |= {"of the read": ratio(read, seconds[name]), "its bar": READ_BAR if name == "float32" else None}
        found.append(row | {"with": of.ready["version"]})
    for of in contestants.values():
        of.close()
    return found


def ours(words: list[str], device: str) -> Contestant:
    command = [sys.executable, "-m", "benchmarks.contestants.generate_ours", *words]
    shares = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # of a GPU, which the contestants have in common
    env = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1", "JAX_PLATFORMS": device, **shares}
    return Contestant(command, env=env)


def measured(contestants: dict[str, Contestant], rounds: int) -> dict[str, list[float]]:
    """Seconds of one text, or of one read, of each contestant in each round."""
    times = {name: READS if name == "read" else 1 for name in contestants}
    for name, contestant in contestants.items():
        contestant.run(times[name])
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            seconds[name].append(contestant.run(times[name])["seconds"] / times[name])
    return seconds


def ratio(slow: list[float], fast: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def costs(run: str) -> list[dict[str, object]]:
    """Nats a token of the first windows of each validation store of a run."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from gptjax.data import prepared
    from gptjax.generation import decode, network
    from gptjax.training import source

    given = source.open_run(run)
    context = given.cfg.model.context
    (store,) = prepared.prepare(given.cfg).valid.values()
    n = min(64, (store.n_tokens - 1) // context)
    text_BT = store.windows(np.arange(n) * context, context + 1).astype(np.int32)
    found = []
    for precision in PRECISIONS:
        writer = decode.writer(given.params, given.cfg.model, precision)
        machine = writer.machine._replace(native=False)  # whole texts are XLA's to multiply

        @jax.jit
        def nats(packed, tokens_T, machine=machine):
            cache = network.empty(machine, 1, context)
            x_TD, _ = network.read(packed, tokens_T[:-1], jnp.int32(context), cache, jnp.int32(0), machine)
            logits_TV = network.unembed(packed, x_TD, jnp.ones(context, jnp.int32), machine)
            return -jnp.take_along_axis(jax.nn.log_softmax(logits_TV), tokens_T[1:, None], axis=1).mean()

        mean = float(np.mean([nats(writer.packed, tokens_T) for tokens_T in text_BT]))
        held = sum(leaf.nbytes for leaf in jax.tree.leaves(writer.packed["matrices"]))
        more = mean - float(found[0]["nats a token"]) if found else 0.0
        found.append(
            {"weights": precision, "MB": held / 1e6, "nats a token": mean, "more": more, "tokens": n * context}
        )
    return found


if __name__ == "__main__":
    main()
