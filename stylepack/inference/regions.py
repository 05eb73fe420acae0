"""Different styles in different regions of one picture, painted in one pass.

At every pixel of every layer the norm is the weighted sum of the styles' norms, with the masks at
that layer's scale as weights.  Each style's norm takes its mean and variance over its own region,
weighted in the same way, so a region looks as it does when it is painted alone.  A soft edge of a
mask is a gradual change of style.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.network.trunk import STRIDE, padded_size

_STRIP = 256  # rows at a time, a multiple of STRIDE


class Regions:
    """Weights of K styles, which sum to 1 at every pixel.

    `masks` are K - 1 masks, (H, W) uint8; the first style gets the rest, and overlapping masks
    are scaled down.  Only the masks are kept at full size.
    """

    def __init__(self, masks: Sequence[Tensor], device: torch.device) -> None:
        height, width = padded_size(*masks[0].shape)
        self.masks = torch.stack([_padded(mask, height, width) for mask in masks]).to(device)
        self._halved = {}
        scale = 2
        while scale <= STRIDE:
            parts = [
                F.avg_pool2d(self._weights(a, a + _STRIP).permute(2, 0, 1), scale)
                for a in range(0, height, _STRIP)
            ]
            self._halved[width // scale] = torch.cat(parts, dim=1).permute(1, 2, 0)
            scale *= 2

    def mixed(self, values: Tensor, a: int, b: int, width: int) -> Tensor:
        """Rows a to b of the map of scales or shifts, `values` (K, C), for a layer of this width.

        Returns:
            (1, C, b - a, width) of their dtype, channels_last.
        """
        weights = self.weights(a, b, width)
        return (weights.to(values.dtype) @ values)[None].permute(0, 3, 1, 2)

    def weights(self, a: int, b: int, width: int) -> Tensor:
        """Rows a to b at the scale of a layer of this width: (b - a, width, K) float32."""
        halved = self._halved.get(width)
        return self._weights(a, b) if halved is None else halved[a:b]

    def _weights(self, a: int, b: int) -> Tensor:
        """Rows a to b at full size, or to the last one: (b - a, W, K) float32."""
        claimed = self.masks[:, a:b].float().div_(255)
        total = claimed.sum(0)
        claimed /= total.clamp_min(1)
        return torch.cat([(1 - total).clamp_min(0)[None], claimed]).permute(1, 2, 0)


def _padded(mask: Tensor, height: int, width: int) -> Tensor:
    """A mask with its last column and row repeated, like padded images."""
    wide = torch.cat([mask, mask[:, -1:].expand(-1, width - mask.shape[1])], dim=1)
    return torch.cat([wide, wide[-1:].expand(height - mask.shape[0], -1)])
