"""8-bit convolutions, and the choice of precision.

Processors with VNNI or AMX instructions multiply 8-bit integers at twice the rate of bfloat16 and
at least four times that of float32.  After conditional instance norm every channel's mean and
standard deviation are its beta and gamma, so the range of activations is known before an image is
seen.

The scheme is Jacob et al. 2018, "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", with one step per channel.  An input channel's step is
multiplied into the weights (Nagel et al. 2019, "Data-Free Quantization Through Weight Equalization
and Bias Correction", section 4.1), where it costs nothing.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.errors import DeviceError, UsageError, option
from stylepack.inference.kernels import AffineCode, ConvFn
from stylepack.network.convolution import add_rows, row_kernels, splits_rows
from stylepack.network.device import has_amx, training_dtype

# A channel's largest distance from its mean, and the range that its levels cover, both in sigmas.
# If a channel exceeds the last limit, 8 bits are too coarse and the layer stays in floats.  In 16
# photographs and two styles the first layers reached 7 to 18 sigmas; a moon in an empty sky, stars,
# a bar on a page and a single pixel reached 20 to 40.
RANGES = ((10.0, 8.0), (18.0, 16.0))
MARGIN = 1.25  # times the range of the pixels that were looked at
_EVERY = 3  # of a large image, every third pixel is looked at: no kernel is narrower
_LARGE = 1 << 13  # pixels
_LEVELS = 256
_LARGEST_WEIGHT = 127
_SMALLEST_STEP = 1e-6
PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")


class Spread(NamedTuple):
    """Range, mean and standard deviation of each channel: (C,) float32 each."""

    low: Tensor
    high: Tensor
    mean: Tensor
    deviation: Tensor

    def range_in_sigmas(self) -> float | None:
        """How many sigmas the levels must cover; None if 8 bits are too coarse for that."""
        apart = torch.maximum(self.high - self.mean, self.mean - self.low)
        farthest = float((apart / self.deviation.clamp_min(1e-12)).max())
        return next((sigmas for seen, sigmas in RANGES if farthest <= seen), None)


class QuantParams(AffineCode):
    """The affine code of 8-bit levels."""

    @classmethod
    def between(cls, low: Tensor, high: Tensor) -> "QuantParams":
        """Levels from the lowest to the highest value of each channel, (C,) each."""
        return cls(low, ((high - low) / (_LEVELS - 1)).clamp_min(_SMALLEST_STEP))

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
    return x.to(torch.int16).clamp_(0, _LEVELS - 1)


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and highest values of each channel, sampled: (1, C, H, W) -> (C,), (C,)."""
    every = _EVERY if x.shape[-2] * x.shape[-1] >= _LARGE else 1
    rows = x[0, :, ::every, ::every].permute(1, 2, 0).contiguous()
    # Over the rows first, because reducing to a few channels at once is slow.
    low, high = rows.flatten(1).amin(0), rows.flatten(1).amax(0)
    low, high = low.view(rows.shape[1:]), high.view(rows.shape[1:])
    return low.amin(0).float(), high.amax(0).float()


def int8_product(
    weight: Tensor, levels: QuantParams, dtype: torch.dtype, stride: int = 1
) -> ConvFn:
    """A convolution without padding of 8-bit levels.

    Args:
        weight: (C', C, K, K) float32 on the CPU.
        levels: of the C channels of its input.
        dtype: of its output, bfloat16 or float32.
        stride: in both directions.

    Returns:
        A function of (1, C, H, W) uint8, channels_last, that gives (1, C', H', W').
    """
    if not splits_rows(weight, stride):
        return Int8Convolution(weight, levels, dtype, stride)
    rows = Int8Convolution(row_kernels(weight), levels, dtype)
    return lambda x: add_rows(rows(x), len(weight), weight.shape[2])


def int8_doubling_product(weight: Tensor, levels: QuantParams, dtype: torch.dtype) -> ConvFn:
    """A 3x3 convolution of an image doubled by nearest neighbour, in 4/9 of the products.

    Like `convolve_doubled` it takes an image with a border of one pixel, (1, C, H + 2, W + 2),
    and returns (1, C', 2H, 2W).

    Even rows of the result are w0 times the row above plus w1 + w2 times their own, odd rows
    w0 + w1 times their own plus w2 times the one below; likewise columns.  Even and odd columns are
    channels of one 2x2 convolution, odd ones first: at the window that begins at pixel j, the odd
    column of j - 1 comes before the even column of j, as in memory.
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
    """A kernel 3 wide along `dim` of a doubled image as two on the image itself, 2 wide each."""
    before, own, after = kernel.unbind(dim)
    return torch.stack([before, own + after], dim), torch.stack([before + own, after], dim)


class Products:
    """Cache of convolutions by layer: most layers' levels depend on the style alone."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[QuantParams, ConvFn]] = {}

    def of(self, layer: str, levels: QuantParams, make: Callable[[], ConvFn]) -> ConvFn:
        """The layer's convolution, made again if its levels have changed."""
        kept, product = self._kept.get(layer, (None, None))
        if kept is None or product is None or not all(map(torch.equal, kept, levels)):
            product = make()
            self._kept[layer] = levels, product
        return product


class Int8Convolution:
    """A convolution of 8-bit levels without padding; arguments as in `int8_product`."""

    def __init__(
        self, weight: Tensor, levels: QuantParams, dtype: torch.dtype, stride: int = 1
    ) -> None:
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
        # oneDNN, through the operator that torch's own quantized graphs use.
        result: Tensor = torch.ops.onednn.qconv2d_pointwise(
            *(x, 1.0, 0, self.weight, self.step, self.zero, self.bias),
            *(self.stride, [0, 0], [1, 1], 1, 1.0, 0, self.dtype, "none", [], ""),
        )
        return result


@lru_cache(maxsize=1)
def int8_is_fast() -> bool:
    """Whether this processor multiplies 8-bit integers fast, and torch does so correctly."""
    checks = ("_is_vnni_supported", "_is_avx512_vnni_supported", "_is_amx_tile_supported")
    if not any(getattr(torch.cpu, check, bool)() for check in checks):
        return False
    x = torch.full((1, 32, 4, 4), _LEVELS - 1.0)
    weight = torch.full((16, 32, 3, 3), float(_LARGEST_WEIGHT))
    levels = QuantParams(torch.zeros(32), torch.ones(32))
    x8 = x.to(torch.uint8).contiguous(memory_format=torch.channels_last)
    try:
        result = Int8Convolution(weight, levels, torch.float32)(x8)
    except (AttributeError, RuntimeError):  # the operators are private to torch
        return False
    return torch.allclose(result, F.conv2d(x, weight))


def painting_dtype(device: torch.device, precision: str = "auto") -> torch.dtype:
    """The dtype to multiply in when painting: `auto`, or one of `PRECISIONS` by name.

    `auto` is bfloat16 on processors with AMX, where rounding to int8 takes longer than it saves;
    else int8 where the processor has instructions for it; else bfloat16 where it is faster than
    float32; float16 on CUDA, since the norms keep activations far from its limits and it rounds
    eight times finer than bfloat16; float32 elsewhere.

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
            f"int8 needs a processor with VNNI or AMX, not {device.type} here; "
            f"use {option('precision', 'auto')}"
        )
    return torch.float16 if device.type == "cuda" else training_dtype(device)
