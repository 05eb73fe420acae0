"""What this machine has to give.  No torch here."""

import os
from pathlib import Path

UNKNOWN = 4 << 30  # bytes that are counted on where the system does not say


def available_memory() -> int:
    """Bytes of main memory that this process may still take, by Linux's own estimate."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError, IndexError):
        return UNKNOWN
    try:  # a container's limit
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii"))
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return free
    return max(0, min(free, limit - used))


def processors(processes: int = 1) -> int:
    """Processors that this process may use, where `processes` share the machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (usable or 1) // processes)
