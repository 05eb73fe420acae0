"""Masks that select where the painting shows and where the photograph does."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylepack.errors import UsageError
from stylepack.images.color import STRIP
from stylepack.images.decoding import decode
from stylepack.images.formats import open_image


def composite(top: Tensor, bottom: Tensor, share: Tensor) -> Tensor:
    """Lay (3, H, W) uint8 `top` on `bottom` by `share`, (H, W) uint8, 255 for `top` alone."""
    result = torch.empty_like(top)
    for a in range(0, top.shape[1], STRIP):
        rows = slice(a, a + STRIP)
        shares = share[rows].float().div_(255)
        laid = torch.lerp(bottom[:, rows].float(), top[:, rows].float(), shares)
        result[:, rows] = laid.round_().to(torch.uint8)
    return result


def read_mask(source: str | Path) -> Tensor:
    """Read a mask: (H, W) uint8, white 255; transparent pixels are black.

    Raises:
        UsageError: no such file.
        PhotoError: not an image, or damaged.
    """
    with open_image(Path(source)) as image:
        return mask_of_image(image, consume=True)


def mask_of_image(image: Image.Image, *, consume: bool = False) -> Tensor:
    """A Pillow image of any mode as a mask: (H, W) uint8; transparent pixels are black.

    `consume` as in `decode`.
    """
    # Values of a mask are shares, not colours.
    rgb = decode(image, background="black", managed=False, consume=consume).rgb
    return torch.from_numpy(np.array(Image.fromarray(rgb).convert("L")))


def fit_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """An (H, W) uint8 mask stretched to (width, height).

    Raises:
        UsageError: a wrong shape or dtype.
    """
    if mask.dim() != 2 or mask.dtype != torch.uint8:
        raise UsageError(f"a mask is {tuple(mask.shape)} {mask.dtype}; it must be (H, W) uint8")
    if mask.shape == size[::-1]:
        return mask
    grey = Image.fromarray(mask.numpy(), "L")
    return torch.from_numpy(np.array(grey.resize(size, Image.Resampling.BILINEAR)))
