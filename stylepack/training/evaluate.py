"""Losses on photographs that training never saw."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.training.objective import Objective
from stylepack.training.photos import PhotoFolder, resized

SHORT_SIDE = 320  # pixels; photographs are measured whole


@torch.no_grad()
def held_out_losses(
    trunk: Trunk, styles: Tensor, objective: Objective, photos: PhotoFolder
) -> Iterator[tuple[int, Path, float, float]]:
    """Yield (style index, photograph, content loss, style loss) for every pair.

    `styles` is (S, style_size) in the order of the objective's paintings.
    """
    device = styles.device
    dtype = training_dtype(device)
    for place, path in enumerate(photos.paths):
        image = photos.read_first(place, lambda path: resized(path, SHORT_SIDE))[None].to(device)
        for index, style in enumerate(styles):
            painted = trunk(image.to(dtype), style)
            terms = objective(painted, image, torch.tensor([index], device=device))
            yield index, path, terms.content.item(), terms.style.item()


def summarise(content: list[float], style: list[float]) -> dict[str, Any]:
    """Mean losses over photographs, as a pack's metrics hold them."""
    return {
        "content": round(statistics.fmean(content), 4),
        "style": round(statistics.fmean(style), 4),
        "photographs": len(content),
        "short_side": SHORT_SIDE,
    }
