"""A run to look at: its losses as a plot, and one photograph over time."""

import re
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from stylepack.files import replacing
from stylepack.packs.shelf import IDENTITY
from stylepack.pictures.sheet import contact_sheet, save_png
from stylepack.training.history import read_rows

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
