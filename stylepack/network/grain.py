"""Grain: faint noise on photographs, so that flat areas are painted too.

Where a photograph is one flat colour, every activation of a network without noise is constant,
and so is what it paints there.  The grain is a function of the position alone: an image painted
twice, or in strips, is the same image.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

COARSE = 4  # pixels: the coarser of its two octaves, which survives to the residual body
_BLOCK = 64  # rows that are drawn together; a multiple of COARSE


def grain(a: int, b: int, width: int) -> Tensor:
    """Rows a to b of the grain of an image of this width: (b - a, width) float32.

    Two octaves of Gaussian noise, one value a pixel and one a square of 4x4, grey, each of
    deviation 1 / sqrt(2).
    """
    first = a // _BLOCK
    blocks = [_block(number, width) for number in range(first, -(-b // _BLOCK))]
    whole = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
    return whole[a - first * _BLOCK : b - first * _BLOCK]


def random_grain(size: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """Grain for a batch of (N, H, W): (N, 1, H, W) float32 on the generator's device."""
    n, height, width = size
    fine = torch.randn(n, 1, height, width, generator=generator, device=generator.device)
    small = (n, 1, -(-height // COARSE), -(-width // COARSE))
    coarse = torch.randn(small, generator=generator, device=generator.device)
    coarse = F.interpolate(coarse, scale_factor=COARSE, mode="nearest")
    both: Tensor = (fine + coarse[..., :height, :width]) / 2**0.5
    return both


@lru_cache(maxsize=8)
def _block(number: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(number)
    return random_grain((1, _BLOCK, width), generator)[0, 0]
