"""Rows that a layer reads, with borders, their codes, and memory outside the heap for them.

On the heap, a block that lives long between blocks that do not leaves holes too small for what
comes next, and freed memory stays with the process.
"""

import mmap
from collections.abc import Sequence
from math import prod
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.inference.statistics import Spread
from stylepack.network.grain import grain, grain_on
from stylepack.network.trunk import padded_size

SMALLEST = 24_000_000  # bytes; page faults take time, so smaller tensors are on the heap
MARGIN = 1.25  # times the range of the sampled pixels
LEVELS = 256
_SMALLEST_STEP = 1e-6


class AffineCode(NamedTuple):
    """Per-channel affine code: a stored q represents low[c] + step[c] * q.

    Both are (C,) float32; every step is above 0.
    """

    low: Tensor
    step: Tensor

    def bias(self, weight: Tensor) -> Tensor:
        """The output of a (C', C, K, K) convolution for the lows: (C',) float32.

        The next norm subtracts it again, but without it intermediate values would be far from 0,
        where narrow floats are coarse.
        """
        return torch.einsum("ochw,c->o", weight.float(), self.low)

    def scaled(self, weight: Tensor) -> Tensor:
        """A (C', C, K, K) kernel multiplied by the steps, float32."""
        return weight.float() * self.step[:, None, None]


class QuantParams(AffineCode):
    """The affine code of 8-bit levels."""

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> "QuantParams":
        """Levels from the lowest to the highest value of each channel, (C,) each."""
        return cls(low, ((high - low) / (LEVELS - 1)).clamp_min(_SMALLEST_STEP))

    @classmethod
    def after_relu(cls, gamma: Tensor, beta: Tensor, range_in_sigmas: float) -> "QuantParams":
        """Levels for a norm and a ReLU: gamma and beta are (K, C), of every style in use."""
        size = gamma.abs()
        low = (beta - range_in_sigmas * size).clamp_min(0).amin(0)
        return cls.between(low, torch.maximum(beta + range_in_sigmas * size, size).amax(0))

    @classmethod
    def spanning(cls, spread: Spread, range_in_sigmas: float) -> "QuantParams":
        """Levels for measured activations, with a margin."""
        mean, most = spread.mean, range_in_sigmas * spread.deviation
        below = torch.minimum(MARGIN * (mean - spread.low), most)
        above = torch.minimum(MARGIN * (spread.high - mean), most)
        return cls.between(mean - below, mean + above)

    def of_norm(self, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """Gamma and beta, (K, C), with which a norm's output is ready for `eight_bits`."""
        return gamma / self.step, (beta - self.low) / self.step + 0.5

    def of(self, x: Tensor) -> Tensor:
        """The levels nearest to (1, C, H, W) activations, by `eight_bits`."""
        ones, zeros = torch.ones_like(self.low), torch.zeros_like(self.low)
        return eight_bits(F.batch_norm(x, zeros, ones, *self.of_norm(ones, zeros), eps=0.0))


def eight_bits(x: Tensor) -> Tensor:
    """Round down and clamp to 0..255: any float dtype below 32,768 -> int16, to copy into uint8."""
    # A direct cast to uint8 takes four times as long, and clamping floats three times.
    return x.to(torch.int16).clamp_(0, LEVELS - 1)


class Pages:
    """An uninitialized tensor, (N, H, ...), whose first rows can be freed before the rest.

    On the CPU, its memory goes back to the system at once; on other devices, only as a whole.

    Raises:
        MemoryError: the system has no more.
    """

    def __init__(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> None:
        self.block: mmap.mmap | None = None
        self.rows = shape[1]
        self.forgotten = 0
        size = prod(shape) * dtype.itemsize
        if device.type != "cpu" or size < SMALLEST:
            self.tensor = torch.empty(tuple(shape), dtype=dtype, device=device)
            return
        self.block = _private_block(size)
        self.tensor = torch.frombuffer(self.block, dtype=dtype).view(tuple(shape))

    def forget(self, before: int) -> None:
        """Free the rows before `before`, which are undefined from then on."""
        before = min(before, self.rows)
        if self.block is None or before <= self.forgotten or not hasattr(self.block, "madvise"):
            return
        image = len(self.block) // len(self.tensor)
        row = image // self.rows
        for first in range(0, len(self.block), image):
            # Pages that are wholly before the row, without that shared with the image before.
            start = max(_pages(first + self.forgotten * row), _pages(first + mmap.PAGESIZE - 1))
            end = _pages(first + before * row)
            if start < end:
                self.block.madvise(mmap.MADV_DONTNEED, start, end - start)
        self.forgotten = before


def tensor_of(image: Tensor | Pages) -> Tensor:
    """The tensor itself, or that of pages."""
    return image.tensor if isinstance(image, Pages) else image


def _pages(size: int) -> int:
    """A number of bytes, rounded down to whole pages."""
    return size // mmap.PAGESIZE * mmap.PAGESIZE


def _private_block(size: int) -> mmap.mmap:
    try:
        if hasattr(mmap, "MAP_PRIVATE"):
            return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        return mmap.mmap(-1, size)  # Windows
    except OSError as error:
        raise MemoryError(f"cannot allocate {size} bytes") from error


class Source(Protocol):
    """`height` rows of shape (1, channels, 1, width).

    `code` maps them to activations; None if they are the activations.  Rows with `QuantParams` are
    uint8.
    """

    channels: int
    height: int
    width: int

    @property
    def code(self) -> AffineCode | None: ...  # noqa: D102

    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Write rows a to b into a (1, C, b - a, width) part of a channels_last tensor."""

    def forget(self, before: int) -> None:
        """Free memory of the rows before `before`, which are not read again."""


class ImageRows:
    """A (3, H, W) uint8 image as a trunk takes it: padded, in 0..1 with grain.

    Args:
        image: on the device that paints.
        amount: standard deviation of the grain, in 0..1.
        dtype: of the rows, uint8 for 8-bit convolutions.
        pages: those of the image, if rows that are not read again may be freed.
    """

    channels = 3

    def __init__(
        self, image: Tensor, amount: float, dtype: torch.dtype, pages: Pages | None = None
    ) -> None:
        self.image, self.amount, self.dtype, self.pages = image, amount, dtype, pages
        self.height, self.width = padded_size(*image.shape[-2:])
        beyond = torch.full((3,), 4 * amount)
        self.code = QuantParams.between(-beyond, 1 + beyond) if dtype == torch.uint8 else None

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Write rows a to b; padding repeats the image's last row and column."""
        x = padded_rows(self.image, a, b, self.width)
        if self.amount:
            x = x.add(self._grain(a, b, x.device), alpha=self.amount)
        into.copy_(x if self.code is None else self.code.of(x))

    def forget(self, before: int) -> None:
        """Free the rows before `before`, but for the last, which padding repeats."""
        if self.pages is not None:
            self.pages.forget(min(before, self.image.shape[-2] - 1))

    def _grain(self, a: int, b: int, device: torch.device) -> Tensor:
        """Rows of the grain; a GPU caches all of it, because copying rows there would block."""
        if device.type == "cpu":
            return grain(a, b, self.width)
        return grain_on(device, self.height, self.width)[a:b]


def padded_rows(image: Tensor, a: int, b: int, width: int) -> Tensor:
    """Rows a to b of a (3, H, W) uint8 image: (1, 3, b - a, width) float32 in 0..1.

    Padding repeats the image's last row and column.
    """
    last = image.shape[-2] - 1
    strip = image[None, :, min(a, last) : min(b, last + 1)]
    padding = (0, width - strip.shape[-1], 0, b - a - strip.shape[-2])
    return F.pad(strip.float().div_(255), padding, mode="replicate")


class TensorRows:
    """Rows of an in-memory (1, C, H, W) tensor, encoded on read if `code` is `QuantParams`.

    `pages`: those of the tensor, if rows that are not read again may be freed.
    """

    def __init__(self, x: Tensor, code: AffineCode, pages: Pages | None = None) -> None:
        self.x, self.code, self.pages = x, code, pages
        self.channels, self.height, self.width = x.shape[1:]
        self.dtype = torch.uint8 if isinstance(code, QuantParams) else x.dtype

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Write rows a to b as they are, or quantized."""
        strip = self.x[:, :, a:b]
        into.copy_(self.code.of(strip) if isinstance(self.code, QuantParams) else strip)

    def forget(self, before: int) -> None:
        """Free the rows before `before`."""
        if self.pages is not None:
            self.pages.forget(before)


class PaddedRows(TensorRows):
    """The inside of a (1, C, H + 2, W + 2) channels_last tensor, whose border it fills.

    The border is that of `bordered`.  Rows are not copied, so the border is valid until the inside
    changes.
    """

    def __init__(
        self,
        tensor: Tensor,
        code: AffineCode,
        pages: Pages | None = None,
        *,
        repeat: bool = False,
    ) -> None:
        super().__init__(tensor[:, :, 1:-1, 1:-1], code, pages)
        self.tensor, self.repeat = tensor, repeat
        _fill_border(tensor, 1, 1, 1, repeat=repeat)

    def forget(self, before: int) -> None:
        """Free the rows before `before`."""
        super().forget(before + 1)  # after the row of the border


def bordered(
    source: Source, first: int, last: int, edge: int, device: torch.device, *, repeat: bool = False
) -> Tensor:
    """Rows `first` to `last` of a source with borders: `edge` columns, and rows outside the source.

    A border is the source's mirror image without the row or column that it is mirrored at; with
    `repeat`, for an edge of one, it repeats that row or column.

    Returns:
        (1, C, last - first, width + 2 edge), channels_last.
    """
    if isinstance(source, PaddedRows) and (edge, repeat) == (1, source.repeat):
        return source.tensor[:, :, first + 1 : last + 1]
    a, b = max(first, 0), min(last, source.height)
    above, below = a - first, last - b
    shape = (1, last - first, source.width + 2 * edge, source.channels)
    x = torch.empty(shape, dtype=source.dtype, device=device).permute(0, 3, 1, 2)
    # Written in place: padding afterwards would copy all of it.
    source.write(x[:, :, above : above + b - a, edge : edge + source.width], a, b)
    _fill_border(x, edge, above, below, repeat=repeat)
    return x


def _fill_border(x: Tensor, edge: int, above: int, below: int, *, repeat: bool) -> None:
    """Fill a tensor's outermost columns and rows from those further in."""
    skip = 0 if repeat else 1
    for dim, before, after in ((3, edge, edge), (2, above, below)):
        end = x.shape[dim] - after
        for border, size, mirrored in (
            (0, before, before + skip),
            (end, after, end - skip - after),
        ):
            if size:
                inner = x.narrow(dim, mirrored, size)
                x.narrow(dim, border, size).copy_(inner.flip(dim) if size > 1 else inner)
