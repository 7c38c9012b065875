"""Clients of `gptjax serve` with GPT-2 124M (random weights): one, then many at once.

    python -m benchmarks.serve [--clients=16] [--requests=500] [--alone=8] [--tokens=64] [--precision=float32]

The server is a process of its own, and each client a thread that sends one request after the other: a prompt of 32
tokens, the likeliest text of `--tokens` tokens. Throughput is of the tokens written, over the whole time.
"""

import argparse
import concurrent.futures
import functools
import http.client
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import numpy as np

from benchmarks.contest import print_machine, print_table

BAR = 4.0  # times one client's throughput
PROMPT = 32  # tokens
CONTENT = {"Content-Type": "application/json"}


class Load(NamedTuple):
    seconds: float
    tokens: int
    latencies: list[float]  # seconds, of the requests that were answered
    errors: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--alone", type=int, default=8, help="requests of the one client")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--precision", default="float32")
    flags = parser.parse_args()
    print_machine()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "benchmarks.contestants.gpt2_folder", f"{folder}/gpt2"], check=True)
        command = [sys.executable, "-m", "gptjax.cli", "serve", f"--from={folder}/gpt2", "--port=0"]
        server = subprocess.Popen(
            [*command, f"--precision={flags.precision}"], stdout=subprocess.PIPE, stderr=sys.stderr, text=True
        )
        try:
            port = port_of(server)
            under(port, 1, 2, flags.tokens)  # compiles
            one = under(port, 1, flags.alone, flags.tokens)
            many = under(port, flags.clients, flags.requests, flags.tokens)
        finally:
            server.terminate()
            server.wait()
    print_table([row(1, one, one), row(flags.clients, many, one)])
    print_machine()


def port_of(server: subprocess.Popen) -> int:
    assert server.stdout is not None
    for line in server.stdout:
        if found := re.search(r"http://127.0.0.1:(\d+)", line):
            return int(found[1])
    raise SystemExit(f"the server ended with {server.wait()} before it answered")


def under(port: int, clients: int, requests: int, tokens: int) -> Load:
    """`requests` in all, from so many clients at once."""
    rng = np.random.default_rng(requests)
    prompts = [rng.integers(0, 50_256, PROMPT).tolist() for _ in range(requests)]
    started = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(functools.partial(ask, port, tokens), prompts))
    seconds = time.perf_counter() - started
    good = [answer for answer in answers if answer is not None]
    return Load(seconds, sum(n for n, _ in good), [latency for _, latency in good], len(answers) - len(good))


def ask(port: int, tokens: int, prompt: list[int]) -> tuple[int, float] | None:
    """The tokens written and the seconds they took; None for anything but an answer."""
    body = json.dumps({"prompt": prompt, "max_tokens": tokens, "temperature": 0})
    started = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("POST", "/v1/completions", body, CONTENT)
        answer = connection.getresponse()
        content = json.loads(answer.read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return (content["usage"]["completion_tokens"], time.perf_counter() - started) if answer.status == 200 else None


def row(clients: int, load: Load, one: Load) -> dict[str, object]:
    rate, alone = load.tokens / load.seconds, one.tokens / one.seconds
    return {
        "clients": clients,
        "requests": len(load.latencies),
        "errors": load.errors,
        "tokens/s": rate,
        "x one client": rate / alone,
        "bar": BAR if clients > 1 else None,
        "median s": statistics.median(load.latencies),
        "95% under s": float(np.quantile(load.latencies, 0.95)),
    }


if __name__ == "__main__":
    main()
