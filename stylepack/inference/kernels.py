"""Convolutions of activations stored as affine codes."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.network.convolution import (
    BORDER,
    add_rows,
    doubling_kernel,
    row_kernels,
    splits_rows,
)

ConvFn = Callable[[Tensor], Tensor]  # one layer's padded rows -> the next convolution's output


class AffineCode(NamedTuple):
    """Per-channel affine code: a stored q represents low[c] + step[c] * q.

    Both are (C,) float32; every step is above 0.
    """

    low: Tensor
    step: Tensor

    def bias(self, weight: Tensor) -> Tensor:
        """The output of a (C', C, K, K) convolution for the lows: (C',) float32.

        The norm after it subtracts it again, but without it the values in between would be far from
        0, where narrow floats are coarse.
        """
        return torch.einsum("ochw,c->o", weight.float(), self.low)

    def scaled(self, weight: Tensor) -> Tensor:
        """A (C', C, K, K) kernel multiplied by the steps, float32."""
        return weight.float() * self.step[:, None, None]


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
    apart = splits_rows(weight, stride)
    kernel = row_kernels(weight) if apart else weight
    bias = None if code is None else code.bias(kernel).to(dtype)
    kernel = (kernel if code is None else code.scaled(kernel)).to(dtype)
    if apart:
        return lambda x: add_rows(F.conv2d(x, kernel, bias), len(weight), weight.shape[2])
    return lambda x: F.conv2d(x, kernel, bias, stride)


def doubling_product(weight: Tensor, code: AffineCode | None, dtype: torch.dtype) -> ConvFn:
    """`product` of a 3x3 convolution on a doubled image, in the manner of `convolve_doubled`."""
    bias = None if code is None else code.bias(weight).to(dtype)
    kernel = doubling_kernel(weight if code is None else code.scaled(weight)).to(dtype)
    return lambda x: F.conv_transpose2d(x, kernel, bias, stride=2, padding=BORDER)
