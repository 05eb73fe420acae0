"""Checkpoints to return to: on resuming a run, and after it has diverged."""

from pathlib import Path

from torch import Tensor

from stylepack.errors import TrainingError
from stylepack.events import Journal
from stylepack.training.checkpoint import (
    NAME,
    PREVIOUS,
    has_checkpoint,
    load_checkpoint,
    read_checkpoint,
)
from stylepack.training.trainer import DivergedError, Trainer

LOWER = 0.3  # multiple of the learning rate after the run has diverged


class Recovery:
    """Returns a diverged run once to its last checkpoint, or the one before, at a lower rate."""

    def __init__(self, folder: Path, trainer: Trainer) -> None:
        self.folder, self.trainer = folder, trainer
        self.fallbacks = [NAME, PREVIOUS]  # checkpoints to try, in order

    def begin(self) -> None:
        """Account for a resumed run that has already returned to a checkpoint."""
        if self.trainer.rate_scale < 1:
            self.fallbacks = [PREVIOUS]

    def saved(self) -> None:
        """Allow no further rollback once the run has recovered at the lower rate."""
        if self.trainer.rate_scale < 1:
            self.fallbacks.clear()

    def judge(self) -> None:
        """Check the weights after the last update.

        Raises:
            DivergedError: in all processes, if they are wrong in one of them.
        """
        trouble, update = self.trainer.trouble(), self.trainer.update
        if self.trainer.ranks.largest(bool(trouble)):
            raise DivergedError(f"{trouble or 'the loss diverged'} after update {update}", update)

    def go_back(self, error: DivergedError) -> str:
        """Return to a checkpoint at a lower learning rate; return a notice.

        Raises:
            TrainingError: nothing was learned before, or no checkpoint is left to try.
        """
        trainer = self.trainer
        if not error.learned:
            raise TrainingError(
                f"{error}, before the first update, so a lower learning rate cannot help; start "
                "again in another folder with smaller loss weights (--style-weight, "
                "--content-weight, --tv-weight) or another --start-from"
            ) from error
        state = trainer.ranks.from_first(self._next_state)
        if not state:
            lower = trainer.recipe.learning_rate * LOWER
            raise TrainingError(
                f"{error}, also at a lower learning rate; the last checkpoint is kept: resume from "
                f"it with a --learning-rate below {lower:.2g}"
            ) from error
        trainer.restore(state)
        trainer.rate_scale = LOWER
        return f"{error}; continuing from update {trainer.update} at {LOWER} of the learning rate"

    def _next_state(self) -> dict[str, Tensor]:
        """The next complete checkpoint to try; empty if none is left."""
        while self.fallbacks:
            state = read_checkpoint(self.folder / self.fallbacks.pop(0))
            if state is not None:
                return state
        return {}

    def last_state(self, last_update: int, journal: Journal) -> dict[str, Tensor]:
        """The last complete checkpoint, or the current state of a run that never saved one.

        `last_update`: the last one in losses.csv.  `journal` gets a notice if the last checkpoint
        is damaged and the previous one is used.

        Raises:
            TrainingError: the run has lost its checkpoints.
        """
        if not has_checkpoint(self.folder):
            if last_update:
                raise TrainingError(
                    f"{self.folder} has losses up to update {last_update} but no {NAME}; "
                    "put a copy of it back, or start again in another folder"
                )
            return self.trainer.state()
        state = read_checkpoint(self.folder / NAME)
        if state is None:
            state = load_checkpoint(self.folder)
            journal.note(
                f"{self.folder / NAME} is damaged or lost; continuing from the one before it, at "
                f"update {int(state['update'])}"
            )
        return state
