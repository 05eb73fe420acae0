"""Convolutions in whole numbers: activations and weights of eight bits each.

Processors with VNNI or AMX instructions multiply eight-bit numbers at twice the rate of
bfloat16 and at four times that of float32 or more.  Conditional instance norm makes that easy
to use: after it every channel's mean and deviation are its beta and gamma, so the range of the
activations is known before an image is seen.

The scheme is Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", with a step of its own for every channel.  An input
channel's step is worked into the weights (Nagel et al. 2019, "Data-Free Quantization Through
Weight Equalization and Bias Correction", section 4.1), where it costs nothing.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.errors import DeviceError, UsageError
from stylepack.inference.kernels import Code, Product
from stylepack.network.convolution import add_rows, row_kernels, rows_apart
from stylepack.network.device import has_amx, training_dtype

# A channel's farthest number, in deviations from its mean, and how far levels follow it then.
# Beyond the last eight bits do not do: most of the image would share a handful of levels.  Of 16
# photographs in two styles the first layers went to 7 to 18 deviations, a moon in an empty sky,
# stars, a bar on a page and a single pixel to 20 to 40.
REACHES = ((10.0, 8.0), (18.0, 16.0))
MARGIN = 1.25  # times what was seen, because not every pixel was
_EVERY = 3  # pixels in both directions are enough of a large image: no kernel is narrower
_LARGE = 1 << 13  # pixels
_LEVELS = 256
_LARGEST_WEIGHT = 127
_SMALLEST_STEP = 1e-6
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")


class Spread(NamedTuple):
    """How activations are spread, channel by channel: (C,) float32 each."""

    low: Tensor
    high: Tensor
    mean: Tensor
    deviation: Tensor

    def reach(self) -> float | None:
        """How many deviations levels must cover; None if eight bits are too few for that."""
        apart = torch.maximum(self.high - self.mean, self.mean - self.low)
        farthest = float((apart / self.deviation.clamp_min(1e-12)).max())
        return next((reach for seen, reach in REACHES if farthest <= seen), None)


class Levels(Code):
    """What eight bits stand for."""

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> "Levels":
        """Levels from the lowest to the highest value of each channel, (C,) each."""
        return cls(low, ((high - low) / (_LEVELS - 1)).clamp_min(_SMALLEST_STEP))

    @classmethod
    def after_relu(cls, gamma: Tensor, beta: Tensor, reach: float) -> "Levels":
        """Levels for a norm and a ReLU: gamma and beta are (K, C), of every style in use."""
        size = gamma.abs()
        low = (beta - reach * size).clamp_min(0).amin(0)
        return cls.between(low, torch.maximum(beta + reach * size, size).amax(0))

    @classmethod
    def spanning(cls, spread: Spread, reach: float) -> "Levels":
        """Levels for what activations were seen to be, or a little more."""
        mean, most = spread.mean, reach * spread.deviation
        below = torch.minimum(MARGIN * (mean - spread.low), most)
        above = torch.minimum(MARGIN * (spread.high - mean), most)
        return cls.between(mean - below, mean + above)

    def of_norm(self, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        """The gamma and beta, (K, C), with which a norm's output is ready for `eight_bits`."""
        return gamma / self.step, (beta - self.low) / self.step + 0.5

    def of(self, x: Tensor) -> Tensor:
        """The levels nearest to (1, C, H, W) activations, as `eight_bits` has them."""
        ones, zeros = torch.ones_like(self.low), torch.zeros_like(self.low)
        return eight_bits(F.batch_norm(x, zeros, ones, *self.of_norm(ones, zeros), eps=0.0))


def eight_bits(x: Tensor) -> Tensor:
    """Rounded down and cut at 0 and 255: any float dtype -> int16, to be copied into uint8.

    Numbers must be below 32,768 in size.
    """
    # A cast to uint8 takes four times as long as one by way of int16, and cutting floats three
    # times as long as cutting whole numbers.
    return x.to(torch.int16).clamp_(0, _LEVELS - 1)


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and highest numbers that are seen of each channel: (1, C, H, W) -> (C,), (C,)."""
    every = _EVERY if x.shape[-2] * x.shape[-1] >= _LARGE else 1
    rows = x[0, :, ::every, ::every].permute(1, 2, 0).contiguous()
    # In two steps: over the rows first, because reducing to a few channels at once is slow.
    low, high = rows.flatten(1).amin(0), rows.flatten(1).amax(0)
    low, high = low.view(rows.shape[1:]), high.view(rows.shape[1:])
    return low.amin(0).float(), high.amax(0).float()


def int8_product(weight: Tensor, levels: Levels, dtype: torch.dtype, stride: int = 1) -> Product:
    """A convolution without padding that takes levels instead of activations.

    Args:
        weight: (C', C, K, K) float32 on the CPU.
        levels: of the C channels of its input.
        dtype: of its output, bfloat16 or float32.
        stride: in both directions.

    Returns:
        A function of (1, C, H, W) uint8, channels_last, that gives (1, C', H', W').
    """
    if not rows_apart(weight, stride):
        return Int8Convolution(weight, levels, dtype, stride)
    rows = Int8Convolution(row_kernels(weight), levels, dtype)
    return lambda x: add_rows(rows(x), len(weight), weight.shape[2])


def int8_doubling_product(weight: Tensor, levels: Levels, dtype: torch.dtype) -> Product:
    """A 3x3 convolution of an image doubled by nearest neighbour, in 4/9 of the products.

    As `convolve_doubled` it takes an image with a border of one pixel, (1, C, H + 2, W + 2),
    and gives (1, C', 2H, 2W).

    Even rows of the result see two rows of the image, w0 of the row above and w1 + w2 of their
    own, odd rows w0 + w1 of their own and w2 of the one below; so do columns.  Even and odd
    columns are channels of one 2x2 convolution, odd ones first: where its window begins at pixel
    j, the odd column right of j - 1 lies beside the even column of j, as they do in memory.
    """
    even, odd = (
        Int8Convolution(torch.cat(_even_and_odd(rows, 3)[::-1]), levels, dtype)
        for rows in _even_and_odd(weight, 2)
    )
    channels = len(weight)

    def product(x: Tensor) -> Tensor:
        height, width = x.shape[-2] - 2, x.shape[-1] - 2
        doubled = torch.empty(1, height, 2, 2 * width, channels, dtype=dtype)
        for parity, convolution in enumerate((even, odd)):
            pairs = convolution(x[:, :, parity : parity + height + 1])
            row = pairs.permute(0, 2, 3, 1).reshape(1, height, -1, channels)
            doubled[:, :, parity] = row[:, :, 1:-1]
        return doubled.view(1, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)

    return product


def _even_and_odd(kernel: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """What a kernel that is 3 wide along `dim` of a doubled image is on the image: 2 wide each."""
    before, own, after = kernel.unbind(dim)
    return torch.stack([before, own + after], dim), torch.stack([before + own, after], dim)


class Products:
    """Products by layer, kept from image to image: most layers' levels are the style's alone."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[Levels, Product]] = {}

    def of(self, layer: str, levels: Levels, make: Callable[[], Product]) -> Product:
        """The layer's product, made anew if its levels are not those of the last one."""
        kept, product = self._kept.get(layer, (None, None))
        if kept is None or product is None or not all(map(torch.equal, kept, levels)):
            product = make()
            self._kept[layer] = levels, product
        return product


class Int8Convolution:
    """A convolution without padding, on levels: `int8_product` says of what and in what."""

    def __init__(self, weight: Tensor, levels: Levels, dtype: torch.dtype, stride: int = 1) -> None:
        self.bias, weight = levels.bias(weight), levels.scaled(weight)
        self.step = (weight.abs().amax((1, 2, 3)) / _LARGEST_WEIGHT).clamp_min(1e-30)
        whole_weight = (weight / self.step[:, None, None, None]).round().to(torch.int8)
        self.stride, self.dtype = [stride, stride], dtype
        self.zero = torch.zeros(len(weight), dtype=torch.int64)
        self.weight = torch.ops.onednn.qconv_prepack(
            whole_weight, self.step, 1.0, 0, self.stride, [0, 0], [1, 1], 1, None
        )

    def __call__(self, x: Tensor) -> Tensor:
        """(1, C, H, W) uint8, channels_last, -> (1, C', H', W')."""
        # oneDNN through the operator that torch's own quantised graphs are made of.
        result: Tensor = torch.ops.onednn.qconv2d_pointwise(
            *(x, 1.0, 0, self.weight, self.step, self.zero, self.bias),
            *(self.stride, [0, 0], [1, 1], 1, 1.0, 0, self.dtype, "none", [], ""),
        )
        return result


@lru_cache(maxsize=1)
def int8_is_fast() -> bool:
    """Whether this processor multiplies eight-bit numbers fast, and torch gets them right."""
    checks = ("_is_vnni_supported", "_is_avx512_vnni_supported", "_is_amx_tile_supported")
    if not any(getattr(torch.cpu, check, bool)() for check in checks):
        return False
    x = torch.full((1, 32, 4, 4), _LEVELS - 1.0)
    weight = torch.full((16, 32, 3, 3), float(_LARGEST_WEIGHT))
    levels = Levels(torch.zeros(32), torch.ones(32))
    x8 = x.to(torch.uint8).contiguous(memory_format=torch.channels_last)
    try:
        found = Int8Convolution(weight, levels, torch.float32)(x8)
    except (AttributeError, RuntimeError):  # the operators are torch's own affair
        return False
    return torch.allclose(found, F.conv2d(x, weight))


def painting_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """The dtype to multiply in when painting: `auto`, or one of `PRECISIONS` by name.

    `auto` is bfloat16 on processors with AMX, which multiply it so fast that rounding to int8 takes
    longer than it saves; int8 on others with instructions for that; bfloat16 on others that
    multiply it faster than float32; float16 on CUDA (the norms keep activations far from its
    limits, and it rounds eight times finer than bfloat16); float32 elsewhere.

    Raises:
        UsageError: no such precision.
        DeviceError: int8 where there are no instructions for it.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"no precision '{precision}'; use one of {', '.join(PRECISIONS)}")
    if precision not in ("auto", "int8"):
        dtype: torch.dtype = getattr(torch, precision)
        return dtype
    if device.type == "cpu" and int8_is_fast() and (precision == "int8" or not has_amx()):
        return torch.int8
    if precision == "int8":
        raise DeviceError(
            f"no int8 on {device.type} here; it is for processors with VNNI or AMX; "
            "use --precision auto"
        )
    return torch.float16 if device.type == "cuda" else training_dtype(device)
