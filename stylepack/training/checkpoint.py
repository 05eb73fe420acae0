"""Checkpoints: one safetensors file, written whole, the one before it kept."""

from pathlib import Path

from torch import Tensor

from stylepack.errors import PackError, TrainingError
from stylepack.packs.tensors import read_tensors, write_tensors

LARGEST = 4 << 30
NAME = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"


def save_checkpoint(folder: Path, state: dict[str, Tensor]) -> None:
    """Write `state` to the run folder; at every moment one whole checkpoint is there."""
    path = folder / NAME
    fresh = folder / f"{NAME}.new"
    write_tensors(fresh, state, {"stylepack.kind": "checkpoint"})
    try:
        if path.exists():
            path.replace(folder / PREVIOUS)
        fresh.replace(path)
    except OSError as error:
        raise TrainingError(
            f"cannot replace {path}: {error.strerror}; the new state is in {fresh}"
        ) from error


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder has a checkpoint to go on from."""
    return any((folder / name).exists() for name in (NAME, PREVIOUS))


def load_checkpoint(folder: Path) -> dict[str, Tensor]:
    """The last whole checkpoint of a run folder.

    Raises:
        TrainingError: none there, or none that is whole.
    """
    problem = f"no checkpoint in {folder}; start a run with `stylepack train -o {folder}`"
    for name in (NAME, PREVIOUS):
        if (folder / name).exists():
            try:
                return read_tensors(folder / name, LARGEST)[1]
            except PackError as error:
                problem = str(error)
    raise TrainingError(problem)
