"""The largest batch that fits into memory: `--batch auto`."""

from collections.abc import Callable

import torch
from torch import Tensor

from stylepack.errors import TrainingError
from stylepack.memory import available_memory
from stylepack.network.device import is_out_of_memory
from stylepack.training.trainer import Trainer

ROOM = 0.9  # of a device's memory; the rest is for fragments and for graphs of kernels
MOST = 512  # images an update on one device
CPU_SHARE = 0.5  # of the memory that is free
CPU_MOST = 16  # on a CPU the time of an image hardly depends on how many there are
PASSING = 1.5  # memory of an update over what it keeps for going back; measured: 1.4


def find_batch(trainer: Trainer, crop: int, processes: int = 1) -> int:
    """The most images of `crop` pixels that one update of this device holds; trains nothing.

    Args:
        trainer: its device, networks and losses.
        crop: side of the images in pixels.
        processes: how many share this machine's main memory.

    Raises:
        TrainingError: not even one image fits.
    """
    if trainer.device.type == "cuda":
        found = largest(lambda images: _fits(trainer, images, crop), MOST)
    else:
        room = CPU_SHARE * available_memory() / processes
        found = min(CPU_MOST, int(room / (PASSING * image_bytes(trainer, crop))))
    if not found:
        raise TrainingError(
            f"not even one image of {crop} pixels fits into the memory of {trainer.device}; use a "
            "smaller --crop"
        )
    return found


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, if all below it do; 0 if none does.

    Doubles until something does not fit, then bisects.
    """
    good, bad = 0, most + 1
    while good < bad - 1:
        middle = min(max(1, 2 * good), most) if bad > most else (good + bad) // 2
        if fits(middle):
            good = middle
        else:
            bad = middle
    return good


def image_bytes(trainer: Trainer, crop: int) -> int:
    """Bytes that each image of an update keeps for the way back."""
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
    """Whether an update leaves `1 - ROOM` of a CUDA device's memory free."""
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
    # What others hold counts as taken: free is measured while the peak is still reserved.
    return free >= (1 - ROOM) * total
