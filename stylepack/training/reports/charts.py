"""Line charts that stay readable in black and white, and the curves of a losses.csv."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator

from stylepack.files import replacing
from stylepack.training.reports.losses_csv import read_rows

COLOURS = tuple(f"C{number}" for number in range(10))
# Four lines and seven marks: 28 curves can be distinguished in black and white.
LINES = ("-", "--", "-.", ":")
MARKS = ("o", "s", "^", "x", "D", "v", "+")
POINTS = 40  # per curve; each is the mean of consecutive updates
DPI = 110
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
KINDS = {"content": "content loss", "style": "style loss"}
Curves = dict[str, tuple[np.ndarray, dict[str, np.ndarray]]]


@dataclass(frozen=True)
class Curve:
    """A line, and optionally the ends of a band around it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True)
class Panel:
    """One pair of axes with curves."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    x_scale: str = "linear"
    y_scale: str = "linear"


def draw_panels(path: Path, panels: Sequence[Panel], columns: int = 3, height: float = 3.6) -> None:
    """Write a PNG of panels in rows with one legend; equal labels look the same.

    Raises:
        StylepackError: the figure cannot be written.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(1.8 + 3.7 * columns, height * rows)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    labels = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    endless = zip(cycle(COLOURS), cycle(LINES), cycle(MARKS), strict=False)
    looks = dict(zip(labels, endless, strict=False))
    handles: dict[str, Artist] = {}
    for panel, axis in zip(panels, axes, strict=False):
        for curve in panel.curves:
            _draw_curve(axis, curve, *looks[curve.label])
        axis.set(xlabel=panel.x, ylabel=panel.y, xscale=panel.x_scale, yscale=panel.y_scale)
        for scale, ticks, limits in (
            (panel.x_scale, axis.xaxis, axis.get_xlim()),
            (panel.y_scale, axis.yaxis, axis.get_ylim()),
        ):
            if scale == "log":
                _plain_ticks(ticks, *limits)
        if panel.x_scale == "symlog":
            axis.xaxis.set_major_formatter(PLAIN)
        axis.set_title(panel.title, fontsize="medium")
        axis.grid(visible=True, which="major", alpha=0.3)
        handles |= {label: h for h, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    legend = figure.legend(
        [*handles.values()], [*handles], loc="outside right upper", fontsize="small"
    )
    legend.set_in_layout(True)
    save_figure(figure, path)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG.

    Raises:
        StylepackError: it cannot be written.
    """
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _draw_curve(axis: Axes, curve: Curve, colour: str, line: str, mark: str) -> None:
    axis.plot(
        curve.x,
        curve.y,
        label=curve.label,
        color=colour,
        linestyle=line,
        marker=mark,
        markevery=1 if len(curve.x) <= 12 else 0.15,
        markersize=5,
        linewidth=1.3,
    )
    if curve.low:
        axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)


def _plain_ticks(axis: Axis, low: float, high: float) -> None:
    """Label ticks as 0.5, not 5 x 10^-1, if the axis is too short for powers of ten alone."""
    if not 0 < low < high < 300 * low:
        return
    between = (2.0, 5.0) if high > 10 * low else (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axis.set_minor_locator(LogLocator(subs=between))
    axis.set_major_formatter(PLAIN)
    axis.set_minor_formatter(PLAIN)


def draw_losses(
    history: Path, target: Path, names: Sequence[str] = (), units: Sequence[str] = ("loss",) * 2
) -> None:
    """Draw content and style loss of training batches over the updates, from a losses.csv.

    `names`: styles to draw, by default all.  `units`: labels of both y axes.

    Raises:
        StylepackError: the figure cannot be written.
    """
    curves = read_curves(history)
    panels = []
    for (kind, title), unit in zip(KINDS.items(), units, strict=True):
        lines = []
        for style in names or curves:
            if style not in curves:
                continue  # not yet drawn in so few updates
            updates, losses = curves[style]
            if not losses[f"{kind}_loss"].any():
                continue  # the identity style has no style loss
            x, y = averaged(updates, losses[f"{kind}_loss"])
            lines.append(Curve(style, x.tolist(), y.tolist()))
        panels.append(Panel(f"{title}, training batches", "updates", unit, lines, y_scale="log"))
    draw_panels(target, panels)


def read_curves(history: Path) -> Curves:
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
    parts = np.array_split(np.arange(len(updates)), min(POINTS, len(updates)))
    return (
        np.array([updates[part].mean() for part in parts]),
        np.array([values[part].mean() for part in parts]),
    )
