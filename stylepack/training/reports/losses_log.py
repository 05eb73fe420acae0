"""Losses for TensorBoard, where it is installed."""

import csv
import io
import os
import socket
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stylepack.files import cannot_write, replacing
from stylepack.packs.manifest import IDENTITY
from stylepack.training.trainer import Step

EVERY = 10  # updates
NAME = "losses.csv"
COLUMNS = ("update", "style", "content_loss", "style_loss", "total_variation", "learning_rate")


class TensorBoard:
    """Scalars of a run under `folder`; does nothing without the package `tensorboard`.

    Where they cannot be written it says so once, by `tell`, and does nothing more.  They are
    written here and not by tensorboard's own thread, whose errors nobody can catch.
    """

    def __init__(
        self,
        folder: Path,
        names: list[str],
        tell: Callable[[str], None],
        *,
        active: bool = True,
    ) -> None:
        self.names = names
        self.tell = tell
        self.update = 0
        self.waiting: dict[str, list[float]] = {}  # title -> values since they were last logged
        self.writer: Any = None
        if not active:
            return
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.record_writer import RecordWriter
        except ImportError:
            return
        self._events, self._summaries = event_pb2, summary_pb2
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.writer = RecordWriter((folder / name).open("ab"))
        except OSError as error:
            self._give_up(error)
        self._write(file_version="brain.Event:2")

    def go_on_from(self, update: int) -> None:
        """Make TensorBoard forget what was logged after `update`: it comes again."""
        if self.writer is None:
            return
        self.waiting = {}
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(step=update + 1, session_log=start)

    def add(self, step: Step) -> None:
        """Take in the losses of one update; every few updates their means are logged.

        One call for each update and style would cost a fast card a tenth of its time.
        """
        if self.writer is None:
            return
        for style, content, loss in zip(step.styles, step.content, step.style, strict=True):
            name = self.names[style]
            self.waiting.setdefault(f"content/{name}", []).append(content)
            if name != IDENTITY:
                self.waiting.setdefault(f"style/{name}", []).append(loss)
        self.waiting.setdefault("learning rate", []).append(step.learning_rate)
        self.update = step.update
        if self.update % EVERY == 0:
            self._log()

    def _log(self) -> None:
        means = [
            self._summaries.Summary.Value(tag=title, simple_value=statistics.fmean(values))
            for title, values in self.waiting.items()
        ]
        self._write(step=self.update, summary=self._summaries.Summary(value=means))
        self.waiting = {}

    def _write(self, **content: Any) -> None:
        if self.writer is None:
            return
        event = self._events.Event(wall_time=time.time(), **content)
        try:
            self.writer.write(event.SerializeToString())
            self.writer.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.tell(f"no more losses for TensorBoard: {error.strerror or error}; training goes on")
        writer, self.writer = self.writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()

    def close(self) -> None:
        """Write what is waiting."""
        if self.writer is not None and self.waiting:
            self._log()
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()


class History:
    """The loss history of a run folder.  Rows wait in memory until `flush` has written them."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.path = folder / NAME
        self.names = names
        self.waiting: list[list[str]] = []
        self._end: int | None = None  # after this update what is written has to be cut off

    def cut(self, update: int) -> None:
        """Keep the rows up to `update`, from which training goes on.

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
        """The last update that is written; 0 without any."""
        return max((int(row[0]) for row in self._written()), default=0)

    def _written(self) -> list[list[str]]:
        return read_rows(self.path) if self.path.exists() else []

    def add(self, step: Step) -> None:
        """Take in the losses of one update."""
        values = zip(step.styles, step.content, step.style, step.variation, strict=True)
        for style, *losses in values:
            row = [f"{loss:.6g}" for loss in (*losses, step.learning_rate)]
            self.waiting.append([str(step.update), self.names[style], *row])

    def flush(self) -> None:
        """Write the waiting rows, all or none of them.

        Raises:
            StylepackError: the disk is full, say; the rows go on waiting.
            OSError: the file is gone.
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
    """The rows of a losses.csv under `COLUMNS`, without half a row that a full disk has left."""
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.reader(file) if _is_row(row)]


def _is_row(row: list[str]) -> bool:
    return len(row) == len(COLUMNS) and row[0].isdecimal()


def _lines(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
