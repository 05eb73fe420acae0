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

    def finish(self) -> None:
        """Wait for what is being drawn.

        Raises:
            StylepackError, OSError: it could not be written.
        """
        drawing, self._drawing = self._drawing, None
        if drawing:
            drawing.result()

    def _draw(self, rows: export.Rows, captions: list[list[str]], update: int) -> None:
        sheets = self.folder / "sheets"
        save_png(contact_sheet(rows, captions, export.SHEET_CELL), sheets / f"{update:06d}.png")
        save_moment(sheets / "moments", update, rows[0][1:])
        draw_progress(sheets / "moments", self.names, self.folder / "progress.png")
        plot_losses(self.losses, self.folder / "losses.png")
