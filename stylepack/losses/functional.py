"""The losses, as functions of activations and pixels.

Each returns one float32 value per image, so that every image can have its own style weight.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from stylepack.images.upscale import REC_709

PLACES = 256  # positions whose self-similarity is compared: 16x16


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
    """(s X)^T (s X) and optionally the mean of X, for (N, pixels, C).

    The backward takes one product; autograd's would take two.
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
    """Mean squared error of activations: two (N, C, H, W) -> (N,).

    Johnson et al. 2016, equation 2.  `relative` divides it by the mean square of the photograph's
    activations, so that zero activations have a loss of 1.
    """
    error = _mean_square(painted - photo)
    return error / _mean_square(photo).clamp_min(1e-12) if relative else error


def _mean_square(x: Tensor) -> Tensor:
    """Mean square per image: (N, C, H, W) -> (N,) float32 or wider.

    `vector_norm` reads narrow activations once and sums them in a wide dtype.
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    norm: Tensor = torch.linalg.vector_norm(x, dim=(1, 2, 3), dtype=wide)
    return norm.square() / x[0].numel()


def similarity_loss(painted: Tensor, photo: Tensor) -> Tensor:
    """Distance of self-similarities: two (N, C, H, W) -> (N,), 0 to 2.

    Kolkin, Salavon & Shakhnarovich 2019 (STROTSS), equation 5: cosine distances between the
    activations at all pairs of positions, each row divided by its sum; here the absolute
    differences are summed over a row and averaged over the rows.  Positions that are alike in the
    photograph must be alike in the painting.
    """
    return (_distances(painted) - _distances(photo)).abs().sum(2).mean(1)


def _distances(features: Tensor) -> Tensor:
    """Cosine distances between positions, rows of sum 1: (N, C, H, W) -> (N, P, P) float32."""
    rows = torch.nn.functional.normalize(features.float().flatten(2), dim=1)
    apart = 1 - rows.transpose(1, 2) @ rows
    return apart / apart.sum(2, keepdim=True).clamp_min(1e-6)


def some_places(features: Tensor) -> Tensor:
    """Every k-th row and column of (N, C, H, W), so that at most `PLACES` positions remain."""
    height, width = features.shape[-2:]
    step = 1
    while -(-height // step) * -(-width // step) > PLACES:
        step += 1
    return features[..., ::step, ::step]


def style_loss(gram: Tensor, target: Tensor, relative: bool) -> Tensor:
    """Distance of Gram matrices: two (N, C, C) -> (N,).

    The mean square of G - A (the authors' code for Johnson et al. and Dumoulin et al.); with
    `relative` ||G - A||^2 / ||A||^2, so that a blank image has a loss of 1.
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


def tone_loss(painted: Tensor, photo: Tensor) -> Tensor:
    """Difference of light and dark areas, over the photograph's: two (N, 3, H, W) RGB -> (N,).

    Mean squared error of the luma (ITU-R BT.709) of squares of 8x8 pixels, without its mean, so a
    painting may be lighter or darker as a whole.  VGG's deep layers and Gram matrices hardly see
    whether an area is light or dark.  Ours, not from a paper.
    """
    painted, photo = _tones(painted), _tones(photo)
    return (painted - photo).square().mean(1) / photo.square().mean(1).clamp_min(1e-3)


def _tones(images: Tensor) -> Tensor:
    """Luma of squares without its mean: (N, 3, H, W) -> (N, squares)."""
    red, green, blue = images.float().unbind(1)
    of_red, of_green, of_blue = REC_709
    luma = of_red * red + of_green * green + of_blue * blue
    squares = torch.nn.functional.avg_pool2d(luma, 8).flatten(1)
    return squares - squares.mean(1, keepdim=True)


def saturation_loss(logits: Tensor) -> Tensor:
    """Mean squared excess of logits beyond +-3.5 (8 and 247 of 255): (N, C, H, W) -> (N,).

    A saturated sigmoid passes no gradient, so an area that turned white early in training would
    stay white in every style.  Ours, not from a paper.
    """
    return (logits.float().abs() - 3.5).clamp_min(0).square().mean(dim=(1, 2, 3))


def lattice_loss(painted: Tensor, period: int) -> Tensor:
    """Strength of a lattice of `period` x `period` pixels in (N, 3, H, W) pictures: (N,).

    The sum of two terms.  A repeated pattern: ten times the mean square of `mean_tile`, over the
    variance of the colours (at least 0.01, without gradient).  Edges between tiles: the mean square
    of the `mean_tile` of squared differences of neighbours, over the square of their mean (at least
    0.0001), down plus across.

    A network that doubles its picture twice knows a pixel's position modulo 4.  A faint weave that
    is the same everywhere costs little content and improves the Gram matrices, and so do strokes
    that end at the lattice.  Ours, not from a paper.
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
    """Fine hatching beyond what is allowed: two (N, K) `fine_energies` -> (N,).

    The mean square of the logarithm of their ratio, where it is above 1; 1e-5 is always allowed,
    a standard deviation of 0.8 of 255.

    VGG's Gram matrices hardly distinguish green and magenta stripes of two or three pixels from the
    grain of a canvas, and a network that doubles its picture twice paints them at no cost.
    Ours, not from a paper.
    """
    excess = (energies.clamp_min(1e-12) / (allowed + 1e-5)).log().clamp_min(0)
    return excess.square().mean(1)


def fine_energies(images: Tensor, waves: Tensor) -> Tensor:
    """Mean squares of details below four pixels, by direction and colour: (N, 36) float32.

    (N, 3, H, W) RGB in 0..1, at least 4 pixels a side, are convolved with `fine_waves` on the same
    device, at every third pixel, which visits all positions of a 4x4 lattice equally.
    """
    responses = torch.nn.functional.conv2d(images.float(), waves, stride=3)
    return responses.square().mean(dim=(2, 3))


def fine_waves() -> Tensor:
    """(36, 3, 4, 4) float32: orthonormal waves with a period of at most 4 pixels along an axis.

    Grey and two colour differences, times products of the four waves of the DCT-II.
    """
    k = torch.arange(4, dtype=torch.float64)
    lines = (torch.pi / 8 * k[:, None] * (2 * k + 1)).cos() * 0.5**0.5
    lines[0] = 0.5
    products = torch.einsum("ui,vj->uvij", lines, lines)
    fine = torch.cat([products[:2, 2:].flatten(0, 1), products[2:].flatten(0, 1)])
    colours = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
    colours /= torch.linalg.vector_norm(colours, dim=1, keepdim=True)
    return torch.einsum("kc,fij->kfcij", colours, fine).flatten(0, 1).float()


def mean_tile(images: Tensor, side: int) -> Tensor:
    """The mean of all tiles, minus its own mean: (N, C, H, W) -> (N, C, side, side)."""
    n, c, height, width = images.shape
    rows, columns = height // side, width // side
    whole = images[..., : rows * side, : columns * side]
    tile = whole.reshape(n, c, rows, side, columns, side).mean(dim=(2, 4))
    return tile - tile.mean(dim=(2, 3), keepdim=True)


def half(images: Tensor) -> Tensor:
    """The next level of an image pyramid: means of 2x2 pixels."""
    return torch.nn.functional.avg_pool2d(images, 2)
