"""Strength of a style: from the photograph to the style, and beyond."""

from dataclasses import dataclass

import torch
from torch import Tensor

from stylepack.errors import UsageError
from stylepack.inference.layers import Style

_ROWS = 1024  # rows that are processed at once
STRENGTHS = (0.0, 1.5)


@dataclass(frozen=True)
class PhotoResidual:
    """Details that the identity style cannot reproduce, added back by a share of 1 - strength.

    The network's body, at a quarter of the size, loses details.  The residual is the photograph
    minus its painting in the identity style.

    `identity`: its pack's vector, (1, style_size + 1); `share`: 1 - strength, in 0..1.
    """

    identity: Tensor
    share: float

    def restore(self, painted: Tensor, photo: Tensor, reproduced: Tensor) -> Tensor:
        """Add the residual to `painted` in place; `reproduced` is the identity style's painting.

        All are (3, H, W) uint8; returns `painted`.
        """
        for a in range(0, photo.shape[1], _ROWS):
            rows = slice(a, a + _ROWS)
            residual = photo[:, rows].float() - reproduced[:, rows]
            restored = torch.add(painted[:, rows], residual, alpha=self.share)
            painted[:, rows] = restored.round_().clamp_(0, 255)
        return painted


def check_strength(strength: float) -> None:
    """Refuse a strength out of range.

    Raises:
        UsageError: it is out of range.
    """
    if not STRENGTHS[0] <= strength <= STRENGTHS[1]:
        raise UsageError(f"strength is {strength}; it must be from 0 to {STRENGTHS[1]}")


def at_strength(vectors: Tensor, identity: Tensor, strength: float, last: int) -> Tensor:
    """Packs' vectors, (K, n), moved along the line from the identity's, (n,).

    Entries from `last` on, the last norm's, set colours and contrast; above a strength of 1 they
    are kept, since extrapolation fades them.
    """
    moved = torch.lerp(identity.expand_as(vectors), vectors, strength)
    if strength > 1:
        moved[:, last:] = vectors[:, last:]
    return moved


def style_of(vectors: Tensor) -> Style:
    """The style of packs' vectors, (K, style_size + 1)."""
    share = vectors[:, -1]
    return Style(vectors[:, :-1], photo_contrast=share if share.any() else None)
