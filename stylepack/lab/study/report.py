"""Figures with matplotlib that are read in black and white: by line, mark and hatching."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator

from stylepack.errors import printable
from stylepack.files import replacing, write_text
from stylepack.lab.intervals import RESAMPLES, Estimate
from stylepack.recipe import Recipe
from stylepack.training.reports.sheets import COLOURS, LINES, MARKS

HATCHES = ("", "////", "....", "xxxx")
GREYS = ("0.35", "0.8", "0.95", "0.6")
DPI = 110
PLAIN = FuncFormatter(lambda value, _: f"{value:g}")
KINDS = {"content": "content loss", "style": "style loss"}
ALL_KINDS = {**KINDS, "total": "weighted loss"}
INTERVALS = f"95 % intervals: percentile bootstrap, {RESAMPLES:,} resamples"


@dataclass(frozen=True)
class Curve:
    """A line; `low` and `high` are the ends of its band, if it has one."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()

    @classmethod
    def of(cls, label: str, x: Sequence[float], figures: Sequence[Estimate]) -> "Curve":
        """Means with their intervals; no band where one of them has no interval."""
        bands = [figure.interval for figure in figures if figure.interval]
        whole = len(bands) == len(figures)
        return cls(
            label,
            x,
            [figure.mean for figure in figures],
            [low for low, _ in bands] if whole else (),
            [high for _, high in bands] if whole else (),
        )


@dataclass(frozen=True)
class Panel:
    """One pair of axes with curves."""

    title: str
    x: str
    y: str
    curves: Sequence[Curve]
    x_scale: str = "linear"
    y_scale: str = "linear"


@dataclass(frozen=True)
class Bars:
    """One pair of axes with a group of bars for each name."""

    title: str
    y: str
    names: Sequence[str]
    groups: Mapping[str, Sequence[Estimate]]  # in the legend -> one a name


def draw_panels(path: Path, panels: Sequence[Panel], columns: int = 3, height: float = 3.6) -> None:
    """Panels in rows, with one legend for all of them: the same label looks the same.

    Raises:
        StylepackError: the figure cannot be written.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    canvas = _canvas(1.8 + 3.7 * columns, height * rows)
    axes = canvas.subplots(rows, columns, squeeze=False).flat
    labels = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    endless = zip(cycle(COLOURS), cycle(LINES), cycle(MARKS), strict=False)
    looks = dict(zip(labels, endless, strict=False))
    for panel, axis in zip(panels, axes, strict=False):
        for curve in panel.curves:
            _draw_curve(axis, curve, *looks[curve.label])
        axis.set(xlabel=panel.x, ylabel=panel.y, xscale=panel.x_scale, yscale=panel.y_scale)
        if panel.y_scale == "log":
            _plain_ticks(axis)
        if panel.x_scale == "symlog":
            axis.xaxis.set_major_formatter(PLAIN)
        axis.set_title(panel.title, fontsize="medium")
        axis.grid(visible=True, which="major", alpha=0.3)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    handles = {
        label: handle
        for axis in axes[: len(panels)]
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    legend = canvas.legend(
        handles.values(), handles.keys(), loc="outside right upper", fontsize="small"
    )
    legend.set_in_layout(True)
    _save(canvas, path)


def draw_bars(path: Path, panels: Sequence[Bars]) -> None:
    """Grouped bars with 95 % intervals, hatched.

    Raises:
        StylepackError: the figure cannot be written.
    """
    widest = max(len(panel.names) for panel in panels)
    canvas = _canvas(1.8 + len(panels) * max(3.2, 0.75 * widest), 3.6)
    axes = canvas.subplots(1, len(panels), squeeze=False).flat
    for panel, axis in zip(panels, axes, strict=True):
        width = 0.8 / len(panel.groups)
        for place, (label, figures) in enumerate(panel.groups.items()):
            left = [n + (place - (len(panel.groups) - 1) / 2) * width for n in range(len(figures))]
            means = [figure.mean for figure in figures]
            axis.bar(
                left,
                means,
                width,
                label=label,
                facecolor=GREYS[place],
                edgecolor="black",
                hatch=HATCHES[place],
                linewidth=0.8,
                yerr=_errors(figures),
                capsize=3,
            )
        axis.set_xticks(range(len(panel.names)), panel.names, rotation=30, ha="right")
        axis.set_ylabel(panel.y)
        axis.set_title(panel.title, fontsize="medium")
        axis.grid(visible=True, axis="y", alpha=0.3)
        axis.set_axisbelow(True)
    handles, labels = axes[0].get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside right upper", fontsize="small")
    _save(canvas, path)


def _canvas(width: float, height: float) -> Canvas:
    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(canvas)
    return canvas


def _draw_curve(axis: Axes, curve: Curve, colour: str, line: str, mark: str) -> None:
    few = len(curve.x) <= 12
    axis.plot(
        curve.x,
        curve.y,
        label=curve.label,
        color=colour,
        linestyle=line,
        marker=mark,
        markevery=1 if few else 0.15,
        markersize=5,
        linewidth=1.3,
    )
    if curve.low:
        axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)


def _plain_ticks(axis: Axes) -> None:
    """0.5 instead of 5 x 10^-1, where the axis is so short that powers of ten are not enough."""
    low, high = axis.get_ylim()
    if not 0 < low < high < 300 * low:
        return
    between = (2.0, 5.0) if high > 10 * low else (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0)
    axis.yaxis.set_minor_locator(LogLocator(subs=between))
    axis.yaxis.set_major_formatter(PLAIN)
    axis.yaxis.set_minor_formatter(PLAIN)


def _errors(figures: Sequence[Estimate]) -> list[list[float]] | None:
    """Distances from the means down and up to the ends of the intervals; None without any."""
    if not all(figure.interval for figure in figures):
        return None
    ends = [(f.mean, *f.interval) for f in figures if f.interval]
    below = [max(0.0, mean - low) for mean, low, _ in ends]
    return [below, [max(0.0, high - mean) for mean, _, high in ends]]


def _save(canvas: Canvas, path: Path) -> None:
    with replacing(path) as temporary:
        canvas.savefig(temporary, format="png", dpi=DPI)


def quantity(kind: str, recipe: Recipe) -> str:
    """What an axis of `content`, `style` or `total` losses shows, and in what unit."""
    if kind == "total":
        return "weighted loss (no unit)"
    return f"{kind} loss ({'relative to its target' if recipe.relative else 'mean square'})"


def counted(number: int, noun: str) -> str:
    """`1 photograph`, `2 photographs`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def intervals(what: str, photographs: int, seeds: int = 1) -> str:
    """What a figure's bands or whiskers are; nothing where it is drawn without any."""
    sampled = [noun for noun, size in (("seeds", seeds), ("photographs", photographs)) if size > 1]
    return f"  {what}: {INTERVALS} of the {' and '.join(sampled)}." if sampled else ""


class Report:
    """Paragraphs, tables and figures in the order in which they are said."""

    def __init__(self, title: str) -> None:
        self.parts = [f"# {title}"]

    def say(self, text: str) -> None:
        """A paragraph."""
        self.parts.append(text)

    def head(self, text: str) -> None:
        """A heading."""
        self.parts.append(f"## {text}")

    def items(self, texts: Sequence[str]) -> None:
        """A list."""
        self.parts.append("\n".join(f"- {text}" for text in texts))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table; numbers to three digits."""
        lines = [columns, ["---"] * len(columns), *([cell(c) for c in row] for row in rows)]
        self.parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))

    def figure(self, path: Path, caption: str) -> None:
        """A picture that lies beside the report, and what is to be seen on it."""
        self.parts.append(f"![{path.stem}]({path.name})\n\n{caption}")

    def write(self, folder: Path) -> Path:
        """Write report.md, with the command that made it at its end."""
        path = folder / "report.md"
        command = printable(shlex.join(["stylepack", *sys.argv[1:]]))
        self.parts.append(f"Made by\n\n```bash\n{command}\n```")
        write_text(path, "\n\n".join(self.parts) + "\n")
        return path


def cell(value: object) -> str:
    """A value as a table shows it: a mean with its interval, a number, or words."""
    if isinstance(value, Estimate):
        interval = f" ({' to '.join(map(number, value.interval))})" if value.interval else ""
        return number(value.mean) + interval
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def number(value: float) -> str:
    """Three digits, a power of ten for the very large and small."""
    return f"{value:#.3g}".rstrip(".") if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"
