"""Main memory and processors that this process may use.  Does not import torch."""

import os
from pathlib import Path

UNKNOWN = 4 << 30  # bytes assumed where the system does not report its memory
CGROUPS = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes of main memory that this process may still allocate, by Linux's estimate."""
    try:
        free = _table(Path("/proc/meminfo"))["MemAvailable:"] << 10
    except (OSError, LookupError, ValueError):
        return UNKNOWN
    return max(0, min([free, *_left_in_groups()]))


def _left_in_groups() -> list[int]:
    """Bytes below the limits of containers and batch systems; cached files count as free."""
    try:
        own = Path("/proc/self/cgroup").read_text(encoding="ascii").rpartition("0::/")[2].strip()
    except OSError:
        own = ""
    left: list[int] = []
    for group in (CGROUPS / own, *(CGROUPS / own).parents):
        try:
            limit = int((group / "memory.max").read_text(encoding="ascii"))
            used = int((group / "memory.current").read_text(encoding="ascii"))
            left.append(limit - used + _table(group / "memory.stat")["inactive_file"])
        except (OSError, LookupError, ValueError):  # no limit, or no such group
            continue
    return left


def _table(path: Path) -> dict[str, int]:
    """A name and a number from the first two words of every line."""
    rows = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {name: int(number) for name, number, *_ in rows}


def processors(processes: int = 1) -> int:
    """Processors for this process, if `processes` share the machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (usable or 1) // processes)
