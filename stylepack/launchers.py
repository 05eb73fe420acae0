"""Which of several workers this one is, as launchers and job arrays say in the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from stylepack.errors import UsageError

# Index from 0 and number of launched processes: torchrun, Open MPI, MVAPICH, MPICH and Intel MPI,
# Slurm.  In this order: another launcher may run inside a Slurm job.
LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)
# The same of arrays: AWS Batch, Google Batch, Cloud Run.
INDEXED = (
    ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    ("BATCH_TASK_INDEX", "BATCH_TASK_COUNT"),
    ("CLOUD_RUN_TASK_INDEX", "CLOUD_RUN_TASK_COUNT"),
)


class Array(NamedTuple):
    """The variables of an array whose indices are first, first + step, ... up to last."""

    task: str
    first: str
    last: str
    step: str


# Slurm, Grid Engine, LSF.  LSF does not tell the first, which is taken to be 1.
ARRAYS = (
    Array(
        "SLURM_ARRAY_TASK_ID",
        "SLURM_ARRAY_TASK_MIN",
        "SLURM_ARRAY_TASK_MAX",
        "SLURM_ARRAY_TASK_STEP",
    ),
    Array("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
    Array("LSB_JOBINDEX", "", "LSB_JOBINDEX_END", "LSB_JOBINDEX_STEP"),
)


def worker(environment: Mapping[str, str]) -> tuple[int, int]:
    """(this worker from 0, the number of workers).

    Where every task of an array launches several processes, all of them are workers.

    Raises:
        UsageError: the environment does not say, or its indices are no regular range.
    """
    launched = _pair(environment, LAUNCHERS)
    task = _array_task(environment) or _pair(environment, INDEXED)
    if launched is None and task is None:
        known = [rank for rank, _ in LAUNCHERS] + [one.task for one in ARRAYS]
        known += [index for index, _ in INDEXED]
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
    for index, count in names:
        found = _number(environment, index), _number(environment, count)
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
    return None


def _array_task(environment: Mapping[str, str]) -> tuple[int, int] | None:
    for names in ARRAYS:
        index, last = _number(environment, names.task), _number(environment, names.last)
        first = _number(environment, names.first, 1)
        step = _number(environment, names.step, 1)
        if index is None or last is None:
            continue
        if first is None or not step:
            raise UsageError(
                f"--shard env cannot read {names.first} or {names.step}; give --shard I/N"
            )
        if last < first:  # LSF's 0 of a job without an array
            continue
        counted = _number(environment, "SLURM_ARRAY_TASK_COUNT")
        tasks = (last - first) // step + 1
        irregular = (index - first) % step or not first <= index <= last
        if irregular or (names.task.startswith("SLURM") and counted not in (None, tasks)):
            raise UsageError(
                f"--shard env: {names.task} is {index}, not one of a regular range from {first} "
                f"to {last}; submit an array like 0-7, or give --shard I/N"
            )
        return (index - first) // step, tasks
    return None


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int | None:
    """A variable's number; the default if it is not set, None if it is not a number."""
    text = environment.get(name)
    if text is None:
        return default
    return int(text) if text.isdecimal() and text.isascii() else None


@dataclass(frozen=True)
class Launch:
    """This process's number among all that train together, and among those of its machine."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Launch":
        """What RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE say; alone without WORLD_SIZE.

        Raises:
            UsageError: they are no numbers, or incomplete.
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
