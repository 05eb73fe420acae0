"""Bar charts and the Markdown report of a study."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylepack.errors import printable
from stylepack.files import write_text
from stylepack.lab.intervals import RESAMPLES, Estimate
from stylepack.recipe import Recipe
from stylepack.training.reports.charts import KINDS, Curve, new_figure, save_figure

HATCHES = ("", "////", "....", "xxxx")
GREYS = ("0.35", "0.8", "0.95", "0.6")
ALL_KINDS = {**KINDS, "total": "weighted loss"}
INTERVALS = f"95 % intervals: percentile bootstrap, {RESAMPLES:,} resamples"


def mean_curve(label: str, x: Sequence[float], estimates: Sequence[Estimate]) -> Curve:
    """A curve of means, with a band of intervals if all of them have one."""
    bands = [estimate.interval for estimate in estimates if estimate.interval]
    low, high = zip(*bands, strict=True) if bands and len(bands) == len(estimates) else ((), ())
    return Curve(label, x, [estimate.mean for estimate in estimates], low, high)


@dataclass(frozen=True)
class Bars:
    """One pair of axes with a group of bars for each name."""

    title: str
    y: str
    names: Sequence[str]
    groups: Mapping[str, Sequence[Estimate]]  # label in the legend -> one per name


def draw_bars(path: Path, panels: Sequence[Bars]) -> None:
    """Write a PNG of grouped, hatched bars with 95 % intervals.

    Raises:
        StylepackError: the figure cannot be written.
    """
    widest = max(len(panel.names) for panel in panels)
    figure = new_figure(1.8 + len(panels) * max(3.2, 0.75 * widest), 3.6)
    axes = figure.subplots(1, len(panels), squeeze=False).flat
    for panel, axis in zip(panels, axes, strict=True):
        width = 0.8 / len(panel.groups)
        for index, (label, estimates) in enumerate(panel.groups.items()):
            offset = (index - (len(panel.groups) - 1) / 2) * width
            axis.bar(
                [n + offset for n in range(len(estimates))],
                [estimate.mean for estimate in estimates],
                width,
                label=label,
                facecolor=GREYS[index],
                edgecolor="black",
                hatch=HATCHES[index],
                linewidth=0.8,
                yerr=_errors(estimates),
                capsize=3,
            )
        axis.set_xticks(range(len(panel.names)), panel.names, rotation=30, ha="right")
        axis.set_ylabel(panel.y)
        axis.set_title(panel.title, fontsize="medium")
        axis.grid(visible=True, axis="y", alpha=0.3)
        axis.set_axisbelow(True)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", fontsize="small")
    save_figure(figure, path)


def _errors(estimates: Sequence[Estimate]) -> list[list[float]] | None:
    """Distances from the means down and up to the ends of the intervals; None without any."""
    if not all(estimate.interval for estimate in estimates):
        return None
    ends = [(e.mean, *e.interval) for e in estimates if e.interval]
    below = [max(0.0, mean - low) for mean, low, _ in ends]
    return [below, [max(0.0, high - mean) for mean, _, high in ends]]


def quantity(kind: str, recipe: Recipe) -> str:
    """Label of an axis of `content`, `style` or `total` losses, with the unit."""
    if kind == "total":
        return "weighted loss (no unit)"
    return f"{kind} loss ({'relative to its target' if recipe.relative else 'mean square'})"


def units(recipe: Recipe) -> list[str]:
    """Labels of axes of content and style losses."""
    return [quantity(kind, recipe) for kind in KINDS]


def intervals(what: str, photographs: int, seeds: int = 1) -> str:
    """A sentence on a figure's bands or whiskers; empty if it has none."""
    sampled = [noun for noun, size in (("seeds", seeds), ("photographs", photographs)) if size > 1]
    return f"  {what}: {INTERVALS} of the {' and '.join(sampled)}." if sampled else ""


class Report:
    """A Markdown page: paragraphs, tables and figures in the order of the calls."""

    def __init__(self, title: str) -> None:
        self.parts = [f"# {title}"]

    def say(self, text: str) -> None:
        """Add a paragraph."""
        self.parts.append(text)

    def head(self, text: str) -> None:
        """Add a heading."""
        self.parts.append(f"## {text}")

    def items(self, texts: Sequence[str]) -> None:
        """Add a list."""
        self.parts.append("\n".join(f"- {text}" for text in texts))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Add a table, with numbers to three digits."""
        lines = [columns, ["---"] * len(columns), *([cell(c) for c in row] for row in rows)]
        self.parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))

    def figure(self, path: Path, caption: str) -> None:
        """Add a picture from the report's folder, with its caption."""
        self.parts.append(f"![{path.stem}]({path.name})\n\n{caption}")

    def write(self, folder: Path) -> Path:
        """Write report.md, ending with the command that made it."""
        path = folder / "report.md"
        command = printable(shlex.join(["stylepack", *sys.argv[1:]]))
        self.parts.append(f"Made by\n\n```bash\n{command}\n```")
        write_text(path, "\n\n".join(self.parts) + "\n")
        return path


def cell(value: object) -> str:
    """A table cell: a mean with its interval, a number, or text."""
    if isinstance(value, Estimate):
        interval = f" ({' to '.join(map(number, value.interval))})" if value.interval else ""
        return number(value.mean) + interval
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int):
        return f"{value:,}"
    return str(value).replace("|", "\\|")


def number(value: float) -> str:
    """A number to three digits, in scientific notation if very large or small."""
    return f"{value:#.3g}".rstrip(".") if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"
