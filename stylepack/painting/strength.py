"""Toward the photograph and beyond the style."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stylepack.inference.layers import Style

_ROWS = 1024  # of a picture that are worked on at once
STRENGTHS = (0.0, 1.5)


@dataclass(frozen=True)
class PhotoResidual:
    """What a strength below 1 needs to lead to the photograph itself.

    The identity style gives it back less what the network's body, at a quarter of its size, cannot
    carry.  What is lost is found by painting in that style alone, and is added to the painting in
    the share that the identity style has in it.

    `identity` are its pack's numbers, (1, style_size + 1); `share` is from 0 to 1.
    """

    identity: Tensor
    share: float

    def restore(self, painted: Tensor, photo: Tensor, given: Tensor) -> Tensor:
        """Add to `painted` the share of what `given`, the identity style's painting, lacks.

        All are (3, H, W) uint8; `painted` is overwritten and returned.
        """
        for a in range(0, photo.shape[1], _ROWS):
            rows = slice(a, a + _ROWS)
            lost = photo[:, rows].float() - given[:, rows]
            mended = torch.add(painted[:, rows], lost, alpha=self.share)
            painted[:, rows] = mended.round_().clamp_(0, 255)
        return painted


def at_strength(numbers: Tensor, identity: Tensor, strength: float, last: int) -> Tensor:
    """Packs' numbers, (K, n), on the way from the identity's, (n,), through them and beyond.

    From `last` on they are of the picture's colours and contrast.  Beyond a style those would only
    fade: they stay.
    """
    moved = torch.lerp(identity.expand_as(numbers), numbers, strength)
    if strength > 1:
        moved[:, last:] = numbers[:, last:]
    return moved


def style_of(numbers: Tensor) -> Style:
    """(K, style_size + 1) numbers of packs or mixes: a style, and its share of own contrast."""
    own = numbers[:, -1]
    return Style(numbers[:, :-1], photo_contrast=own if own.any() else None)
