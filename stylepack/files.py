"""Writing files so that a reader never meets half of one."""

import errno
import hashlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from stylepack.errors import StylepackError, TrainingError, UsageError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
PART = re.compile(r"\.\d+-\d{1,20}\.part")  # what `replacing` writes to, by process and number
STALE = 24 * 3600.0  # seconds; where there are no locks, older leftovers are nobody's
PERMISSIONS = 0o777  # of a file's mode
ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "choose a name that no folder has",
}
NAME = ".lock"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty temporary file beside `path`; on success it is renamed to `path`.

    A link stays one: what it leads to is replaced.  On any error, Ctrl-C included, the temporary
    file is removed and `path` is untouched.  What killed processes have left in the folder is
    removed first.

    Raises:
        StylepackError: the folder does not exist, is not writable, or the disk is full.
    """
    number = int.from_bytes(os.urandom(8))  # containers that share a folder have the same processes
    target = written_through(path)
    leftovers_removed_once(target.parent)
    temporary = target.with_name(f".{os.getpid()}-{number}.part")
    try:
        with _claimed(temporary):
            yield temporary
            with suppress(OSError):  # a file keeps its permissions, where there are such
                temporary.chmod(target.stat().st_mode & PERMISSIONS)
            temporary.replace(target)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def written_through(path: Path) -> Path:
    """The file that is replaced where `path` is written: a link's is the one that it leads to."""
    linked = os.path.islink(path)  # noqa: PTH114 - pathlib raises at long names
    return Path(os.path.realpath(path)) if linked else path


@contextmanager
def _claimed(temporary: Path) -> Iterator[None]:
    """Make a file and keep it locked, by which `remove_leftovers` knows that it is in use.

    Windows renames no open files; there it is neither made nor locked.
    """
    if fcntl is None:
        yield
        return
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            lock(descriptor)
            if os.fstat(descriptor).st_nlink:  # else taken for a leftover before it was locked
                yield
                return
        finally:
            os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> StylepackError:
    """What to raise where `path` cannot be written."""
    advice = ADVICE.get(error.errno or 0, "choose a place that exists and that you may write to")
    return StylepackError(f"cannot write {path}: {error.strerror or error}; {advice}")


def remove_leftovers(folder: Path) -> None:
    """Remove what `replacing` has left in `folder` when its process was killed."""
    with suppress(OSError):
        for path in folder.glob(".*.part"):
            if PART.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                with suppress(OSError):
                    _remove_abandoned(path)


leftovers_removed_once = cache(remove_leftovers)  # a folder of many files is read once a command


def _remove_abandoned(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        free = lock(descriptor, wait=False)
        if free or (free is None and is_stale(path)):
            path.unlink()
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool = True) -> bool | None:
    """Lock an open file or folder until it is closed, which the end of the process does too.

    Returns:
        Whether it is locked now: False if another has it and `wait` is not set, None where
        there are no such locks, as on Windows and on some network file systems.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def is_stale(path: Path) -> bool:
    """Whether nobody can be at work on a temporary file or folder any more, by its age."""
    return time.time() - path.stat().st_mtime > STALE


def fingerprint(folder: Path, paths: Iterable[Path]) -> str:
    """A hash of files' names and sizes: enough to tell that a folder is another.

    Raises:
        StylepackError: one of them cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise StylepackError(f"cannot read {path}: {error.strerror}") from error
        name = os.fsencode(path.relative_to(folder).as_posix())
        digest.update(name + f"\0{size}\n".encode())
    return digest.hexdigest()


def check_target(path: Path, option: str, replace: bool = True) -> None:
    """Refuse, before any work is done for it, what cannot become a file, or is one already.

    Of a link it is the file that it leads to that counts, as for `replacing`.

    Raises:
        UsageError: `option` names a file in no folder, a folder, or one to be replaced without
            `replace`.
    """
    folder = written_through(path).parent
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}, for {option} {path}; make it first")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; name a file")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder} cannot be written to, for {option} {path}; choose another")
    if path.exists() and not replace:
        raise UsageError(f"{path} exists already; choose another name or add --replace")


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
    """Write `text` to `path` in one step; bytes of a file's name that are no UTF-8 stay."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


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
