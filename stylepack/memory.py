"""Main memory that this process may still take.  No torch here."""

import os
from pathlib import Path

UNKNOWN = 4 << 30  # bytes that are counted on where the system does not say
CGROUPS = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Bytes of main memory that this process may still take, by Linux's own estimate."""
    try:
        free = _table(Path("/proc/meminfo"))["MemAvailable:"] << 10
    except (OSError, LookupError, ValueError):
        return UNKNOWN
    return max(0, min([free, *_left_in_groups()]))


def _left_in_groups() -> list[int]:
    """What the limits of containers and batch systems leave; files that are cached can go."""
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
    """The first two words of every line: a name and a number."""
    rows = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    return {name: int(number) for name, number, *_ in rows}


def processors(processes: int = 1) -> int:
    """Processors that this process may use, where `processes` share the machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (usable or 1) // processes)
