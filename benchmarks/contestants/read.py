"""A plain read of memory on all cores: how fast so many bytes can be read at all. Argument: bytes=N."""

import concurrent.futures
import os
import sys
import time

import numpy as np

from benchmarks.contest import serve


def main(bytes: str) -> None:
    cores = os.cpu_count() or 1
    parts = [np.ones(int(bytes) // 4 // cores, np.float32) for _ in range(cores)]
    pool = concurrent.futures.ThreadPoolExecutor(cores)

    def run(n: int) -> float:
        started = time.perf_counter()
        for _ in range(n):
            list(pool.map(np.max, parts))
        return time.perf_counter() - started

    serve(dict(version=f"numpy {np.__version__}"), run)


main(**dict(pair.split("=") for pair in sys.argv[1:]))
