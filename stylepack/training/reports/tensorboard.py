"""The losses of a run for TensorBoard."""

import os
import socket
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stylepack.packs.manifest import IDENTITY
from stylepack.training.trainer import Step

EVERY = 10  # updates per TensorBoard point


class TensorBoard:
    """Scalars of a run under `folder`; does nothing without the package `tensorboard`.

    If they cannot be written, `note` gets one message and logging ends.  Records are written here
    because errors in torch.utils.tensorboard's thread cannot be caught.
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
        """Make TensorBoard drop the points after `update`."""
        if self.writer is None:
            return
        self.waiting = {}
        start = self._events.SessionLog(status=self._events.SessionLog.START)
        self._write(step=update + 1, session_log=start)

    def add(self, step: Step) -> None:
        """Add an update; means are logged every `EVERY` updates, because logging takes time."""
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
