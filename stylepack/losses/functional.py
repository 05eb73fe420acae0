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


def lattice_loss(painted: Tensor, period: int) -> Tensor:
    """How far a picture shows a lattice of `period` x `period` pixels: (N,).

    It may repeat one pattern, or have its edges rather between tiles than within them.  Ten times
    the mean square of the `mean_tile` of (N, 3, H, W) pictures, over the variance of their
    colours (0.01 at least; nothing is learned by that); and the mean square of the `mean_tile` of
    squared steps from pixel to pixel, over the square of their mean (0.0001 at least), for steps
    down and for steps across.

    A network that doubles its picture twice sees at which of 4x4 places each pixel is.  A faint
    weave that is the same everywhere costs little content and brings the Gram matrices near,
    and so do strokes cut at the lattice.  Ours; no paper has it.
    """
    variance: Tensor = painted.detach().flatten(2).var(dim=2).mean(1)
    repeated = _mean_square(mean_tile(painted, period)) / variance.clamp_min(1e-2)
    uneven = torch.zeros_like(repeated)
    for axis in (2, 3):
        steps = painted.diff(dim=axis).square().mean(1, keepdim=True)
        mean = steps.mean(dim=(1, 2, 3)).clamp_min(1e-4)
        uneven = uneven + _mean_square(mean_tile(steps, period)) / mean.square()
    return 10 * repeated + uneven


def hatching_loss(energies: Tensor, allowed: Tensor) -> Tensor:
    """How much more fine hatching there is than may be: two (N, K) `fine_energies` -> (N,).

    The mean square of the logarithm of their ratio, where it is above 1; 1e-5 is always allowed,
    a deviation of 0.8 of 255.

    VGG's Gram matrices hardly tell stripes of two or three pixels, green and magenta, from the
    grain of a canvas, and a network that doubles its picture twice has them for nothing.
    Ours; no paper has it.
    """
    excess = (energies.clamp_min(1e-12) / (allowed + 1e-5)).log().clamp_min(0)
    return excess.square().mean(1)


def fine_energies(images: Tensor, waves: Tensor) -> Tensor:
    """Mean squares of what is finer than four pixels, by direction and colour: (N, 36) float32.

    (N, 3, H, W) RGB in 0..1, at least 4 pixels a side, are convolved with the `fine_waves`, which
    lie on their device.  At every third pixel, down and across: that takes all places of a 4x4
    lattice alike.
    """
    found = torch.nn.functional.conv2d(images.float(), waves, stride=3)
    return found.square().mean(dim=(2, 3))


def fine_waves() -> Tensor:
    """(36, 3, 4, 4) float32: orthonormal waves of which one factor at least has 4 pixels or less.

    Grey and two differences of colours, times products of the four waves of the DCT-II.
    """
    places = torch.arange(4, dtype=torch.float64)
    lines = (torch.pi / 8 * places[:, None] * (2 * places + 1)).cos() * 0.5**0.5
    lines[0] = 0.5
    products = torch.einsum("ui,vj->uvij", lines, lines)
    fine = torch.cat([products[:2, 2:].flatten(0, 1), products[2:].flatten(0, 1)])
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    colours /= torch.linalg.vector_norm(colours, dim=1, keepdim=True)
    return torch.einsum("kc,fij->kfcij", colours, fine).flatten(0, 1).float()


def mean_tile(images: Tensor, side: int) -> Tensor:
    """The mean of all side x side tiles, less its own mean: (N, C, H, W) -> (N, C, side, side)."""
    n, c, height, width = images.shape
    rows, columns = height // side, width // side
    whole = images[..., : rows * side, : columns * side]
    tile = whole.reshape(n, c, rows, side, columns, side).mean(dim=(2, 4))
    return tile - tile.mean(dim=(2, 3), keepdim=True)


def half(images: Tensor) -> Tensor:
    """The next level of an image pyramid: every side halved by averaging 2x2 pixels."""
    return torch.nn.functional.avg_pool2d(images, 2)
