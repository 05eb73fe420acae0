"""Training one trunk with several processes.

All of them draw the same batches, and each paints its part.  Gradients are averaged in one flat
tensor of at most 7 MB: overlapping communication with the backward pass would gain little.
"""

import hashlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module

import torch
import torch.distributed as dist
from safetensors.torch import load, save
from torch import Tensor

from stylepack.errors import TrainingError, UsageError, first_line
from stylepack.launchers import Launch
from stylepack.network.device import pick_device

PATIENCE = timedelta(minutes=15)  # for other processes; the first may download the loss network


@dataclass(frozen=True)
class Ranks:
    """Process `rank` of `world`.  In a single process, collective operations change nothing."""

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def part(self, batch: int) -> slice:
        """This process's part of a batch.

        Raises:
            UsageError: the batch cannot be divided evenly.
        """
        if batch % self.world:
            raise UsageError(
                f"--batch is {batch}, for all {self.world} processes together; it must be a "
                f"multiple of {self.world}"
            )
        size = batch // self.world
        return slice(self.rank * size, (self.rank + 1) * size)

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over all processes."""
        if self.world == 1:
            return
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        with _talking():
            dist.all_reduce(flat)
        flat /= self.world
        pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
        for tensor, piece in zip(tensors, pieces, strict=True):
            tensor.copy_(piece.view_as(tensor))

    def gather(self, values: Tensor) -> Tensor:
        """CPU tensors of (..., n) from every process, in order: (..., world * n)."""
        if self.world == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world)]
        with _talking():
            dist.all_gather(parts, values.contiguous())
        return torch.cat(parts, dim=-1)

    def largest(self, value: int) -> int:
        """The largest of all processes' values."""
        return int(self.gather(torch.tensor([value])).max())

    def smallest(self, value: int) -> int:
        """The smallest of all processes' values."""
        return int(self.gather(torch.tensor([value])).min())

    def from_first(self, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The first process's result of `make`, in all processes, on the CPU in the others."""
        if self.world == 1:
            return make()
        content = torch.empty(0, dtype=torch.uint8)
        if self.first:
            whole = save({name: t.cpu().contiguous() for name, t in make().items()})
            content = torch.frombuffer(bytearray(whole), dtype=torch.uint8)
        size = self.largest(len(content))
        if not self.first:
            content = torch.empty(size, dtype=torch.uint8)
        with _talking():
            dist.broadcast(content, src=0)
        return load(content.numpy().tobytes())

    def check_same(self, facts: object, what: str) -> None:
        """Check that `facts` have the same `repr` in all processes.

        Raises:
            TrainingError: they differ; the message names `what`.
        """
        digest = hashlib.sha256(repr(facts).encode()).digest()
        number = torch.tensor([int.from_bytes(digest[:7], "big")])
        if len(set(self.gather(number).tolist())) > 1:
            raise TrainingError(
                f"the {self.world} processes do not see the same {what}; give every machine the "
                "same folders and options"
            )

    @contextmanager
    def first_before_others(self) -> Iterator[None]:
        """Let the first process run the block before the others."""
        if not self.first:
            self.largest(0)
        yield
        if self.first:
            self.largest(0)


ALONE = Ranks()


def own_device(name: str, launch: Launch) -> torch.device:
    """`pick_device`, with a different CUDA device for each process of a machine.

    Raises:
        UsageError: there is no such kind of device.
        DeviceError: this machine does not have it, or too few of them.
    """
    device = pick_device(name)
    if device.type == "cuda" and device.index is None and launch.world > 1:
        return pick_device(f"cuda:{launch.local_rank}")
    return device


@contextmanager
def joined(launch: Launch, device: torch.device) -> Iterator[Ranks]:
    """Join the other processes: NCCL between CUDA devices, otherwise Gloo.

    Raises:
        TrainingError: they cannot be reached.
    """
    if launch.world == 1:
        yield ALONE
        return
    # The optimizer's first step imports it.  Imported while the group exists, it would keep the
    # group's threads to the end of the process, which then sometimes aborts.
    import_module("torch._dynamo")
    # No Python handler runs while a process waits for another.  Between updates, `stop_on_signals`
    # handles signals; the next start removes half-written files.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        dist.init_process_group(
            backend, rank=launch.rank, world_size=launch.world, timeout=PATIENCE
        )
    except (RuntimeError, ValueError) as error:
        raise TrainingError(
            f"cannot reach the other {launch.world - 1} processes: {first_line(error)}; start "
            "them all with torchrun"
        ) from error
    yield Ranks(launch.rank, launch.world)
    # Not after an error: others may wait for this process, and this would wait for them.
    dist.destroy_process_group()


@contextmanager
def _talking() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # torch.distributed's errors are all of this kind
        raise TrainingError(
            f"another process of this training has ended or cannot be reached "
            f"({first_line(error)}); see its message; the last checkpoint is kept"
        ) from error
