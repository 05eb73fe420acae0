"""Different styles in different places of one picture, painted in one pass.

gamma and beta become maps: at every pixel of every layer the weighted sum of the styles'
values, with the masks at that layer's scale as weights.  The norms' statistics stay those
of the whole image, so a soft edge of a mask is a gradual change of style.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.network.trunk import STRIDE, padded_size


class Regions:
    """Where each of K styles applies: weights that sum to 1 at every pixel.

    `masks` are K - 1 masks, (H, W) uint8; the first style has what they leave over, and masks
    that overlap share what they claim.
    """

    def __init__(self, masks: Sequence[Tensor], device: torch.device) -> None:
        claimed = torch.stack(list(masks)).float().div_(255)
        total = claimed.sum(0)
        claimed /= total.clamp_min(1)
        weights = torch.cat([(1 - total).clamp_min(0)[None], claimed])
        height, width = padded_size(*weights.shape[1:])
        padding = (0, width - weights.shape[2], 0, height - weights.shape[1])
        full = F.pad(weights[None], padding, mode="replicate")
        self._by_width = {}
        scale = 1
        while scale <= STRIDE:
            level = full if scale == 1 else F.avg_pool2d(full, scale)
            self._by_width[level.shape[-1]] = level[0].to(device)
            scale *= 2

    def mixed(self, values: Tensor, a: int, b: int, width: int) -> Tensor:
        """Rows a to b of the map of gammas or betas for a layer of this width.

        Args:
            values: (K, C), each style's.

        Returns:
            (1, C, b - a, width), channels_last.
        """
        weights = self._by_width[width][:, a:b]
        return torch.einsum("khw,kc->hwc", weights, values)[None].permute(0, 3, 1, 2)
