"""What a device really held, beside what its program was compiled to hold."""

from collections.abc import Mapping
from typing import Any


def against_plan(stats: Mapping[str, int] | None, memory: Any) -> dict[str, float]:
    """Metrics of `device.memory_stats()` and `compiled.memory_analysis()`, in bytes: the most that the device held, and
    by which fraction of the plan that is more. Empty where the device counts nothing, as a CPU does. Never run on a
    TPU."""
    if stats is None or memory is None or "peak_bytes_in_use" not in stats:
        return {}
    planned = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
    )
    peak = stats["peak_bytes_in_use"]
    return {"perf/memory_bytes": float(peak), "perf/memory_over_plan": peak / planned - 1}
