"""A study's report: a short Markdown page that embeds its figures and tables."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from stylepack.errors import printable
from stylepack.files import write_text
from stylepack.training.evaluate import RESAMPLES, Figure
from stylepack.training.recipe import Recipe

KINDS = {"content": "content loss", "style": "style loss"}
ALL_KINDS = {**KINDS, "total": "weighted loss"}
INTERVALS = f"95 % intervals: percentile bootstrap, {RESAMPLES:,} resamples"


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
    if isinstance(value, Figure):
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
