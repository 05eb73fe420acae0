"""How clips and animations are painted, beyond what is said of photographs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from stylepack.painting.stylizer import PaintOptions, Stylizer

STEADY = 0.8  # the usual weight of the history
MOST_STEADY = 0.95

Mask = Tensor | Path  # (H, W) uint8, or a clip


@dataclass(frozen=True)
class Film:
    """How every frame is painted.

    `steady` is the weight of what was painted before, from 0, every frame by itself, to
    `MOST_STEADY`.  `ending` is the style that a clip fades to.  `mask` and `regions` take the place
    of those of `options`, and may be clips.
    """

    options: PaintOptions = field(default_factory=PaintOptions)
    steady: float = 0.0
    ending: Stylizer | None = None
    mask: Mask | None = None
    regions: Sequence[Mask] = ()
    metadata: bool = True
