"""Where a layer of the streamed network takes its numbers from, row by row, borders and all."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.inference.int8 import Levels
from stylepack.inference.kernels import Code
from stylepack.network.grain import grain, grain_on
from stylepack.network.trunk import padded_size


class Source(Protocol):
    """`height` rows of (1, channels, 1, width) numbers of one dtype.

    `code` is what they stand for; without one they stand for themselves.  Numbers with `Levels`
    are uint8.
    """

    channels: int
    height: int
    width: int

    @property
    def code(self) -> Code | None: ...  # noqa: D102

    @property
    def dtype(self) -> torch.dtype: ...  # noqa: D102

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Put rows a to b into a (1, C, b - a, width) part of a channels_last tensor."""


class Pixels:
    """A (3, H, W) uint8 image as a trunk takes it: padded, in 0..1 with grain.

    Args:
        image: on the device that paints.
        amount: the deviation of the grain, in 0..1.
        dtype: of its numbers, uint8 for levels.
    """

    channels = 3

    def __init__(self, image: Tensor, amount: float, dtype: torch.dtype) -> None:
        self.image, self.amount, self.dtype = image, amount, dtype
        self.height, self.width = padded_size(*image.shape[-2:])
        beyond = torch.full((3,), 4 * amount)
        self.code = Levels.between(-beyond, 1 + beyond) if dtype == torch.uint8 else None

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Rows below and columns beyond the image repeat its last ones."""
        last = self.image.shape[-2] - 1
        strip = self.image[None, :, min(a, last) : min(b, last + 1)]
        padding = (0, self.width - strip.shape[-1], 0, b - a - strip.shape[-2])
        x = F.pad(strip.float().div_(255), padding, mode="replicate")
        if self.amount:
            x = x.add(self._grain(a, b, x.device), alpha=self.amount)
        into.copy_(x if self.code is None else self.code.of(x))

    def _grain(self, a: int, b: int, device: torch.device) -> Tensor:
        """On a card all of it is kept: bringing it there means waiting."""
        if device.type == "cpu":
            return grain(a, b, self.width)
        return grain_on(device, self.height, self.width)[a:b]


class Whole:
    """Numbers that are there already, (1, C, H, W), with their code, or activations to turn into
    levels.
    """

    def __init__(self, x: Tensor, code: Code) -> None:
        self.x, self.code = x, code
        self.channels, self.height, self.width = x.shape[1:]
        self.dtype = torch.uint8 if isinstance(code, Levels) else x.dtype

    def write(self, into: Tensor, a: int, b: int) -> None:
        """As they are, or their levels."""
        strip = self.x[:, :, a:b]
        into.copy_(self.code.of(strip) if isinstance(self.code, Levels) else strip)


class Framed(Whole):
    """The inside of a (1, C, H + 2, W + 2) tensor, of whose outermost pixels it makes a border.

    Its rows need no copying.  They are as they are until the inside changes.

    Args:
        tensor: channels_last.
        code: what its numbers stand for.
        repeat: the border is the one that `bordered` makes with `repeat`.
    """

    def __init__(self, tensor: Tensor, code: Code, *, repeat: bool = False) -> None:
        super().__init__(tensor[:, :, 1:-1, 1:-1], code)
        self.tensor, self.repeat = tensor, repeat
        _fill_border(tensor, 1, 1, 1, repeat=repeat)


def bordered(
    source: Source, first: int, last: int, edge: int, device: torch.device, *, repeat: bool = False
) -> Tensor:
    """Rows `first` to `last` of a source, some of which may lie beyond it, with `edge` columns more
    on both sides.

    What lies beyond is its mirror image, without the row or column that it is mirrored at; with
    `repeat`, for an edge of one, it is that row or column again.

    Returns:
        (1, C, last - first, width + 2 edge), channels_last.
    """
    if isinstance(source, Framed) and (edge, repeat) == (1, source.repeat):
        return source.tensor[:, :, first + 1 : last + 1]
    a, b = max(first, 0), min(last, source.height)
    above, below = a - first, last - b
    shape = (1, last - first, source.width + 2 * edge, source.channels)
    x = torch.empty(shape, dtype=source.dtype, device=device).permute(0, 3, 1, 2)
    # In its place at once: padding afterwards would copy all of it.
    source.write(x[:, :, above : above + b - a, edge : edge + source.width], a, b)
    _fill_border(x, edge, above, below, repeat=repeat)
    return x


def _fill_border(x: Tensor, edge: int, above: int, below: int, *, repeat: bool) -> None:
    """Fill so many of a tensor's outermost columns and rows from those further in."""
    skip = 0 if repeat else 1
    for dim, before, after in ((3, edge, edge), (2, above, below)):
        end = x.shape[dim] - after
        for border, size, mirrored in (
            (0, before, before + skip),
            (end, after, end - skip - after),
        ):
            if size:
                x.narrow(dim, border, size).copy_(x.narrow(dim, mirrored, size).flip(dim))
