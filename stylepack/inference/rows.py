"""Rows that a layer reads, from an image or a tensor, with borders."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.inference.int8 import QuantParams
from stylepack.inference.kernels import AffineCode
from stylepack.network.grain import grain, grain_on
from stylepack.network.trunk import padded_size


class Source(Protocol):
    """`height` rows of shape (1, channels, 1, width).

    `code` says which activations they represent; None: they are the activations.  Rows with
    `QuantParams` are uint8.
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


class ImageRows:
    """A (3, H, W) uint8 image as a trunk takes it: padded, in 0..1 with grain.

    Args:
        image: on the device that paints.
        amount: standard deviation of the grain, in 0..1.
        dtype: of the rows, uint8 for 8-bit convolutions.
    """

    channels = 3

    def __init__(self, image: Tensor, amount: float, dtype: torch.dtype) -> None:
        self.image, self.amount, self.dtype = image, amount, dtype
        self.height, self.width = padded_size(*image.shape[-2:])
        beyond = torch.full((3,), 4 * amount)
        self.code = QuantParams.between(-beyond, 1 + beyond) if dtype == torch.uint8 else None

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Write rows a to b; padding repeats the image's last row and column."""
        x = padded_rows(self.image, a, b, self.width)
        if self.amount:
            x = x.add(self._grain(a, b, x.device), alpha=self.amount)
        into.copy_(x if self.code is None else self.code.of(x))

    def _grain(self, a: int, b: int, device: torch.device) -> Tensor:
        """Rows of the grain; a GPU keeps all of it, since copying it there means waiting."""
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
    """Rows of an in-memory (1, C, H, W) tensor, encoded on read if `code` is `QuantParams`."""

    def __init__(self, x: Tensor, code: AffineCode) -> None:
        self.x, self.code = x, code
        self.channels, self.height, self.width = x.shape[1:]
        self.dtype = torch.uint8 if isinstance(code, QuantParams) else x.dtype

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Write rows a to b as they are, or quantized."""
        strip = self.x[:, :, a:b]
        into.copy_(self.code.of(strip) if isinstance(self.code, QuantParams) else strip)


class PaddedRows(TensorRows):
    """The inside of a (1, C, H + 2, W + 2) channels_last tensor, whose outermost pixels it fills.

    The border is that of `bordered`.  Rows are not copied, so the border is valid until the inside
    changes.
    """

    def __init__(self, tensor: Tensor, code: AffineCode, *, repeat: bool = False) -> None:
        super().__init__(tensor[:, :, 1:-1, 1:-1], code)
        self.tensor, self.repeat = tensor, repeat
        _fill_border(tensor, 1, 1, 1, repeat=repeat)


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
                x.narrow(dim, border, size).copy_(x.narrow(dim, mirrored, size).flip(dim))
