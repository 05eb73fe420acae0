"""Conditional instance normalization for channels_last memory.

`torch.nn.functional.instance_norm` copies channels_last tensors to NCHW and back, which costs more
than the convolutions around it.  Group norm with one group per channel is the same function and
keeps the layout, but its backward is slow; here it is two sums and two fused passes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-5


def conditional_instance_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Normalise each channel of each image over its pixels, then scale and shift.

    Equation 5 of Dumoulin et al. 2017: z = gamma_s (x - mu) / sigma + beta_s, with mu
    and sigma taken over the spatial axes.

    Args:
        x: (N, C, H, W) activations of any float dtype.
        gamma, beta: (1, C) for one style over the batch, or (N, C) for one per image.

    Returns:
        (N, C, H, W) in the dtype and memory format of `x`.
    """
    gamma, beta = gamma.to(x.dtype), beta.to(x.dtype)
    if torch.is_grad_enabled() or gamma.shape[0] > 1:
        return _ConditionalInstanceNorm.apply(x, gamma, beta)  # type: ignore[no-any-return, no-untyped-call]
    return F.group_norm(x, x.shape[1], gamma[0], beta[0], EPSILON)


class _ConditionalInstanceNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        whitened, _, inverse_std = whiten(x)
        ctx.save_for_backward(whitened, inverse_std, gamma)
        return torch.addcmul(beta[:, :, None, None], whitened, gamma[:, :, None, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        # With xhat the whitened x:  d_beta = sum g,  d_gamma = sum g xhat,
        # dx = gamma / std * (g - mean(g) - xhat mean(g xhat)).
        whitened, inverse_std, gamma = ctx.saved_tensors
        area = whitened.shape[-2] * whitened.shape[-1]
        d_beta = _pixel_sum(grad)
        d_gamma = _pixel_sum(grad * whitened)
        d_x = None
        if ctx.needs_input_grad[0]:
            scale = gamma * inverse_std
            offset, slope = -scale * d_beta / area, -scale * d_gamma / area
            d_x = torch.addcmul(_per_channel(offset, grad), whitened, _per_channel(slope, grad))
            d_x.addcmul_(grad, _per_channel(scale, grad))
        if gamma.shape[0] == 1:
            d_gamma, d_beta = d_gamma.sum(0, keepdim=True), d_beta.sum(0, keepdim=True)
        return d_x, d_gamma.to(gamma.dtype), d_beta.to(gamma.dtype)


def whiten(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / std over the pixels of each channel, the mean, and 1 / std.

    (N, C, H, W) -> the same, (N, C) and (N, C); `EPSILON` is added to the variance.
    """
    if x.device.type != "cpu":
        return whiten_by_parts(x)
    # One kernel that supports channels_last, but only on the CPU.  With float32 weights its
    # statistics are float32 for narrow activations too.
    n, c, h, w = x.shape
    wide = torch.promote_types(x.dtype, torch.float32)
    ones, zeros = torch.ones(c, dtype=wide), torch.zeros(c, dtype=wide)
    whitened, mean, inverse_std = torch.native_group_norm(x, ones, zeros, n, c, h * w, c, EPSILON)
    return whitened, mean.view(n, c), inverse_std.view(n, c)


def whiten_by_parts(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`whiten` in plain operations, for any device."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    variance, mean = torch.var_mean(wide, dim=(2, 3), correction=0, keepdim=True)
    inverse_std = (variance + EPSILON).rsqrt()
    whitened = ((wide - mean) * inverse_std).to(x.dtype)
    return whitened, mean[..., 0, 0], inverse_std[..., 0, 0]


def _pixel_sum(x: Tensor) -> Tensor:
    """Sum over H and W: (N, C, H, W) -> (N, C), rows in the dtype of x, then float32 or wider."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.permute(0, 2, 3, 1).sum(2).sum(1, dtype=wide)


def _per_channel(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like.dtype)[:, :, None, None]
