"""Choosing the style weight by eye: one painting learned briefly at several weights."""

from collections.abc import Generator, Sequence
from pathlib import Path

import torch

from stylepack.events import Event, Progress
from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.images.photo import Photo, read_rgb, resized
from stylepack.network.device import training_dtype
from stylepack.training.finetune import Finetune
from stylepack.training.trainer import Step

WEIGHTS = (1.0, 2.5, 5.0, 10.0, 20.0)  # the recipes' style weights are of this order
STEPS = 40  # updates a weight; the lightest is learned from the start, the next from there
CELL = 256  # pixels
PHOTOS = 2  # rows a painting


class Preview:
    """A painting at every weight of `WEIGHTS`: iterate `train()`, then see `paint_previews`."""

    def __init__(self, work: Finetune) -> None:
        self.work = work
        self.styles: list[torch.Tensor] = []

    def train(self) -> Generator[Event]:
        """Report each update: those of the lightest weight first."""
        done = 0
        for weight in WEIGHTS:
            self.work.begin_again(self.work.best, weight)
            for event in self.work.train():
                if isinstance(event, Step):
                    done += 1
                    yield Progress(done, event.words)
                else:
                    yield event
            self.styles.append(self.work.best)

    def __len__(self) -> int:
        return len(WEIGHTS) * self.work.recipe.updates


@torch.no_grad()
def paint_previews(path: Path, previews: Sequence[Preview]) -> None:
    """Paint photographs at every weight, a PNG: one block of rows for each painting."""
    rows, captions = [], []
    for preview in previews:
        work = preview.work
        dtype = training_dtype(work.trainer.device)
        painting = read_rgb(work.painting.path)
        for place in range(min(PHOTOS, len(work.held_out.paths))):
            photo = work.held_out.read_first(place, lambda found: resized(found, CELL))
            images = photo[None].to(work.trainer.device, dtype)
            painted = [work.trunk(images, style)[0] for style in preview.styles]
            rows.append(
                [painting, *(Photo.from_float(one).to_image() for one in (photo, *painted))]
            )
            words = [f"style weight {weight:g}" for weight in WEIGHTS]
            captions.append([work.painting.name, "the photograph", *words])
    sheet = contact_sheet(rows, captions, CELL)
    save_png(sheet, path)
