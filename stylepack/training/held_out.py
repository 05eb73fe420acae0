"""Losses on photographs that training never sees."""

import statistics
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stylepack.errors import PhotoError, TrainingError, UsageError
from stylepack.events import Event, Progress
from stylepack.images.photo import resized
from stylepack.losses.objective import Objective
from stylepack.network.device import is_out_of_memory, training_dtype
from stylepack.network.trunk import Trunk
from stylepack.training.dataset import PhotoFolder

SHORT_SIDE = 320  # pixels of the photographs, which are not cropped


class Evaluation:
    """Held-out content and style losses of every style: iterate `measure()`, then take `metrics`.

    `styles` is (S, style_size) in the order of the objective's paintings.
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

    def measure(self) -> Generator[Event]:
        """Measure every readable photograph; yield a step after each."""
        return self.photos.journal.around(self._steps())

    def _steps(self) -> Generator[Progress]:
        photographs = whole_photographs(self.photos, self.styles.device)
        for done, (path, photo) in enumerate(photographs, start=1):
            if photo is not None:
                self._measure_if_it_fits(path, photo)
            yield Progress(done, path.name)

    def metrics(self) -> list[dict[str, Any]]:
        """Mean losses of each style over the photographs, for a pack's metadata.

        Raises:
            TrainingError: no photograph could be measured.
        """
        if not self.content[0]:
            raise TrainingError("none of the held-out photographs can be read any more")
        return [
            {
                "content": round(statistics.fmean(content), 4),
                "style": round(statistics.fmean(style), 4),
                "photographs": len(content),
                "short_side": SHORT_SIDE,
            }
            for content, style in zip(self.content, self.style, strict=True)
        ]

    def _measure_if_it_fits(self, path: Path, photo: Tensor) -> None:
        try:
            self._measure(photo)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            for losses in (self.content, self.style):  # drop it for every style
                fewest = min(map(len, losses))
                for values in losses:
                    del values[fewest:]
            self.photos.journal.skip(f"{path} does not fit into memory to be measured")

    @torch.no_grad()
    def _measure(self, image: Tensor) -> None:
        dtype = training_dtype(self.styles.device)
        for index, style in enumerate(self.styles):
            photo_contrast = float(self.objective.identity[index])
            painted = self.trunk(image.to(dtype), style, photo_contrast)
            terms = self.objective(painted, image, torch.tensor([index], device=style.device))
            self.content[index].append(terms.content.item())
            self.style[index].append(terms.style.item())


def whole_photographs(
    photos: PhotoFolder, device: torch.device
) -> Iterator[tuple[Path, Tensor | None]]:
    """Yield each path and photograph, (1, 3, H, W) RGB in 0..1 with a short side of `SHORT_SIDE`.

    An unreadable one is None and added to the journal.
    """
    for path in photos.paths:
        try:
            photo = resized(path, SHORT_SIDE)[None].to(device)
        except (PhotoError, UsageError) as error:
            photos.journal.skip(str(error))
            yield path, None
        else:
            yield path, photo
