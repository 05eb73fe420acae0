"""Oklab, a colour space that separates lightness from colour.

Matrices from Björn Ottosson, "A perceptual color space for image processing", 2020,
https://bottosson.github.io/posts/oklab/; transfer function of sRGB from IEC 61966-2-1.
"""

import torch
from torch import Tensor

LINEAR_TO_CONES = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
CONES_TO_LAB = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
LAB_TO_CONES = torch.linalg.inv(CONES_TO_LAB)
CONES_TO_LINEAR = torch.linalg.inv(LINEAR_TO_CONES)

STRIP = 256  # rows that are processed at once, to save memory


def rgb_to_oklab(rgb: Tensor) -> Tensor:
    """(3, H, W) sRGB in 0..1 to (3, H, W) Oklab: lightness in 0..1, a, b."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055).clamp_min(0) ** 2.4)
    cones = torch.einsum("ij,jhw->ihw", LINEAR_TO_CONES, linear)
    return torch.einsum("ij,jhw->ihw", CONES_TO_LAB, cones.clamp_min(0) ** (1 / 3))


def oklab_to_rgb(lab: Tensor) -> Tensor:
    """(3, H, W) Oklab to (3, H, W) sRGB, clamped to 0..1."""
    cones = torch.einsum("ij,jhw->ihw", LAB_TO_CONES, lab) ** 3
    linear = torch.einsum("ij,jhw->ihw", CONES_TO_LINEAR, cones)
    high = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, high).clamp(0, 1)


def keep_colors(painted: Tensor, photo: Tensor) -> Tensor:
    """The painted picture's lightness with the photograph's colours.

    Luminance-only transfer, Gatys et al. 2016, "Preserving Color in Neural Artistic Style
    Transfer", section 3.2; in Oklab instead of YIQ, whose luminance still holds colour.

    Args:
        painted, photo: (3, H, W) uint8 sRGB.

    Returns:
        (3, H, W) uint8 sRGB.
    """
    result = torch.empty_like(painted)
    for top in range(0, painted.shape[1], STRIP):
        rows = slice(top, top + STRIP)
        lab = rgb_to_oklab(photo[:, rows].float().div_(255))
        lab[0] = rgb_to_oklab(painted[:, rows].float().div_(255))[0]
        result[:, rows] = oklab_to_rgb(lab).mul_(255).round_().to(torch.uint8)
    return result
