"""Going back to a checkpoint: where a run resumes, and where it goes on after it has diverged."""

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

LOWER = 0.3  # of the learning rate, after the run has diverged


class Recovery:
    """One way back for a run that diverges: to its last checkpoint, else the one before.

    From there it goes on at a lower learning rate.  All processes go back together.
    """

    def __init__(self, folder: Path, trainer: Trainer) -> None:
        self.folder, self.trainer = folder, trainer
        self.fallbacks = [NAME, PREVIOUS]  # checkpoints to try, in order

    def begin(self) -> None:
        """Take into account that a resumed run may have gone back before it was stopped."""
        if self.trainer.rate_scale < 1:
            self.fallbacks = [PREVIOUS]

    def saved(self) -> None:
        """Allow no further way back once a checkpoint is saved at the lower rate."""
        if self.trainer.rate_scale < 1:
            self.fallbacks.clear()

    def judge(self) -> None:
        """Judge the weights after the last update: no later one does.

        Raises:
            DivergedError: in all processes, if one of them finds something wrong.
        """
        trouble, update = self.trainer.trouble(), self.trainer.update
        if self.trainer.ranks.largest(bool(trouble)):
            raise DivergedError(f"{trouble or 'the loss went wrong'} after update {update}", update)

    def go_back(self, error: DivergedError) -> str:
        """Start again from a checkpoint with a lower learning rate; return a notice.

        Raises:
            TrainingError: nothing was learned before, or no checkpoint is left to try.
        """
        trainer = self.trainer
        if not error.learned:
            raise TrainingError(
                f"{error}, before anything was learned, so that no learning rate helps; begin "
                "again in another folder with smaller weights of the losses (--style-weight, "
                "--content-weight, --tv-weight) or another --start-from"
            ) from error
        state = trainer.ranks.from_first(self._next_state)
        if not state:
            lower = trainer.recipe.learning_rate * LOWER
            raise TrainingError(
                f"{error}, with a lower learning rate too; the last checkpoint is kept: go on from "
                f"it with a lower --learning-rate than {lower:.2g}"
            ) from error
        trainer.restore(state)
        trainer.rate_scale = LOWER
        return f"{error}; going on from update {trainer.update} at {LOWER} of the learning rate"

    def _next_state(self) -> dict[str, Tensor]:
        """The next whole checkpoint to try; empty if none is left."""
        while self.fallbacks:
            state = read_checkpoint(self.folder / self.fallbacks.pop(0))
            if state is not None:
                return state
        return {}

    def last_state(self, last_update: int, journal: Journal) -> dict[str, Tensor]:
        """The last whole checkpoint, or the start of a run that ended before it had one.

        Args:
            last_update: the last one that losses are written of.
            journal: gets a notice if it is the checkpoint before the last.

        Raises:
            TrainingError: the run has lost its checkpoints.
        """
        if not has_checkpoint(self.folder):
            if last_update:
                raise TrainingError(
                    f"{self.folder} has losses up to update {last_update} but no {NAME} any more; "
                    "put a copy of it back, or begin again in another folder"
                )
            return self.trainer.state()
        state = read_checkpoint(self.folder / NAME)
        if state is None:
            state = load_checkpoint(self.folder)
            journal.note(
                f"{self.folder / NAME} is damaged or lost; going on from the one before it, of "
                f"update {int(state['update'])}"
            )
        return state
