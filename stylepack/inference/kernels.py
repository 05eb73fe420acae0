"""Convolutions of stored rows, in floats and in 8 bits, and the choice of precision.

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

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.errors import DeviceError, UsageError, option
from stylepack.inference.rows import LEVELS, AffineCode, QuantParams
from stylepack.network.convolution import BORDER, REGISTER, doubling_kernel, is_narrow
from stylepack.network.device import has_amx, training_dtype

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")
_LARGEST_WEIGHT = 127
ConvFn = Callable[[Tensor], Tensor]  # one layer's padded rows -> the next convolution's output
Step = tuple[int, int]  # a stride down and across


def product(weight: Tensor, code: AffineCode | None, dtype: torch.dtype, stride: int = 1) -> ConvFn:
    """A convolution without padding, of activations or of coded rows.

    Args:
        weight: (C', C, K, K).
        code: of its input; None for activations themselves.
        dtype: of its input and output.
        stride: in both directions.

    Returns:
        A function of (1, C, H, W) that gives (1, C', H', W').
    """

    def convolution(kernel: Tensor, step: Step) -> ConvFn:
        bias = None if code is None else code.bias(kernel).to(dtype)
        kernel = (kernel if code is None else code.scaled(kernel)).to(dtype)
        return lambda x: F.conv2d(x, kernel, bias, step)

    return any_width_product(weight, stride, convolution)


def any_width_product(
    weight: Tensor, stride: int, convolution: Callable[[Tensor, Step], ConvFn]
) -> ConvFn:
    """A convolution with a `weight`, from one that `convolution` makes for a kernel and a stride.

    The kernel is the weight, or `side_by_side` where that is faster.
    """
    narrow = is_narrow(weight, stride)
    kernel = side_by_side(weight) if narrow else weight
    step = (1, len(kernel) // len(weight)) if narrow else (stride, stride)
    convolve = two_columns(convolution(kernel, step), kernel.shape[-1], step[1])
    return columns_product(convolve, weight) if narrow else convolve


def two_columns(convolve: ConvFn, kernel: int, stride: int) -> ConvFn:
    """A convolution with a `kernel` that wide, which computes a lone column with a second.

    With AMX, convolutions with a stride are wrong where the result is one column wide and has eight
    rows or more (torch 2.14, oneDNN).
    """
    if stride == 1:
        return convolve

    def convolved(x: Tensor) -> Tensor:
        if x.shape[-1] >= kernel + stride:
            return convolve(x)
        return convolve(F.pad(x, (0, stride)))[..., :1]

    return convolved


def side_by_side(weight: Tensor) -> Tensor:
    """A kernel for n neighbouring pixels of a row: (C', C, K, K) -> (n C', C, K, K + n - 1).

    With a stride of n columns its output channels are those of n pixels, in the order of
    channels_last memory.  A convolution to three channels leaves most of a vector register empty;
    one to five times as many fills it.
    """
    n = REGISTER // len(weight)
    return torch.cat([F.pad(weight, (left, n - 1 - left)) for left in range(n)])


def columns_product(convolve: ConvFn, weight: Tensor) -> ConvFn:
    """`product` with a `weight`, for any width; `convolve` has its `side_by_side` kernel."""
    channels, kernel = len(weight), weight.shape[-1]
    n = REGISTER // channels

    def pixels(x: Tensor) -> Tensor:
        parts = convolve(x).permute(0, 2, 3, 1)
        return parts.reshape(*parts.shape[:2], -1, channels)

    def product(x: Tensor) -> Tensor:
        width = x.shape[-1] - kernel + 1
        if width < n:
            x = F.pad(x, (0, n - width))
        rows = pixels(x)
        done = rows.shape[2]
        if done < width:  # the last columns, with some before them
            last = pixels(x[..., -(kernel + n - 1) :])
            rows = torch.cat([rows, last[:, :, done - width :]], dim=2)
        return rows[:, :, :width].permute(0, 3, 1, 2)

    return product


def doubling_product(weight: Tensor, code: AffineCode | None, dtype: torch.dtype) -> ConvFn:
    """`product` of a 3x3 convolution on a doubled image, like `convolve_doubled`."""
    bias = None if code is None else code.bias(weight).to(dtype)
    kernel = doubling_kernel(weight if code is None else code.scaled(weight)).to(dtype)
    return lambda x: F.conv_transpose2d(x, kernel, bias, stride=2, padding=BORDER)


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
    return any_width_product(
        weight, stride, lambda kernel, step: Int8Convolution(kernel, levels, dtype, step)
    )


def int8_doubling_product(weight: Tensor, levels: QuantParams, dtype: torch.dtype) -> ConvFn:
    """A 3x3 convolution of an image doubled by nearest neighbour, with 4/9 of the products.

    Like `convolve_doubled` it takes an image with a border of one pixel, (1, C, H + 2, W + 2),
    and returns (1, C', 2H, 2W).

    Even rows of the result are w0 times the row above plus w1 + w2 times their own, odd rows
    w0 + w1 times their own plus w2 times the one below; columns likewise.  Even and odd columns are
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
    """Cache of convolutions by layer: most layers' levels depend only on the style."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[QuantParams, ConvFn]] = {}

    def of(self, layer: str, levels: QuantParams, make: Callable[[], ConvFn]) -> ConvFn:
        """The layer's convolution, rebuilt if its levels have changed."""
        kept, product = self._kept.get(layer, (None, None))
        if kept is None or product is None or not all(map(torch.equal, kept, levels)):
            product = make()
            self._kept[layer] = levels, product
        return product


class Int8Convolution:
    """A convolution of 8-bit levels without padding; arguments as in `int8_product`.

    `stride`: down and across.
    """

    def __init__(
        self,
        weight: Tensor,
        levels: QuantParams,
        dtype: torch.dtype,
        stride: tuple[int, int] = (1, 1),
    ) -> None:
        self.bias, weight = levels.bias(weight), levels.scaled(weight)
        self.step = (weight.abs().amax((1, 2, 3)) / _LARGEST_WEIGHT).clamp_min(1e-30)
        whole_weight = (weight / self.step[:, None, None, None]).round().to(torch.int8)
        self.stride, self.dtype = [*stride], dtype
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
    x = torch.full((1, 32, 4, 4), LEVELS - 1.0)
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
        DeviceError: int8 without processor instructions for it.
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
