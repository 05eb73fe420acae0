"""Painting options for clips and animations, beyond those for photographs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from stylepack.painting.stylizer import PaintOptions, Stylizer

STEADY = 0.8  # the default weight of previous frames
MOST_STEADY = 0.95

Mask = Tensor | Path  # (H, W) uint8, or a clip


@dataclass(frozen=True)
class Film:
    """Painting options for every frame.

    `steady` is the weight of the previous painted frame, from 0, for independent frames, to
    `MOST_STEADY`.  `ending` is the style that a clip fades to.  `mask` and `regions` replace those
    of `options`, and may be clips.
    """

    options: PaintOptions = field(default_factory=PaintOptions)
    steady: float = 0.0
    ending: Stylizer | None = None
    mask: Mask | None = None
    regions: Sequence[Mask] = ()
    metadata: bool = True
