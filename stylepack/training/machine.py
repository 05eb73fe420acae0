"""What this machine has to give.  No torch here."""

import os


def processors(processes: int = 1) -> int:
    """Processors that this process may use, where `processes` share the machine."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (usable or 1) // processes)
