"""Sheets of a run: held-out photographs in every style, and one photograph over time."""

import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.network.trunk import Trunk
from stylepack.training import export
from stylepack.training.dataset import PhotoFolder
from stylepack.training.reports.charts import draw_losses

COLUMNS = 8  # of progress.png


def save_moment(folder: Path, update: int, pictures: Sequence[Image.Image]) -> None:
    """Save one photograph in every style at an update, side by side, for `draw_progress`."""
    folder.mkdir(exist_ok=True)
    strip = Image.new("RGB", (sum(p.width for p in pictures), pictures[0].height))
    for index, picture in enumerate(pictures):
        strip.paste(picture, (index * picture.width, 0))
    save_png(strip, folder / f"{update:06d}.png")


def draw_progress(folder: Path, names: Sequence[str], target: Path) -> None:
    """Write a sheet with a row per style and up to `COLUMNS` evenly spread updates as columns.

    Raises:
        StylepackError: the sheet cannot be written.
    """
    kept = sorted(path for path in folder.glob("*.png") if re.fullmatch(r"\d+", path.stem))
    columns = np.linspace(0, len(kept) - 1, min(COLUMNS, len(kept))).round().astype(int)
    rows: list[list[Image.Image]] = [[] for _ in names]
    captions: list[list[str]] = [[] for _ in names]
    for path in (kept[column] for column in columns):
        with Image.open(path, formats=["PNG"]) as strip:
            width = strip.width // len(names)
            for index, name in enumerate(names):
                left = index * width
                rows[index].append(strip.crop((left, 0, left + width, strip.height)))
                captions[index].append(f"{name}, {int(path.stem):,}")
    save_png(contact_sheet(rows, captions, max(rows[0][0].size)), target)


class Sheets:
    """Paints held-out photographs, and draws sheets and losses in a thread.

    Drawing takes two seconds, in which a GPU trains for hundreds of updates.  Its errors are raised
    by the next `show` or `finish`.
    """

    def __init__(self, folder: Path, names: list[str], photos: PhotoFolder, losses: Path) -> None:
        self.folder, self.names = folder, names
        self.photos, self.losses = photos, losses
        self._thread = ThreadPoolExecutor(1, "sheets")
        self._drawing: Future[None] | None = None
        self._drawn = -1  # the update of the last sheet

    def show(self, trunk: Trunk, styles: Tensor, update: int) -> None:
        """Paint photographs in every style, and start drawing them and the losses.

        Raises:
            StylepackError, OSError: the previous sheets could not be written.
        """
        rows, captions = export.paint_rows(trunk, styles, self.names, self.photos)
        try:
            self.finish()
        finally:
            self._drawing = self._thread.submit(self._draw, rows, captions, update)
            self._drawn = update

    @property
    def drawing(self) -> bool:
        """Whether the last sheet is still being drawn, so that `show` would wait."""
        return self._drawing is not None and not self._drawing.done()

    def has(self, update: int) -> bool:
        """Whether the sheet of an update exists or is being drawn."""
        return self._drawn == update or self._sheet(update).exists()

    def _sheet(self, update: int) -> Path:
        return self.folder / "sheets" / f"{update:06d}.png"

    def finish(self) -> None:
        """Wait for the sheet that is being drawn.

        Raises:
            StylepackError, OSError: it could not be written.
        """
        drawing, self._drawing = self._drawing, None
        if drawing:
            drawing.result()

    def _draw(self, rows: export.Rows, captions: list[list[str]], update: int) -> None:
        moments = self.folder / "sheets" / "moments"
        save_png(contact_sheet(rows, captions, export.SHEET_CELL), self._sheet(update))
        save_moment(moments, update, rows[0][1:])
        draw_progress(moments, self.names, self.folder / "progress.png")
        draw_losses(self.losses, self.folder / "losses.png")
