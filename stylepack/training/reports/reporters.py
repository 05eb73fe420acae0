"""Reporters of a run: losses.csv, TensorBoard, sheets and plots."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from stylepack.errors import StylepackError
from stylepack.events import Journal
from stylepack.network.device import is_out_of_memory
from stylepack.training.dataset import PhotoFolder
from stylepack.training.reports.losses_csv import History
from stylepack.training.reports.sheets import Sheets
from stylepack.training.reports.tensorboard import TensorBoard
from stylepack.training.trainer import Step, Trainer


class Reporters:
    """Writes losses, sheets and plots of a run, only in the `active` process."""

    def __init__(
        self,
        folder: Path,
        names: list[str],
        held_out: PhotoFolder,
        journal: Journal,
        *,
        active: bool,
    ) -> None:
        self.folder, self.names, self.journal, self.active = folder, names, journal, active
        self.history = History(folder, names)
        self.sheets = Sheets(folder, names, held_out, self.history.path)
        self._board: TensorBoard | None = None

    @contextmanager
    def open(self, update: int) -> Iterator[None]:
        """Report on training from `update` on."""
        if self.active:
            self.history.cut(update)
        folder, note = self.folder / "tensorboard", self.journal.note
        with closing(TensorBoard(folder, self.names, note, active=self.active)) as board:
            board.restart_after(update)
            self._board = board
            try:
                yield
            finally:
                attempt(self.sheets.finish, self.journal)

    def on_steps(self, steps: Sequence[Step]) -> None:
        """Add the losses of a few updates."""
        if self.active and self._board:
            for step in steps:
                self.history.add(step)
                self._board.add(step)

    def on_return(self, update: int) -> None:
        """Drop the losses after `update`, where training continues."""
        if self.active and self._board:
            attempt(lambda: self.history.cut(update), self.journal)
            self._board.restart_after(update)

    def on_save(self) -> None:
        """Write the losses so far.

        Raises:
            StylepackError, OSError: they cannot be written; they are kept in memory.
        """
        if self.active:
            self.history.flush()

    def show(self, trainer: Trainer) -> None:
        """Paint held-out photographs in every style, and draw progress and losses so far."""
        if self.active:
            self.history.flush()
            self.sheets.show(*trainer.averaged(), trainer.update)

    def on_end(self, trainer: Trainer) -> None:
        """Show the last update, unless it has been shown."""
        if not self.sheets.has(trainer.update):
            attempt(lambda: self.show(trainer), self.journal)


def attempt(
    write: Callable[[], object],
    journal: Journal,
    otherwise: str = "training continues, and it will be tried again",
) -> None:
    """Write something optional; if that fails, add a notice with `otherwise` to the journal."""
    try:
        write()
    except (StylepackError, OSError) as error:
        journal.note(f"{error}; {otherwise}")
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        journal.note(f"not enough memory; {otherwise}")
