"""Losses on colours: a painting's palette, and the amount of each colour.

Gram matrices hardly see a wrong hue where it is rare or faint: without these terms, contours have
fringes of colours that the painting does not have, and contrast is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Y of Rec. 601 at half weight, because the tone term decides on light and dark, and Cb and Cr.
OPPONENT = ((0.15, 0.29, 0.06), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))
COLORS = 24  # of a palette
ROUNDS = 25  # of Lloyd's algorithm
MOST_PIXELS = 20_000  # of a painting that its palette is found from
TOLERANCE = 0.02  # of 1: distances well below it cost nothing
DIRECTIONS = 16
QUANTILES = 4096
POOLED = 4  # pixels, side of the squares whose mean colours are compared


@dataclass(frozen=True)
class Palettes:
    """Colours of S paintings.

    `colors`: (S, 24, 3) opponent colours.  `own`: (S,), distance of each painting's own pixels from
    them.  `quantiles`: (S, 16, 4096), sorted projections of its colours on `directions`, (16, 3),
    and `variance`: (S,).
    """

    colors: Tensor
    own: Tensor
    quantiles: Tensor
    variance: Tensor
    directions: Tensor

    @classmethod
    def of(cls, paintings: Sequence[Tensor | None], device: torch.device) -> "Palettes":
        """The palettes of (3, H, W) RGB paintings in 0..1; None is the identity style's."""
        angles = torch.Generator().manual_seed(1)
        directions = F.normalize(torch.randn(DIRECTIONS, 3, generator=angles))
        blank = torch.zeros(3, POOLED, POOLED)
        each = [_palette(blank if one is None else one, directions) for one in paintings]
        colors, own, quantiles, variance = (
            torch.stack(of_all).to(device) for of_all in zip(*each, strict=True)
        )
        return cls(colors, own, quantiles, variance, directions.to(device))

    def palette_loss(self, painted: Tensor, styles: Tensor) -> Tensor:
        """Distance of pixels from the palette, beyond the painting's own: (N, 3, H, W) -> (N,).

        The mean over pixels of sqrt(1 + d^2) - 1, with d the distance to the nearest colour over
        the tolerance: far colours do not drown the other losses.  Ours, not from a paper.
        """
        apart = _off(_opponent(painted), self.colors[styles])
        return (apart - self.own[styles]).clamp_min(0)

    def color_loss(self, painted: Tensor, styles: Tensor) -> Tensor:
        """Sliced Wasserstein distance of colours over their variance: (N, 3, H, W) -> (N,).

        Heitz et al. 2021 ("A Sliced Wasserstein Loss for Neural Texture Synthesis", equation 2), of
        the means of squares of 4x4 pixels.
        """
        found = _projections(painted, self.directions)
        wanted = F.interpolate(
            self.quantiles[styles], size=found.shape[2], mode="linear", align_corners=True
        )
        return (found - wanted).square().mean((1, 2)) / self.variance[styles]


def _palette(painting: Tensor, directions: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values of `Palettes` for one (3, H, W) painting."""
    pixels = _opponent(painting[None])[0]
    pixels = pixels[:: max(1, len(pixels) // MOST_PIXELS)]
    colors = _clusters(pixels)
    projections = _projections(painting[None], directions.to(painting))
    quantiles = F.interpolate(projections, size=QUANTILES, mode="linear", align_corners=True)
    variance = projections.var(2, correction=0).mean().clamp_min(1e-4)
    return colors, _off(pixels[None], colors[None])[0], quantiles[0], variance


def _clusters(pixels: Tensor) -> Tensor:
    """(P, 3) -> (24, 3), by Lloyd's algorithm, initialised with some of the pixels."""
    some = torch.linspace(0, len(pixels) - 1, COLORS).long()
    centers = pixels[pixels[:, 0].argsort()[some]]
    for _ in range(ROUNDS):
        nearest = torch.cdist(pixels, centers).argmin(1)
        sums = torch.zeros_like(centers).index_add_(0, nearest, pixels)
        counts = torch.zeros_like(centers[:, 0]).index_add_(
            0, nearest, torch.ones_like(pixels[:, 0])
        )
        counts = counts[:, None]
        centers = torch.where(counts > 0, sums / counts.clamp_min(1), centers)
    return centers


def _opponent(images: Tensor) -> Tensor:
    """(N, 3, H, W) RGB -> (N, pixels, 3)."""
    red, green, blue = images.float().flatten(2).unbind(1)
    return torch.stack([r * red + g * green + b * blue for r, g, b in OPPONENT], 2)


def _off(pixels: Tensor, colors: Tensor) -> Tensor:
    """Mean distance to the nearest colour: (N, P, 3) and (N, C, 3) -> (N,)."""
    rest = colors.square().sum(2)[:, None] - 2 * pixels @ colors.transpose(1, 2)
    squares = (pixels.square().sum(2) + rest.amin(2)).clamp_min(0) / TOLERANCE**2
    return ((1 + squares).sqrt() - 1).mean(1)


def _projections(images: Tensor, directions: Tensor) -> Tensor:
    """Sorted projections of colours on directions: (N, 3, H, W) -> (N, 16, squares)."""
    squares = F.avg_pool2d(images.float(), POOLED, ceil_mode=True).flatten(2)
    return (directions @ squares).sort(2).values
