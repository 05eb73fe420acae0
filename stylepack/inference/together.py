"""Batches of pictures of one size: a single small picture does not fill a GPU."""

from collections.abc import Sequence

import torch
from torch import Tensor

from stylepack.inference.layers import Style
from stylepack.network.trunk import Trunk


def paint_together(trunk: Trunk, styles: Sequence[Style], images: Tensor) -> Tensor:
    """Paint a batch whole; up to rounding it equals painting one by one.

    Args:
        trunk: on its device, in the dtype to compute in.
        styles: one for each image, without regions.
        images: (N, 3, H, W) uint8 RGB.

    Returns:
        (N, 3, H, W) uint8 RGB on the CPU, without gradients: call it under `torch.no_grad()`.
    """
    weight = trunk.get_parameter("conv1.weight")
    x = images.to(weight.device).float().div_(255)
    vectors = torch.cat([one.vectors for one in styles])
    none = vectors.new_zeros(1)
    shares = torch.cat(
        [none if one.photo_contrast is None else one.photo_contrast for one in styles]
    )
    if any(one.photo_contrast is not None for one in styles):
        vectors = trunk.with_contrast(vectors, x, shares)
    painted: Tensor = trunk(x.to(weight.dtype), vectors)
    return painted.float().mul_(255).round_().to("cpu", torch.uint8)
