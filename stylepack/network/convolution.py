"""The trunk's convolutions, two of them rearranged into the same sums with fewer products.

On a CPU libraries are slow at two layers: a 9x9 convolution to three channels leaves most of a
vector register empty, and a 3x3 convolution of a doubled image multiplies every pixel four times.
docs/performance.md has the figures.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_weight

_FEW = 8  # output channels that do not fill a vector register
REGISTER = 16  # float32 numbers that fill it
BORDER = 3  # pixels on each side of a doubled image that its transposed convolution cuts off


def convolve(x: Tensor, weight: Tensor, stride: int = 1) -> Tensor:
    """`F.conv2d` without padding: (N, C, H, W), (C', C, K, K) -> (N, C', H', W')."""
    if is_narrow(weight, stride):
        return add_rows(F.conv2d(x, row_kernels(weight)), len(weight), weight.shape[2])
    return F.conv2d(x, weight, stride=stride)


def _groups(height: int, channels: int) -> tuple[int, list[int]]:
    """Rows per group, and the first kernel row of each group."""
    rows = -(-height // (REGISTER // channels))
    return rows, [min(start, height - rows) for start in range(0, height, rows)]


def doubling_kernel(weight: Tensor) -> Tensor:
    """A 3x3 kernel for `convolve_doubled`: (C', C, 3, 3) -> (C, C', 4, 4).

    Doubling by nearest neighbour is a transposed convolution with a kernel of 2x2 ones.  Together
    with the 3x3 convolution it is one transposed convolution with the convolution of both kernels:
    along each axis (w2, w2 + w1, w1 + w0, w0).
    """
    # Along each axis, flipped: w with a zero after it plus w with a zero before it.  A matrix of
    # ones would be copied to the device in every update, which waits for it.
    padded = F.pad(weight, (0, 1)) + F.pad(weight, (1, 0))
    padded = F.pad(padded, (0, 0, 0, 1)) + F.pad(padded, (0, 0, 1, 0))
    kernel = padded.flip(-1, -2).transpose(0, 1)
    return kernel.contiguous(memory_format=torch.channels_last)


def convolve_doubled(x: Tensor, kernel: Tensor) -> Tensor:
    """The 3x3 convolution of an image doubled by nearest neighbour, with 4/9 of the products.

    Args:
        x: (N, C, H + 2, W + 2), the image with its outermost rows and columns repeated, which is
            the reflection of the doubled image.
        kernel: from `doubling_kernel`.

    Returns:
        (N, C', 2H, 2W).
    """
    if kernel.requires_grad and torch.is_grad_enabled() and x.device.type == "cpu":
        return _ConvolveDoubled.apply(x, kernel)  # type: ignore[no-any-return, no-untyped-call]
    return F.conv_transpose2d(x, kernel, stride=2, padding=BORDER)


class _ConvolveDoubled(torch.autograd.Function):
    """`convolve_doubled` with an explicit backward: oneDNN's own padding takes twice as long."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor) -> Tensor:
        ctx.save_for_backward(x, kernel)
        return F.conv_transpose2d(x, kernel, stride=2, padding=BORDER)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor]:
        x, kernel = ctx.saved_tensors
        grad = F.pad(grad, (BORDER,) * 4)
        d_x = F.conv2d(grad, kernel, stride=2) if ctx.needs_input_grad[0] else None
        d_kernel = conv2d_weight(grad, kernel.shape, x, stride=2)  # type: ignore[no-untyped-call]
        return d_x, d_kernel


def is_narrow(weight: Tensor, stride: int) -> bool:
    """Whether a large kernel has so few output channels that a CPU should rearrange it."""
    to_few = weight.shape[0] < _FEW <= weight.shape[1] and weight.shape[2] > 3
    return to_few and stride == 1 and weight.device.type == "cpu"


def row_kernels(weight: Tensor) -> Tensor:
    """A kernel's rows as output channels: (C', C, K, K) -> (G C', C, R, K).

    Each of G groups has R rows of the kernel, so that the channels of all groups fill a vector
    register.
    """
    height = weight.shape[2]
    rows, starts = _groups(height, len(weight))
    groups = [weight[:, :, start : start + rows] for start in starts[:-1]]
    rest = height - rows * (len(starts) - 1)  # the last group's other rows are in the previous one
    groups.append(F.pad(weight[:, :, height - rest :], (0, 0, rows - rest, 0)))
    return torch.cat(groups)


def add_rows(parts: Tensor, channels: int, height: int) -> Tensor:
    """Sum the outputs of `row_kernels` for a kernel of this height, each from its own rows.

    (N, G C', H + K - R, W) -> (N, C', H, W) in the same dtype.  A convolution with ones and zeros
    does it in one pass over memory, and adds in float32.
    """
    rows, starts = _groups(height, channels)
    ones = torch.eye(channels, dtype=parts.dtype, device=parts.device)
    kernel = parts.new_zeros(channels, channels * len(starts), height - rows + 1, 1)
    for group, start in enumerate(starts):
        kernel[:, group * channels : (group + 1) * channels, start, 0] = ones
    return F.conv2d(parts, kernel)
