"""The losses, as functions of activations.  They know no networks and no files.

Each returns one float32 value an image, so that per-image styles can be weighed apart.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

PLACES = 256  # whose self-similarity is compared: 16x16


def gram_matrix(features: Tensor, divisor: str = "size") -> Tensor:
    """Gram matrices of activations: (N, C, H, W) -> (N, C, C) float32.

    G[i, j] = sum over pixels of F_i F_j (Gatys, Ecker & Bethge 2016, equation 3), divided
    by C*H*W (`size`: Johnson et al. 2016, equation 3) or H*W (`pixels`: Dumoulin et al. 2017).
    """
    return _products(features, divisor, mean=False)[0]


def gram_and_mean(features: Tensor, divisor: str = "size") -> tuple[Tensor, Tensor]:
    """`gram_matrix`, and the mean of each channel: (N, C, C) and (N, C) float32."""
    return _products(features, divisor, mean=True)


def _products(features: Tensor, divisor: str, *, mean: bool) -> tuple[Tensor, Tensor]:
    n, c, h, w = features.shape
    pixels = features.permute(0, 2, 3, 1).reshape(n, h * w, c)
    count = h * w * (c if divisor == "size" else 1)
    gram, means = _Moments.apply(pixels, count**-0.5, mean)  # type: ignore[no-untyped-call]
    return gram, means


class _Moments(torch.autograd.Function):
    """(s X)^T (s X) and, if asked, the mean of X, for (N, pixels, C).

    Going back takes one product; autograd by itself would take two.
    """

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, scale: float, mean: bool) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(pixels)
        ctx.scale, ctx.mean = scale, mean
        wide = torch.promote_types(pixels.dtype, torch.float32)
        gram = (pixels.transpose(1, 2) @ (pixels * scale)).to(wide) * scale
        return gram, pixels.mean(1, dtype=wide) if mean else gram.new_zeros(())

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, grad_mean: Tensor) -> tuple[Tensor, None, None]:
        # d (s^2 X^T X) = s^2 (dX^T X + X^T dX), so dX = X s^2 (G + G^T).  s^2 is of the order
        # of 1 / pixels: it is applied to the small matrix, in its own wider dtype.
        (pixels,) = ctx.saved_tensors
        both = ((grad + grad.transpose(1, 2)) * ctx.scale**2).to(pixels.dtype)
        if not ctx.mean:
            return pixels @ both, None, None
        each = (grad_mean / pixels.shape[1]).to(pixels.dtype)[:, None]
        return torch.baddbmm(each.expand_as(pixels), pixels, both), None, None


def content_loss(painted: Tensor, photo: Tensor, relative: bool) -> Tensor:
    """Mean squared error of activations an image: two (N, C, H, W) -> (N,).

    Johnson et al. 2016, equation 2.  With `relative` it is divided by the mean square of
    the photograph's activations, so that 1 is as far away as no activations at all.
    """
    error = _mean_square(painted - photo)
    return error / _mean_square(photo).clamp_min(1e-12) if relative else error


def _mean_square(x: Tensor) -> Tensor:
    """Mean square an image: (N, C, H, W) -> (N,) float32 or wider.

    By way of the norm, which reads narrow activations once and sums them in a wide dtype.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(x, dim=(1, 2, 3), dtype=wide)
    return norm.square() / x[0].numel()


def similarity_loss(painted: Tensor, photo: Tensor) -> Tensor:
    """Distance of self-similarities an image: two (N, C, H, W) -> (N,), 0 to 2.

    Kolkin, Salavon & Shakhnarovich 2019 (STROTSS), equation 5: the cosine distances between the
    activations at all pairs of places, each row divided by its sum; here the absolute differences
    are summed over a row and averaged over the rows.  Places that are alike in the photograph must
    be alike in the painting, so a cloud that covers half a cat costs much.
    """
    return (_distances(painted) - _distances(photo)).abs().sum(2).mean(1)


def _distances(features: Tensor) -> Tensor:
    """Cosine distances between places, every row of sum 1: (N, C, H, W) -> (N, P, P) float32."""
    rows = torch.nn.functional.normalize(features.float().flatten(2), dim=1)
    apart = 1 - rows.transpose(1, 2) @ rows
    return apart / apart.sum(2, keepdim=True).clamp_min(1e-6)


def some_places(features: Tensor) -> Tensor:
    """Every k-th row and column of (N, C, H, W), so that at most `PLACES` places are left."""
    height, width = features.shape[-2:]
    step = 1
    while -(-height // step) * -(-width // step) > PLACES:
        step += 1
    return features[..., ::step, ::step]


def style_loss(gram: Tensor, target: Tensor, relative: bool) -> Tensor:
    """Distance of Gram matrices an image: two (N, C, C) -> (N,).

    The mean square of G - A (the authors' code for Johnson et al. and Dumoulin et al.); with
    `relative` ||G - A||^2 / ||A||^2, so that 1 is as far away as a blank image.
    """
    error = (gram - target).square().mean(dim=(1, 2))
    return error / target.square().mean(dim=(1, 2)).clamp_min(1e-12) if relative else error


def total_variation(images: Tensor) -> Tensor:
    """Mean squared difference of neighbours, down plus across: (N, C, H, W) -> (N,)."""
    images = images.float()
    down = (images[..., 1:, :] - images[..., :-1, :]).square().mean(dim=(1, 2, 3))
    across = (images[..., :, 1:] - images[..., :, :-1]).square().mean(dim=(1, 2, 3))
    return down + across


def pixel_loss(painted: Tensor, photo: Tensor) -> Tensor:
    """Squared error over the photograph's variance: two (N, 3, H, W) RGB in 0..1 -> (N,)."""
    photo = photo.float()
    error = (painted.float() - photo).square().mean(dim=(1, 2, 3))
    variance: Tensor = photo.flatten(1).var(dim=1)
    return error / variance.clamp_min(1e-2)


def saturation_loss(logits: Tensor) -> Tensor:
    """Mean squared excess of logits beyond +-3.5 (8 and 247 of 255): (N, C, H, W) -> (N,).

    Deep in saturation the sigmoid passes no gradient, so a bright area that turned white
    early in training would stay a white blob in every style.  Ours; no paper has it.
    """
    return (logits.float().abs() - 3.5).clamp_min(0).square().mean(dim=(1, 2, 3))


def half(images: Tensor) -> Tensor:
    """The next level of an image pyramid: every side halved by averaging 2x2 pixels."""
    return torch.nn.functional.avg_pool2d(images, 2)
