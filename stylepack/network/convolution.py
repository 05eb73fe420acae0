"""The trunk's convolutions, two of them rearranged into the same sums in less work.

On a CPU the layers that a painter of photographs cannot do without are the ones that
libraries are slowest at: a 9x9 convolution to three channels leaves most of a vector
register empty, and doubling an image before a 3x3 convolution makes it multiply every
pixel four times.  docs/performance.md has the figures.
"""

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

_FEW = 8  # output channels that do not fill a vector register
_BORDER = 3  # pixels on each side of a doubled image that its transposed convolution cuts off


def convolve(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """`F.conv2d` without padding: (N, C, H, W), (C', C, K, K) -> (N, C', H', W')."""
    few = weight.shape[0] < _FEW <= weight.shape[1] and weight.shape[2] > 3
    if few and stride == 1 and x.device.type == "cpu":
        return _convolve_to_few(x, weight)
    return F.conv2d(x, weight, stride=stride)


def _convolve_to_few(x: Tensor, weight: Tensor) -> Tensor:
    """Every row of the kernel is an output channel; a second convolution adds up the rows."""
    c_out, c_in, height, width = weight.shape
    rows = weight.permute(2, 0, 1, 3).reshape(height * c_out, c_in, 1, width)
    return F.conv2d(F.conv2d(x, rows), _gather(c_out, height, x.dtype))


@lru_cache(maxsize=8)
def _gather(channels: int, height: int, dtype: torch.dtype) -> Tensor:
    """(C', K C', K, 1): output channel c takes channel (k, c) from k rows further down."""
    ones = torch.zeros(channels, height, channels, height, 1, dtype=dtype)
    for channel in range(channels):
        ones[channel, range(height), channel, range(height)] = 1
    return ones.reshape(channels, height * channels, height, 1)


def doubling_kernel(weight: Tensor) -> Tensor:
    """What `convolve_doubled` takes instead of a 3x3 kernel: (C', C, 3, 3) -> (C, C', 4, 4).

    Doubling by nearest neighbour is a transposed convolution with a kernel of 2x2 ones.
    That and the 3x3 convolution after it are one transposed convolution, whose kernel is
    their convolution: along each axis (w2, w2 + w1, w1 + w0, w0).
    """
    # Along each axis, flipped: w with a zero behind it and w with a zero before it.  A matrix of
    # ones would be copied to the device in every update, which waits for it.
    padded = F.pad(weight, (0, 1)) + F.pad(weight, (1, 0))
    padded = F.pad(padded, (0, 0, 0, 1)) + F.pad(padded, (0, 0, 1, 0))
    kernel = padded.flip(-1, -2).transpose(0, 1)
    return kernel.contiguous(memory_format=torch.channels_last)


def convolve_doubled(x: Tensor, kernel: Tensor) -> Tensor:
    """The 3x3 convolution of an image doubled by nearest neighbour, in 4/9 of the products.

    Args:
        x: (N, C, H + 2, W + 2), the image with a border of one pixel.  Its last rows and
            columns repeated are the reflection of the doubled image.
        kernel: from `doubling_kernel`.

    Returns:
        (N, C', 2H, 2W).
    """
    if kernel.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu":
        return _ConvolveDoubled.apply(x, kernel)  # type: ignore[no-any-return, no-untyped-call]
    return F.conv_transpose2d(x, kernel, stride=2, padding=_BORDER)


class _ConvolveDoubled(torch.autograd.Function):
    """The same, with a backward for learning the kernel on a CPU.

    The kernel's gradient is that of the convolution which goes the other way.  oneDNN takes
    twice as long over it when it has to pad by itself.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return F.conv_transpose2d(x, kernel, stride=2, padding=_BORDER)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        x, kernel = ctx.saved_tensors
        grad = F.pad(grad, (_BORDER,) * 4)
        d_x = F.conv2d(grad, kernel, stride=2) if ctx.needs_input_grad[0] else None
        d_kernel = conv2d_weight(grad, kernel.shape, x, stride=2)  # type: ignore[no-untyped-call]
        return d_x, d_kernel
