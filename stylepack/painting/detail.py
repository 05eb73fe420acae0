"""From a small painted picture to the photograph's full size, with the photograph's edges.

After He & Sun 2015, "Fast Guided Filter" (arXiv 1505.00996): in every small window the painted
picture is taken as a x lightness + b of the photograph; a and b are enlarged instead of the
picture, and applied to the full-size photograph.  Edges that the painting shares with the
photograph come out sharp.  Departure: b is what a leaves of the painted picture, pixel by
pixel, not its mean over the window, so that strokes which are not in the photograph stay.
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
    """Rows top to bottom of `x` enlarged bilinearly to (height, width)."""
    rows = (torch.arange(top, bottom) + 0.5) * (x.shape[1] / height) - 0.5
    rows = rows.clamp(0, x.shape[1] - 1)
    above = rows.floor().long()
    below = (above + 1).clamp_max(x.shape[1] - 1)
    share = (rows - above)[None, :, None]
    strip = torch.lerp(x[:, above], x[:, below], share)
    return F.interpolate(strip, size=width, mode="linear", align_corners=False)
