"""Losses for TensorBoard, where it is installed."""

import statistics
from pathlib import Path
from typing import Any

from stylepack.packs.shelf import IDENTITY
from stylepack.training.trainer import Step


class Board:
    """Scalars of a run under `folder`; does nothing without the package `tensorboard`."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.names = names
        self.writer: Any = None
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self.writer = SummaryWriter(str(folder))

    def add(self, step: Step) -> None:
        """Log the losses of one update: of each style, and the learning rate."""
        if self.writer is None:
            return
        for style in set(step.styles):
            name = self.names[style]
            for kind, losses in (("content", step.content), ("style", step.style)):
                own = [loss for s, loss in zip(step.styles, losses, strict=True) if s == style]
                if kind == "content" or name != IDENTITY:
                    self.writer.add_scalar(f"{kind}/{name}", statistics.fmean(own), step.update)
        self.writer.add_scalar("learning rate", step.learning_rate, step.update)

    def close(self) -> None:
        """Write what is waiting."""
        if self.writer is not None:
            self.writer.close()
