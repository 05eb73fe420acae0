"""The largest batch that fits into memory: `--batch auto`."""

from collections.abc import Callable

import torch
from torch import Tensor

from stylepack.errors import TrainingError
from stylepack.memory import available_memory
from stylepack.network.device import is_out_of_memory
from stylepack.training.trainer import Trainer

SHARE = 0.9  # of a device's memory; the rest is for fragments and CUDA graphs
MOST = 512  # images per update on one device
CPU_SHARE = 0.5  # of free memory
CPU_MOST = 16  # on a CPU the time per image hardly depends on the batch
PASSING = 1.5  # peak memory of an update over that saved for the backward pass; measured: 1.4


def find_batch(trainer: Trainer, crop: int, processes: int = 1) -> int:
    """The largest batch of `crop` x `crop` pixels that fits into the device's memory.

    `processes` share this machine's main memory.

    Raises:
        TrainingError: not even one image fits.
    """
    if trainer.device.type == "cuda":
        batch = largest(lambda images: _fits(trainer, images, crop), MOST)
    else:
        memory = CPU_SHARE * available_memory() / processes
        batch = min(CPU_MOST, int(memory / (PASSING * image_bytes(trainer, crop))))
    if not batch:
        raise TrainingError(
            f"not even one image of {crop} pixels fits into the memory of {trainer.device}; use a "
            "smaller --crop"
        )
    return batch


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, by doubling, then bisection; 0 if none does."""
    good, bad = 0, most + 1
    while good < bad - 1:
        middle = min(max(1, 2 * good), most) if bad > most else (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


def image_bytes(trainer: Trainer, crop: int) -> int:
    """Bytes that an update saves per image for the backward pass."""
    return _saved_bytes(trainer, 2, crop) - _saved_bytes(trainer, 1, crop)


def _saved_bytes(trainer: Trainer, images: int, crop: int) -> int:
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        trainer.probe(images, crop)
    return sum(saved.values())


def _fits(trainer: Trainer, images: int, crop: int) -> bool:
    """Whether an update leaves `1 - SHARE` of a CUDA device's memory free."""
    device = trainer.device
    torch.cuda.empty_cache()
    try:
        trainer.probe(images, crop)
        free, total = torch.cuda.mem_get_info(device)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        torch.cuda.empty_cache()
    # Memory of other processes counts as used: `free` is read while the peak is still reserved.
    return free >= (1 - SHARE) * total
