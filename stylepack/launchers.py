"""Rank and number of workers, from the environment of launchers and job arrays."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from stylepack.errors import UsageError

# Index from 0 and number of processes: torchrun, Open MPI, MVAPICH, MPICH and Intel MPI, Slurm.
# Slurm is last, since another launcher may run inside a Slurm job.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
# The same for job arrays: AWS Batch, Google Batch, Cloud Run.
INDEXED = (
    ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    ("BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),
    ("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
)


# Index, first, last and step of job arrays: Slurm, Grid Engine, LSF (whose first index is 1).
SLURM = "SLURM_ARRAY_TASK_"
ARRAYS = (
    (f"{SLURM}ID", f"{SLURM}MIN", f"{SLURM}MAX", f"{SLURM}STEP"),
    ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
    ("LSB_JOBINDEX", "", "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"),
)


def worker(environment: Mapping[str, str]) -> tuple[int, int]:
    """(index of this worker from 0, number of workers).

    If every task of an array launches several processes, all of them are workers.

    Raises:
        UsageError: the environment has no index, or an irregular range of indices.
    """
    launched = _pair(environment, LAUNCHERS)
    task = _array_task(environment) or _pair(environment, INDEXED)
    if launched is None and task is None:
        known = [names[0] for names in (*LAUNCHERS, *ARRAYS, *INDEXED)]
        raise UsageError(
            f"--shard env finds no rank in the environment (it looks for {', '.join(known)}); "
            "give --shard I/N"
        )
    rank, ranks = launched or (0, 1)
    index, tasks = task or (0, 1)
    return index * ranks + rank, tasks * ranks


def _pair(
    environment: Mapping[str, str], names: tuple[tuple[str, str], ...]
) -> tuple[int, int] | None:
    for pair in names:
        index, count = (_number(environment, name) for name in pair)
        if index is not None and count is not None:
            return index, count
    return None


def _array_task(environment: Mapping[str, str]) -> tuple[int, int] | None:
    for names in ARRAYS:
        index, last = _number(environment, names[0]), _number(environment, names[2])
        first, step = (_number(environment, name, 1) for name in (names[1], names[3]))
        if index is None or last is None:
            continue
        if first is None or not step:
            raise UsageError(f"--shard env cannot read {names[1]} or {names[3]}; give --shard I/N")
        if last < first:  # LSF without an array has a last index of 0
            continue
        counted = _number(environment, f"{SLURM}COUNT")
        tasks = (last - first) // step + 1
        irregular = (index - first) % step or not first <= index <= last
        if irregular or (names[0].startswith(SLURM) and counted not in (None, tasks)):
            raise UsageError(
                f"--shard env: {names[0]} is {index}, not in a regular range from {first} to "
                f"{last}; submit an array like 0-7, or give --shard I/N"
            )
        return (index - first) // step, tasks
    return None


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int | None:
    """A variable as a number: the default if it is not set, None if it is not a number."""
    text = environment.get(name)
    if text is None:
        return default
    return int(text) if text.isdecimal() and text.isascii() else None


@dataclass(frozen=True)
class Launch:
    """Rank of this process among all that train together, and among those on its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Launch":
        """Read RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE; one process without WORLD_SIZE.

        Raises:
            UsageError: they are not numbers, or incomplete.
        """
        if "WORLD_SIZE" not in environment:
            return cls()
        try:
            rank, world = int(environment["RANK"]), int(environment["WORLD_SIZE"])
            local_rank = int(environment.get("LOCAL_RANK", rank))
            local_world = int(environment.get("LOCAL_WORLD_SIZE", world))
        except (KeyError, ValueError):
            rank, world, local_rank, local_world = -1, 0, 0, 1
        if not 0 <= rank < world or local_rank < 0 or local_world < 1:
            raise UsageError(
                "WORLD_SIZE is set, but RANK and WORLD_SIZE do not number this process; start it "
                "with torchrun, or unset WORLD_SIZE"
            )
        return cls(rank, world, local_rank, local_world)
