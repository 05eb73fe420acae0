"""Writing files so that a reader never meets half of one."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stylepack.errors import StylepackError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to `path`.

    On any error, Ctrl-C included, the temporary file is removed and `path` is untouched.

    Raises:
        StylepackError: the folder does not exist, is not writable, or the disk is full.
    """
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StylepackError(
            f"cannot write {path}: {reason}; choose a place that exists and that you may write to"
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path, advice: str) -> None:
    """Make a folder and those above it; it may be there already.

    Raises:
        StylepackError: it cannot be made; `advice` is what to do then.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StylepackError(f"cannot make {folder}: {error.strerror}; {advice}") from error


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` in one step."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
