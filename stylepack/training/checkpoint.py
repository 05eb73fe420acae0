"""Checkpoints: one safetensors file, written atomically, and the previous one."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn

from stylepack.errors import PackError, TrainingError, UsageError
from stylepack.packs.tensors import read_tensors, write_tensors

LARGEST = 4 << 30  # bytes
NAME = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
ADAM_STATE = ("step", "exp_avg", "exp_avg_sq")  # by torch's names


def save_checkpoint(folder: Path, state: dict[str, Tensor], *, over: bool = False) -> None:
    """Write `state` to the run folder, which always keeps one complete checkpoint.

    The last one becomes the previous one, unless it is damaged or `over` is set.

    Raises:
        StylepackError: it cannot be written.
    """
    path = folder / NAME
    fresh = folder / f"{NAME}.new"
    write_tensors(fresh, state, {"stylepack.kind": "checkpoint"})
    try:
        with fresh.open("rb+") as file:
            os.fsync(file.fileno())  # else a power cut could leave two empty files
        if not over and read_checkpoint(path) is not None:
            path.replace(folder / PREVIOUS)
        fresh.replace(path)
    except OSError as error:
        raise TrainingError(
            f"cannot replace {path}: {error.strerror}; the new state is in {fresh}"
        ) from error


Parameters = dict[str, nn.Parameter]


def training_state(
    update: int,
    parameters: Parameters,
    adam: torch.optim.Adam,
    average: Mapping[str, Tensor] = MappingProxyType({}),
) -> dict[str, Tensor]:
    """Update, weights, Adam's state and moving averages, under the parameters' names."""
    tensors = {"update": torch.tensor(update)}
    tensors |= {f"average/{name}": tensor for name, tensor in average.items()}
    for name, parameter in parameters.items():
        tensors[f"weight/{name}"] = parameter.detach()
        state = adam.state.get(parameter, {})
        tensors |= {f"{key}/{name}": state[key] for key in ADAM_STATE if key in state}
    return tensors


@torch.no_grad()
def restore_training(
    tensors: dict[str, Tensor],
    parameters: Parameters,
    adam: torch.optim.Adam,
    average: Mapping[str, Tensor] = MappingProxyType({}),
) -> int:
    """Copy a `training_state` back; return its update.

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
                # The fused optimizer counts on the device, the others on the CPU.
                "step": step.to(parameter.device if adam.defaults["fused"] else "cpu", copy=True),
                "exp_avg": torch.empty_like(parameter).copy_(tensors[f"exp_avg/{name}"]),
                "exp_avg_sq": torch.empty_like(parameter).copy_(tensors[f"exp_avg_sq/{name}"]),
            }
        else:  # a state before the first update
            adam.state.pop(parameter, None)
    for name, tensor in average.items():
        tensor.copy_(tensors[f"average/{name}"])
    return int(tensors["update"])


def has_checkpoint(folder: Path) -> bool:
    """Whether a run folder has a checkpoint."""
    return any((folder / name).exists() for name in (NAME, PREVIOUS))


def load_checkpoint(folder: Path) -> dict[str, Tensor]:
    """The last complete checkpoint of a run folder.

    Raises:
        TrainingError: there is none, or all are damaged.
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
        "start again in another folder"
    )


def read_checkpoint(path: Path) -> dict[str, Tensor] | None:
    """A checkpoint's state; None if it is missing or damaged."""
    try:
        return read_tensors(path, LARGEST)[1]
    except (PackError, UsageError):
        return None
