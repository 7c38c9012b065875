"""Two processes from the shell to their first step, and what 8 virtual replicas cost over one device.

    python -m benchmarks.hosts [--config=configs/smoke.py]

Both processes share this machine's cores, so each gets half of what a host of its own would have. The start is warm:
programs and tokens are cached in a temporary folder by a start before it, which is shown too. The overhead is of the
same update on the same global batch, in one process: virtual devices divide the cores, so all of it is the price of
cutting the work in eight and adding up the gradients, and none of it is speed-up.
"""

import argparse
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time

from benchmarks.contest import print_machine, print_table

START_S = 20.0  # bar
STEPS = 12  # timed, of which the median counts
SMALL = ["model.context=128", "batch_tokens=2048"]  # 16 rows of the smoke run's model
STEP = """
import sys, time, numpy as np, jax
from gptjax import config, mesh
from gptjax.data.batches import Batch
from gptjax.training import sharding, step
cfg = config.load(sys.argv[1], sys.argv[3:])
on, shape = mesh.make(cfg.mesh), (cfg.batch_size, cfg.model.context)
tokens = np.random.default_rng(0).integers(1, cfg.model.vocab_size, shape).astype(np.int32)
documents = (np.zeros_like(tokens), np.tile(np.arange(shape[1], dtype=np.int32), (shape[0], 1)))
batch = sharding.put(Batch(tokens, tokens, np.ones(shape, np.float32), *documents), on)
state, update = step.init_state(cfg, on), step.make_update(cfg, on)
for _ in range(int(sys.argv[2])):
    began = time.perf_counter()
    state, metrics = update(state, batch)
    jax.block_until_ready((state, metrics))
    print(time.perf_counter() - began)
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def environment(devices: int, **more: str) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    return os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"} | more


def start(file: str, n: int, folder: pathlib.Path, run: str) -> float:
    """Seconds from the shell until n processes of 4 devices each have shown their first step; then they are killed."""
    command = [sys.executable, "-m", "gptjax.cli", "train", f"--config={file}", f"--workdir={folder / run}"]
    keys = [f"--config.data.cache={folder / 'data'}", "--config.log_every=1", "--config.batch_tokens=2048"]
    told = {"JAX_COMPILATION_CACHE_DIR": str(folder / "xla"), "GPTJAX_NUM_PROCESSES": str(n)}
    told["GPTJAX_COORDINATOR"] = f"127.0.0.1:{free_port()}"
    began, children = time.perf_counter(), []
    try:
        for index in range(n):
            env = environment(4, GPTJAX_PROCESS_ID=str(index), **told)
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
            children.append(subprocess.Popen([*command, *keys], env=env, **pipes))
        for line in children[0].stdout:
            if line.startswith("step"):
                return time.perf_counter() - began
    finally:
        for child in children:
            child.kill()
            child.communicate()
    raise SystemExit("the processes ended before their first step")


def step_seconds(file: str, devices: int, mesh: list[str]) -> float:
    """The median of an update's seconds in one process with so many virtual devices."""
    command = [sys.executable, "-c", STEP, file, str(STEPS), *SMALL, *mesh]
    done = subprocess.run(command, env=environment(devices), check=True, capture_output=True, text=True)
    return statistics.median(map(float, done.stdout.split()[2:]))


def main() -> None:
    parser = argparse.ArgumentParser(description="what several processes and devices cost on this machine")
    parser.add_argument("--config", default="configs/smoke.py", metavar="FILE")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        starts = [(name, n, start(flags.config, n, folder, f"{name}-{n}")) for name in ("cold", "warm") for n in (2, 1)]
    rows: list[dict[str, object]] = [
        {
            "what": f"{name}: {n} process{'es' if n > 1 else ''} to the first step",
            "seconds": seconds,
            "bar": START_S if n > 1 else None,
            "": "MISSED" if n > 1 and seconds > START_S else "",
        }
        for name, n, seconds in starts
    ]
    one = step_seconds(flags.config, 1, [])
    rows.append({"what": "one device: an update", "seconds": one, "bar": None, "": ""})
    for name, mesh in [("8 replicas", ["mesh.replica=8", "mesh.data=1"]), ("8-way FSDP", ["mesh.data=8"])]:
        seconds = step_seconds(flags.config, 8, mesh)
        rows.append({"what": f"{name}: an update", "seconds": seconds, "bar": None, "": f"{seconds / one:.2f} x"})
    print_table(rows)
    print_machine()


if __name__ == "__main__":
    main()
