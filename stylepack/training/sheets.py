"""What a run shows of itself over time: contact sheets, progress.png and losses.png."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from torch import Tensor

from stylepack.network.trunk import Trunk
from stylepack.pictures.sheet import contact_sheet, save_png
from stylepack.training import export
from stylepack.training.photos import PhotoFolder
from stylepack.training.plots import draw_progress, plot_losses, save_moment


class Sheets:
    """Paints held-out photographs when asked to, and draws the rest beside the training.

    Drawing takes two seconds, in which a graphics card trains for hundreds of updates.  What
    goes wrong there is raised by the next `show` or `finish`.
    """

    def __init__(self, folder: Path, names: list[str], photos: PhotoFolder, losses: Path) -> None:
        self.folder, self.names = folder, names
        self.photos, self.losses = photos, losses
        self._thread = ThreadPoolExecutor(1, "sheets")
        self._drawing: Future[None] | None = None
        self._drawn = -1  # the update of the last sheet

    def show(self, trunk: Trunk, styles: Tensor, update: int) -> None:
        """Paint photographs in every style, and begin to draw them and the losses so far.

        Raises:
            StylepackError, OSError: the sheets before could not be written.
        """
        rows, captions = export.paint_rows(trunk, styles, self.names, self.photos)
        try:
            self.finish()
        finally:
            self._drawing = self._thread.submit(self._draw, rows, captions, update)
            self._drawn = update

    @property
    def drawing(self) -> bool:
        """Whether the last sheet is still being drawn: `show` would wait for it."""
        return self._drawing is not None and not self._drawing.done()

    def has(self, update: int) -> bool:
        """Whether the sheet of an update is there, or is being drawn."""
        return self._drawn == update or self._sheet(update).exists()

    def _sheet(self, update: int) -> Path:
        return self.folder / "sheets" / f"{update:06d}.png"

    def finish(self) -> None:
        """Wait for what is being drawn.

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
        plot_losses(self.losses, self.folder / "losses.png")
