"""A run to look at: its losses as a plot, and one photograph over time."""

import re
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from stylepack.files import replacing
from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import IDENTITY
from stylepack.training import export
from stylepack.training.dataset import PhotoFolder
from stylepack.training.reports.losses_log import read_rows

POINTS = 40  # of a curve; each is the mean of as many updates as it takes
MOMENTS = 8  # columns of progress.png
COLOURS = tuple(f"C{number}" for number in range(10))
# Four lines and seven marks: 28 curves are told apart in black and white too.
LINES = ("-", "--", "-.", ":")
MARKS = ("o", "s", "^", "x", "D", "v", "+")


def plot_losses(history: Path, target: Path) -> None:
    """Draw content and style loss of every style over the updates, on logarithmic axes.

    Raises:
        StylepackError: the plot cannot be written.
    """
    curves = read_curves(history)
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 2)
    for panel, loss in zip(panels, ("content_loss", "style_loss"), strict=True):
        looks = zip(cycle(COLOURS), cycle(LINES), cycle(MARKS), strict=False)
        for (style, (updates, losses)), (colour, line, mark) in zip(
            curves.items(), looks, strict=False
        ):
            if loss == "style_loss" and style == IDENTITY:
                continue  # it has none
            panel.plot(
                *averaged(updates, losses[loss]),
                label=style,
                color=colour,
                linestyle=line,
                marker=mark,
                markevery=0.2,
                markersize=4,
                linewidth=1.2,
            )
        panel.set(xlabel="update", ylabel=loss.replace("_", " "), yscale="log")
        panel.grid(visible=True, which="major", alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    with replacing(target) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def read_curves(history: Path) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]:
    """losses.csv by style: (updates, name of a loss -> its values)."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for update, style, content, style_loss, *_ in read_rows(history):
        rows.setdefault(style, []).append((float(update), float(content), float(style_loss)))
    curves = {}
    for style, points in sorted(rows.items()):
        updates, content, losses = np.array(points).T
        curves[style] = (updates, {"content_loss": content, "style_loss": losses})
    return curves


def averaged(updates: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` means of consecutive values, each at the mean of its updates."""
    updates, where = np.unique(updates, return_inverse=True)
    values = np.bincount(where, values) / np.bincount(where)  # the mean of each update's images
    parts = min(POINTS, len(updates))
    places = np.array_split(np.arange(len(updates)), parts)
    return (
        np.array([updates[place].mean() for place in places]),
        np.array([values[place].mean() for place in places]),
    )


def save_moment(folder: Path, update: int, pictures: Sequence[Image.Image]) -> None:
    """Keep one photograph in every style as it is painted at this update."""
    folder.mkdir(exist_ok=True)
    strip = Image.new("RGB", (sum(p.width for p in pictures), pictures[0].height))
    for place, picture in enumerate(pictures):
        strip.paste(picture, (place * picture.width, 0))
    save_png(strip, folder / f"{update:06d}.png")


def draw_progress(folder: Path, names: Sequence[str], target: Path) -> None:
    """A row a style, a column a moment: at most `MOMENTS` of those kept, evenly spread.

    Raises:
        StylepackError: the sheet cannot be written.
    """
    kept = sorted(path for path in folder.glob("*.png") if re.fullmatch(r"\d+", path.stem))
    chosen = [
        kept[i] for i in np.linspace(0, len(kept) - 1, min(MOMENTS, len(kept))).round().astype(int)
    ]
    rows: list[list[Image.Image]] = [[] for _ in names]
    captions: list[list[str]] = [[] for _ in names]
    for path in chosen:
        with Image.open(path, formats=["PNG"]) as strip:
            width = strip.width // len(names)
            for place, name in enumerate(names):
                rows[place].append(
                    strip.crop((place * width, 0, (place + 1) * width, strip.height))
                )
                captions[place].append(f"{name}, {int(path.stem):,}")
    sheet = contact_sheet(rows, captions, max(rows[0][0].size))
    save_png(sheet, target)


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
