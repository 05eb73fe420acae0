"""From a small painted picture to the photograph's full size, with the photograph's edges.

After He & Sun 2015, "Fast Guided Filter" (arXiv 1505.00996): in every small window the painted
picture is taken as a x lightness + b of the photograph; a and b are enlarged instead of the
picture, and applied to the full-size photograph.  Edges that the painting shares with the
photograph come out sharp.  Departures: b is what a leaves of the painted picture, pixel by
pixel, not its mean over the window, so that strokes which are not in the photograph stay; and
both are enlarged by a cubic, because linear enlargement leaves squares in flat places.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

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
    columns, column_shares = _taps(torch.arange(width), x.shape[2], width)
    wide = _weighted(x[:, first:last], 2, columns, column_shares)
    return _weighted(wide, 1, rows - first, row_shares[:, :, None])


def _taps(places: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
    """Which four of `before` pixels each of these places of `after` pixels is made of.

    Returns:
        Their indices and their shares, (4, N) each.
    """
    exact = (places + 0.5) * (before / after) - 0.5
    left = exact.floor()
    t = exact - left
    shares = torch.stack([_mitchell(1 + t), _mitchell(t), _mitchell(1 - t), _mitchell(2 - t)])
    indices = left.long() + torch.arange(-1, 3)[:, None]
    return indices.clamp(0, before - 1), shares


def _mitchell(x: Tensor) -> Tensor:
    """Equation 8 of Mitchell & Netravali 1988, "Reconstruction Filters in Computer Graphics", with
    B = C = 1/3, for x from 0 to 2.
    """
    near = (7 * x**3 - 12 * x**2 + 16 / 3) / 6
    far = (-7 / 3 * x**3 + 12 * x**2 - 20 * x + 32 / 3) / 6
    return torch.where(x < 1, near, far)


def _weighted(x: Tensor, dim: int, indices: Tensor, shares: Tensor) -> Tensor:
    """The sum of four selections along a dimension, each with its shares."""
    result = x.index_select(dim, indices[0]).mul_(shares[0])
    for index, share in zip(indices[1:], shares[1:], strict=True):
        result.addcmul_(x.index_select(dim, index), share)
    return result
