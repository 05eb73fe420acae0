"""Checkpoints: one safetensors file, written whole, the one before it kept."""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from stylepack.errors import PackError, TrainingError, UsageError
from stylepack.packs.tensors import read_tensors, write_tensors

LARGEST = 4 << 30
NAME = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # Adam's, by torch's names


def save_checkpoint(folder: Path, state: dict[str, Tensor], *, over: bool = False) -> None:
    """Write `state` to the run folder; at every moment one whole checkpoint is there.

    The last one becomes the one before, unless it is damaged or to be written `over`.

    Raises:
        StylepackError: it cannot be written.
    """
    path = folder / NAME
    fresh = folder / f"{NAME}.new"
    write_tensors(fresh, state, {"stylepack.kind": "checkpoint"})
    try:
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())  # a power cut must not leave two names for nothing
        if not over and _is_whole(path):
            path.replace(folder / PREVIOUS)
        fresh.replace(path)
    except OSError as error:
        raise TrainingError(
            f"cannot replace {path}: {error.strerror}; the new state is in {fresh}"
        ) from error


def training_state(
    update: int, parameters: dict[str, nn.Parameter], adam: torch.optim.Adam
) -> dict[str, Tensor]:
    """Weights and Adam's moments under the parameters' names, and the update's number."""
    tensors = {"update": torch.tensor(update)}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter.detach()
        moments = adam.state.get(parameter, {})
        for key in MOMENTS:
            if key in moments:
                tensors[f"{key}/{name}"] = moments[key]
    return tensors


@torch.no_grad()
def restore_training(
    tensors: dict[str, Tensor], parameters: dict[str, nn.Parameter], adam: torch.optim.Adam
) -> int:
    """Put a `training_state` back; return the update's number.

    Raises:
        TrainingError: it belongs to another network or another number of styles.
    """
    for name, parameter in parameters.items():
        weight = tensors.get(f"weight/{name}")
        if weight is None or weight.shape != parameter.shape:
            raise TrainingError(
                f"the checkpoint does not fit this run: '{name}' differs; give the paintings and "
                "the trunk that it was started with"
            )
        parameter.copy_(weight)
        if f"step/{name}" in tensors:
            step = tensors[f"step/{name}"]
            adam.state[parameter] = {
                # The fused optimiser counts on the device, the others on the CPU.
                "step": step.to(parameter.device if adam.defaults["fused"] else "cpu", copy=True),
                "exp_avg": torch.empty_like(parameter).copy_(tensors[f"exp_avg/{name}"]),
                "exp_avg_sq": torch.empty_like(parameter).copy_(tensors[f"exp_avg_sq/{name}"]),
            }
        else:  # a state before the first update: what the optimiser has seen since is void
            adam.state.pop(parameter, None)
    return int(tensors["update"])


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder has a checkpoint to go on from."""
    return any((folder / name).exists() for name in (NAME, PREVIOUS))


def load_checkpoint(folder: Path) -> dict[str, Tensor]:
    """The last whole checkpoint of a run folder.

    Raises:
        TrainingError: none there, or none that is whole.
    """
    for name in (NAME, PREVIOUS):
        state = read_checkpoint(folder / name)
        if state is not None:
            return state
    if not has_checkpoint(folder):
        raise TrainingError(
            f"no checkpoint in {folder}; start a run with `stylepack train -o {folder}`"
        )
    raise TrainingError(
        f"{folder / NAME} and the one before it are damaged or lost; put a copy of one back, or "
        "begin again in another folder"
    )


def read_checkpoint(path: Path) -> dict[str, Tensor] | None:
    """A checkpoint's state; None if it is not there or damaged."""
    try:
        return read_tensors(path, LARGEST)[1]
    except (PackError, UsageError):
        return None


def _is_whole(path: Path) -> bool:
    return read_checkpoint(path) is not None
