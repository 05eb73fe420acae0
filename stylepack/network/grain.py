"""Grain: faint noise on photographs, so that flat areas are painted too.

Where a photograph has one flat colour, the activations of a network without noise are constant, and
so is its painting.  The grain depends only on the position, so that an image painted again, or in
strips, is the same image.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

COARSE = 4  # pixels of the coarser octave, which reaches the residual body
_TILE = (64, 512)  # rows and columns drawn together; multiples of COARSE


def grain(a: int, b: int, width: int) -> Tensor:
    """Rows a to b of the grain of an image of this width: (b - a, width) float16.

    Two octaves of grey Gaussian noise, one value per pixel and one per square of 4x4, each with a
    standard deviation of 1 / sqrt(2).  A narrower image has the first columns of a wider one's
    grain.
    """
    height, across = _TILE
    first = a // height
    rows = [
        torch.cat([_tile(row, column) for column in range(-(-width // across))], 1)
        for row in range(first, -(-b // height))
    ]
    return torch.cat(rows)[a - first * height : b - first * height, :width]


@lru_cache(maxsize=1)
def grain_on(device: torch.device, height: int, width: int) -> Tensor:
    """The grain of a whole image on a GPU, cached for the next image of that size."""
    return grain(0, height, width).to(device)


@lru_cache(maxsize=256)  # 16 MiB
def _tile(row: int, column: int) -> Tensor:
    generator = torch.Generator().manual_seed((row << 20) + column)
    return random_grain((1, *_TILE), generator)[0, 0].half()


def random_grain(size: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Grain for a batch of (N, H, W): (N, 1, H, W) float32 on the generator's device."""
    n, height, width = size
    fine = torch.randn(n, 1, height, width, generator=generator, device=generator.device)
    small = (n, 1, -(-height // COARSE), -(-width // COARSE))
    coarse = torch.randn(small, generator=generator, device=generator.device)
    coarse = F.interpolate(coarse, scale_factor=COARSE, mode="nearest")
    both: Tensor = (fine + coarse[..., :height, :width]) / 2**0.5
    return both
