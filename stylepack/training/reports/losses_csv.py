"""The losses of a run, in losses.csv."""

import csv
import io
from contextlib import suppress
from pathlib import Path

from stylepack.files import cannot_write, replacing
from stylepack.training.trainer import Step

NAME = "losses.csv"
COLUMNS = ("update", "style", "content_loss", "style_loss", "total_variation", "learning_rate")


class History:
    """losses.csv of a run folder.  Rows are kept in memory until `flush`."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.path = folder / NAME
        self.names = names
        self.waiting: list[list[str]] = []
        self._end: int | None = None  # rows after this update are to be removed from the file

    def cut(self, update: int) -> None:
        """Remove the rows after `update`.

        Raises:
            StylepackError: the file cannot be written; the next `flush` tries again.
        """
        self.waiting = [row for row in self.waiting if int(row[0]) <= update]
        self._end = update
        self._cut_off()

    def _cut_off(self) -> None:
        if self._end is None:
            return
        kept = [row for row in self._written() if int(row[0]) <= self._end]
        with replacing(self.path) as temporary:
            temporary.write_text(_lines([list(COLUMNS), *kept]), encoding="utf-8", newline="")
        self._end = None

    def last_update(self) -> int:
        """The last update in the file; 0 if there is none."""
        return max((int(row[0]) for row in self._written()), default=0)

    def _written(self) -> list[list[str]]:
        return read_rows(self.path) if self.path.exists() else []

    def add(self, step: Step) -> None:
        """Add the losses of an update."""
        values = zip(step.styles, step.content, step.style, step.variation, strict=True)
        for style, *losses in values:
            row = [f"{loss:.6g}" for loss in (*losses, step.learning_rate)]
            self.waiting.append([str(step.update), self.names[style], *row])

    def flush(self) -> None:
        """Write the waiting rows, all or none of them.

        Raises:
            StylepackError: it cannot be written, for example to a full disk; the rows are kept.
            OSError: the file no longer exists.
        """
        self._cut_off()
        size = self.path.stat().st_size
        try:
            with self.path.open("a", encoding="utf-8", newline="") as file:
                file.write(_lines(self.waiting))
        except OSError as error:
            with suppress(OSError), self.path.open("r+b") as file:
                file.truncate(size)
            raise cannot_write(self.path, error) from error
        self.waiting = []


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a losses.csv, without its header and a half-written row."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdecimal()]


def _lines(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
