"""Losses of a run in losses.csv and, if it is installed, for TensorBoard."""

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

EVERY = 10  # updates per TensorBoard point
NAME = "losses.csv"
COLUMNS = ("update", "style", "content_loss", "style_loss", "total_variation", "learning_rate")


class TensorBoard:
    """Scalars of a run under `folder`; does nothing without the package `tensorboard`.

    If they cannot be written, `note` gets one message and logging ends.  Records are written here,
    since errors in the thread of torch.utils.tensorboard cannot be caught.
    """

    def __init__(
        self, folder: Path, names: list[str], note: Callable[[str], None], *, active: bool = True
    ) -> None:
        self.names = names
        self.note = note
        self.update = 0
        self.waiting: dict[str, list[float]] = {}  # title -> values since the last point
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

    def restart_after(self, update: int) -> None:
        """Make TensorBoard drop what was logged after `update`."""
        if self.writer is None:
            return
        self.waiting = {}
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(step=update + 1, session_log=start)

    def add(self, step: Step) -> None:
        """Add an update; every `EVERY` updates the means are logged, since logging takes time."""
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
        reason = error.strerror or error
        self.note(f"no more losses for TensorBoard: {reason}; training continues")
        self._close()

    def _close(self) -> None:
        writer, self.writer = self.writer, None
        if writer is not None:
            with suppress(OSError):
                writer.close()

    def close(self) -> None:
        """Log the last updates and close the file."""
        if self.writer is not None and self.waiting:
            self._log()
        self._close()


class History:
    """losses.csv of a run folder.  Rows wait in memory until `flush`."""

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
        """The last update in the file; 0 without any."""
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
            StylepackError: it cannot be written, for example to a full disk; the rows still wait.
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
    """The rows of a losses.csv, without its head and a half-written row."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdecimal()]


def _lines(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
