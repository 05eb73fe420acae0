"""Losses for TensorBoard, where it is installed."""

import statistics
from contextlib import suppress
from pathlib import Path
from typing import Any

from stylepack.packs.shelf import IDENTITY
from stylepack.training.trainer import Step

EVERY = 10  # updates


class Board:
    """Scalars of a run under `folder`; does nothing without the package `tensorboard`."""

    def __init__(self, folder: Path, names: list[str], *, active: bool = True) -> None:
        self.names = names
        self.update = 0
        self.waiting: dict[str, list[float]] = {}  # title -> values since they were last logged
        self.writer: Any = None
        if not active:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.writer = SummaryWriter(str(folder))

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
        try:
            for title, values in self.waiting.items():
                self.writer.add_scalar(title, statistics.fmean(values), self.update)
        except OSError:  # the disk is full, say: losses.csv, which is tried again, tells of it
            self.writer = None
        self.waiting = {}

    def close(self) -> None:
        """Write what is waiting."""
        if self.writer is not None:
            self._log()
        if self.writer is not None:
            with suppress(OSError):
                self.writer.close()
