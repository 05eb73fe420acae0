"""One process at a time works in a run folder, or in that of a distillation."""

import os
from pathlib import Path

from stylepack.errors import TrainingError
from stylepack.files import lock

NAME = ".lock"


class FolderLock:
    """Holds a folder until `release`.  The kernel releases it when the process dies, however.

    Where files cannot be locked, on some network file systems, it does nothing.

    Raises:
        TrainingError: another process holds the folder.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = None
        try:
            self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return
        locked = lock(self._file, wait=False)
        if not locked:
            self.release()
        if locked is False:
            raise TrainingError(
                f"another process is at work in {folder}; wait for its end, or stop it"
            )

    def release(self) -> None:
        """Let others have it."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        self.release()
