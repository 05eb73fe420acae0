"""From a small painted picture to the photograph's full size.

`enlarge` gives it the photograph's edges; `keep_strokes` finds it again in a painting of those.

The first is after He & Sun 2015, "Fast Guided Filter" (arXiv 1505.00996): in every small window
the painted picture is taken as a x lightness + b of the photograph; a and b are enlarged instead
of the picture, and applied to the full-size photograph.  Edges that the painting shares with the
photograph come out sharp.  Departures: b is what a leaves of the painted picture, pixel by
pixel, not its mean over the window, so that strokes which are not in the photograph stay; and
both are enlarged by Lanczos's kernel, because linear enlargement leaves squares in flat places.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.images.photo import Photo

RADIUS = 2  # pixels of the small picture; strokes are wider, edges are not
EPSILON = 1e-3  # on the lightness in 0..1: flatter than 3 % counts as flat
STRIP = 256  # rows of the full-size photograph at a time
REC_709 = (0.2126, 0.7152, 0.0722)  # luma of R, G, B


def enlarge(painted: Tensor, small_photo: Tensor, photo: Tensor) -> Tensor:
    """Enlarge a painted picture to its photograph's size.

    Args:
        painted: (3, h, w) uint8, painted from `small_photo`.
        small_photo: (3, h, w) uint8, the photograph made small.
        photo: (3, H, W) uint8, the photograph.

    Returns:
        (3, H, W) uint8.
    """
    slope, offset = _linear_model(painted.float().div_(255), _luma(small_photo))
    _, height, width = photo.shape
    result = torch.empty_like(photo)
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        guide = _luma(photo[:, top:bottom])
        a = _enlarged_rows(slope, top, bottom, height, width)
        b = _enlarged_rows(offset, top, bottom, height, width)
        rows = torch.addcmul(b, a, guide).clamp_(0, 1)
        result[:, top:bottom] = rows.mul_(255).round_().to(torch.uint8)
    return result


def keep_strokes(painted: Tensor, small: Tensor) -> Tensor:
    """Replace all of a painting that a smaller one of the same picture can show by that.

    One step of iterative back-projection, Irani & Peleg 1991, "Improving Resolution by Image
    Registration": shrunk to the size of `small`, the result is `small` but for what eight bits cut.

    Args:
        painted: (3, H, W) uint8, overwritten.
        small: (3, h, w) uint8.

    Returns:
        `painted`.
    """
    _, height, width = painted.shape
    missing = small.float().sub_(Photo(painted).stretched((small.shape[2], small.shape[1])).pixels)
    for top in range(0, height, STRIP):
        rows = painted[:, top : top + STRIP]
        kept = _enlarged_rows(missing, top, top + rows.shape[1], height, width)
        rows.copy_(kept.add_(rows).clamp_(0, 255).round_())
    return painted


def _linear_model(painted: Tensor, guide: Tensor) -> tuple[Tensor, Tensor]:
    """Equations 5 and 8 of He, Sun & Tang 2010, with one guide for three channels."""
    mean_guide, mean_painted = _window_mean(guide), _window_mean(painted)
    covariance = _window_mean(painted * guide) - mean_painted * mean_guide
    variance = _window_mean(guide * guide) - mean_guide * mean_guide
    slope = _window_mean(covariance / (variance + EPSILON))
    return slope, painted - slope * guide


def _window_mean(x: Tensor) -> Tensor:
    """Mean over a square of 2 RADIUS + 1 pixels, cut off at the border."""
    side = 2 * RADIUS + 1
    return F.avg_pool2d(x[None], side, stride=1, padding=RADIUS, count_include_pad=False)[0]


def _luma(image: Tensor) -> Tensor:
    """(3, H, W) uint8 -> (1, H, W) float32 in 0..1."""
    weights = torch.tensor(REC_709) / 255
    return torch.einsum("c,chw->hw", weights, image.float())[None]


def _enlarged_rows(x: Tensor, top: int, bottom: int, height: int, width: int) -> Tensor:
    """Rows top to bottom of (C, h, w) enlarged to (C, height, width)."""
    rows, row_shares = _taps(torch.arange(top, bottom), x.shape[1], height)
    first, last = int(rows.min()), int(rows.max()) + 1
    wide = _weighted(
        x[:, first:last].permute(2, 1, 0), *_taps(torch.arange(width), x.shape[2], width)
    )
    return _weighted(wide.permute(1, 2, 0), rows - first, row_shares).transpose(0, 1)


def _taps(places: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
    """Which six of `before` pixels each of these places of `after` pixels is made of.

    Returns:
        Their indices and their shares by Lanczos's kernel, (N, 6) each.
    """
    exact = (places[:, None] + 0.5) * (before / after) - 0.5
    indices = exact.floor().long() + torch.arange(-2, 4)
    apart = exact - indices
    shares = torch.sinc(apart) * torch.sinc(apart / 3)
    return indices.clamp(0, before - 1), shares / shares.sum(1, keepdim=True)


def _weighted(x: Tensor, indices: Tensor, shares: Tensor) -> Tensor:
    """Sums of so many of x's (M, ...) first dimension, each with its share: (N, ...)."""
    found = F.embedding_bag(indices, x.flatten(1), per_sample_weights=shares, mode="sum")
    return found.view(-1, *x.shape[1:])
