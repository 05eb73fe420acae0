"""Masks over time: a still picture, or a clip that runs beside the painted one."""

import hashlib
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from stylepack.images.formats import is_clip
from stylepack.images.mask import read_mask
from stylepack.video.needs import require
from stylepack.video.options import Mask


def read_any_mask(path: Path) -> Mask:
    """Read a mask: a picture's pixels, or the path of a clip.

    Raises:
        UsageError: no such file.
        PhotoError, ClipError: it cannot be read.
    """
    if not is_clip(path):
        return read_mask(path)
    require(path, steady=False)
    from stylepack.video.reader import Clip

    Clip(path)
    return path


def over_time(mask: Mask | None) -> Iterator[Tensor | None]:
    """An endless iterator of masks per frame, (H, W) uint8; a clip's last frame is repeated."""
    return repeat(mask) if mask is None or isinstance(mask, Tensor) else _of_clip(mask)


def _of_clip(path: Path) -> Iterator[Tensor]:
    from stylepack.video.reader import Clip

    last = None
    for frame in Clip(path).frames():
        last = torch.from_numpy(np.array(Image.fromarray(frame.rgb, "RGB").convert("L")))
        yield last
    assert last is not None  # `frames` raises if there is none
    yield from repeat(last)


def mark_of(mask: Mask | None) -> str:
    """A text that identifies a mask."""
    if mask is None:
        return ""
    if isinstance(mask, Tensor):
        return hashlib.sha256(mask.numpy().tobytes()).hexdigest()
    return f"{mask.name} {mask.stat().st_size}"
