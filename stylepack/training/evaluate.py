"""Losses on photographs that training never saw."""

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylepack.errors import PhotoError, TrainingError, UsageError
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.training.objective import Objective
from stylepack.training.photos import PhotoFolder, resized

SHORT_SIDE = 320  # pixels; photographs are measured whole


class Evaluation:
    """Held-out content and style losses of every style of an objective.

    Iterating measures one photograph after the other and yields its path; `metrics` is for
    afterwards.  `styles` is (S, style_size) in the order of the objective's paintings.
    """

    def __init__(
        self, trunk: Trunk, styles: Tensor, objective: Objective, photos: PhotoFolder
    ) -> None:
        self.trunk = trunk
        self.styles = styles
        self.objective = objective
        self.photos = photos
        self.content: list[list[float]] = [[] for _ in styles]
        self.style: list[list[float]] = [[] for _ in styles]

    def __len__(self) -> int:
        return len(self.photos.paths)

    def __iter__(self) -> Iterator[Path]:
        for path in self.photos.paths:
            try:
                photo = resized(path, SHORT_SIDE)
            except (PhotoError, UsageError) as error:
                self.photos.skipped.append(str(error))
            else:
                self._measure(photo[None].to(self.styles.device))
            yield path

    def metrics(self) -> list[dict[str, Any]]:
        """Mean losses of each style over the photographs, as a pack's metadata holds them.

        Raises:
            TrainingError: not one photograph could be measured.
        """
        if not self.content[0]:
            raise TrainingError("not one of the held-out photographs can be read any more")
        return [
            {
                "content": round(statistics.fmean(content), 4),
                "style": round(statistics.fmean(style), 4),
                "photographs": len(content),
                "short_side": SHORT_SIDE,
            }
            for content, style in zip(self.content, self.style, strict=True)
        ]

    @torch.no_grad()
    def _measure(self, image: Tensor) -> None:
        dtype = training_dtype(self.styles.device)
        for index, style in enumerate(self.styles):
            own = float(self.objective.identity[index])
            painted = self.trunk(image.to(dtype), style, own)
            terms = self.objective(painted, image, torch.tensor([index], device=style.device))
            self.content[index].append(terms.content.item())
            self.style[index].append(terms.style.item())
