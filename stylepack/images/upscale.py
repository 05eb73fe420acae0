"""Enlarging a small painted picture to the photograph's size.

`enlarge` is the fast guided filter (He & Sun 2015, arXiv 1505.00996): in every small window the
painted picture is modelled as a x lightness + b of the photograph; a and b are enlarged and applied
to the full-size photograph, so that shared edges are sharp.  Differences from the paper: b is the
residual per pixel, not its mean over the window, which keeps strokes that are not in the
photograph; and both are enlarged with a Lanczos kernel, because linear interpolation leaves squares
in flat areas.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.images.photo import resampled

RADIUS = 2  # pixels of the small picture; strokes are wider, edges are not
EPSILON = 1e-3  # regularization, for a lightness in 0..1: below 3 % is flat
STRIP = 64  # rows of the photograph that are processed at once
REC_709 = (0.2126, 0.7152, 0.0722)  # luma of R, G, B


def enlarge(
    painted: Tensor, small_photo: Tensor, photo: Tensor, into: Tensor | None = None
) -> Tensor:
    """Enlarge a painted picture to its photograph's size.

    Args:
        painted: (3, h, w) uint8, painted from `small_photo`.
        small_photo: (3, h, w) uint8, the photograph scaled down.
        photo: (3, H, W) uint8, the photograph.
        into: (3, H, W) uint8, overwritten with the result.

    Returns:
        (3, H, W) uint8.
    """
    _, height, width = photo.shape
    model = _linear_model(painted.float().div_(255), _luma(small_photo))
    enlarged = _Enlarged(model, height, width)
    result = torch.empty_like(photo) if into is None else into
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        guide = _luma(photo[:, top:bottom])
        a, b = enlarged.rows(top, bottom).chunk(2)
        rows = torch.addcmul(b, a, guide).clamp_(0, 1)
        result[:, top:bottom] = rows.mul_(255).round_().to(torch.uint8)
    return result


def keep_strokes(painted: Tensor, small: Tensor) -> Tensor:
    """Replace the low frequencies of a painting with those of a smaller one.

    One step of iterative back-projection, Irani & Peleg 1991, "Improving Resolution by Image
    Registration": scaled down, the result is `small` up to rounding.

    Args:
        painted: (3, H, W) uint8, overwritten.
        small: (3, h, w) uint8.

    Returns:
        `painted`.
    """
    _, height, width = painted.shape
    missing = small.float().sub_(resampled(painted, (small.shape[2], small.shape[1])))
    enlarged = _Enlarged(missing, height, width)
    for top in range(0, height, STRIP):
        rows = painted[:, top : top + STRIP]
        kept = enlarged.rows(top, top + rows.shape[1])
        rows.copy_(kept.add_(rows).clamp_(0, 255).round_())
    return painted


def _linear_model(painted: Tensor, guide: Tensor) -> Tensor:
    """Equations 5 and 8 of He, Sun & Tang 2010, with one guide for three channels.

    Returns:
        (6, h, w): slope a and offset b of each channel.
    """
    mean_guide, mean_painted = _window_mean(guide), _window_mean(painted)
    covariance = _window_mean(painted * guide) - mean_painted * mean_guide
    variance = _window_mean(guide * guide) - mean_guide * mean_guide
    slope = _window_mean(covariance / (variance + EPSILON))
    return torch.cat([slope, painted - slope * guide])


def _window_mean(x: Tensor) -> Tensor:
    """Mean over a square of 2 RADIUS + 1 pixels, smaller at the border."""
    side = 2 * RADIUS + 1
    for _ in range(2):  # along rows, then along columns: faster than avg_pool2d
        size = x.shape[-1]
        counts = F.pad(torch.ones(size), (RADIUS, RADIUS)).unfold(0, side, 1).sum(1)
        padded = F.pad(x, (RADIUS, RADIUS))
        total = padded[..., :size].clone()
        for start in range(1, side):
            total += padded[..., start : start + size]
        x = total.div_(counts).transpose(1, 2)
    return x


def _luma(image: Tensor) -> Tensor:
    """(3, H, W) uint8 -> (1, H, W) float32 in 0..1."""
    weights = torch.tensor(REC_709) / 255
    return torch.einsum("c,chw->hw", weights, image.float())[None]


class _Enlarged:
    """(C, h, w) enlarged to (C, height, width), a few rows at a time."""

    def __init__(self, x: Tensor, height: int, width: int) -> None:
        self.columns = x.permute(2, 1, 0)
        self.height = height
        self.column_taps = _taps(torch.arange(width), x.shape[2], width)

    def rows(self, top: int, bottom: int) -> Tensor:
        """Rows top to bottom: (C, bottom - top, width)."""
        indices, shares = _taps(torch.arange(top, bottom), self.columns.shape[1], self.height)
        first, last = int(indices.min()), int(indices.max()) + 1
        wide = _weighted(self.columns[:, first:last], *self.column_taps)
        return _weighted(wide.permute(1, 2, 0), indices - first, shares).transpose(0, 1)


def _taps(pixels: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
    """Indices and Lanczos weights, (N, 6) each, of the source pixels of (N,) target pixels."""
    exact = (pixels[:, None] + 0.5) * (before / after) - 0.5
    indices = exact.floor().long() + torch.arange(-2, 4)
    apart = exact - indices
    shares = torch.sinc(apart) * torch.sinc(apart / 3)
    return indices.clamp(0, before - 1), shares / shares.sum(1, keepdim=True)


def _weighted(x: Tensor, indices: Tensor, shares: Tensor) -> Tensor:
    """Weighted sums over the first dimension of x, (M, ...): (N, ...)."""
    sums = F.embedding_bag(indices, x.flatten(1), per_sample_weights=shares, mode="sum")
    return sums.view(-1, *x.shape[1:])
