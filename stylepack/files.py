"""Atomic writes, leftovers of killed processes, and locks."""

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
PART = re.compile(r"\.\d+-\d{1,20}\.part")  # temporary files of `replacing`: process, number
STALE = 24 * 3600.0  # seconds after which leftovers are abandoned, where there are no locks
PERMISSIONS = 0o777  # bits of a file's mode
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

    If `path` is a link, its target is replaced.  On any error, Ctrl-C included, the temporary file
    is removed and `path` is unchanged.  Leftovers of killed processes in the folder are removed.

    Raises:
        StylepackError: the folder does not exist, is not writable, or the disk is full.
    """
    number = int.from_bytes(os.urandom(8))  # containers sharing a folder have equal process ids
    target = written_through(path)
    leftovers_removed_once(target.parent)
    temporary = target.with_name(f".{os.getpid()}-{number}.part")
    try:
        with _claimed(temporary):
            yield temporary
            with suppress(OSError):  # an existing file keeps its permissions
                temporary.chmod(target.stat().st_mode & PERMISSIONS)
            temporary.replace(target)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def written_through(path: Path) -> Path:
    """The file that writing to `path` replaces: a link's target, else `path` itself."""
    linked = os.path.islink(path)  # noqa: PTH114 - pathlib raises at long names
    return Path(os.path.realpath(path)) if linked else path


@contextmanager
def _claimed(temporary: Path) -> Iterator[None]:
    """Create a file and keep it locked, so that `remove_leftovers` sees that it is in use.

    Windows cannot rename open files, so nothing is created or locked there.
    """
    if fcntl is None:
        yield
        return
    while True:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            lock(descriptor)
            if os.fstat(descriptor).st_nlink:  # else removed as a leftover before it was locked
                yield
                return
        finally:
            os.close(descriptor)


def cannot_write(path: Path, error: OSError) -> StylepackError:
    """The error to raise if `path` cannot be written."""
    advice = ADVICE.get(error.errno or 0, "choose a folder that exists and that you can write to")
    return StylepackError(f"cannot write {path}: {error.strerror or error}; {advice}")


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of `replacing` in `folder` whose process was killed."""
    with suppress(OSError):
        for path in folder.glob(".*.part"):
            if PART.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                with suppress(OSError):
                    _remove_abandoned(path)


leftovers_removed_once = cache(remove_leftovers)  # a large folder is listed once per command


def _remove_abandoned(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        free = lock(descriptor, wait=False)
        if free or (free is None and is_stale(path)):
            path.unlink()
    finally:
        os.close(descriptor)


def lock(descriptor: int, *, wait: bool = True) -> bool | None:
    """Lock an open file or folder until it is closed or the process ends.

    Returns:
        Whether it is locked: False if another process holds the lock and `wait` is not set, None
        where locks are unavailable, as on Windows and on some network file systems.
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
    """Whether a temporary file or folder is old enough to count as abandoned."""
    return time.time() - path.stat().st_mtime > STALE


def fingerprint(folder: Path, paths: Iterable[Path]) -> str:
    """A hash of files' names and sizes, to recognize a folder.

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


def refuse_pipe(path: Path) -> None:
    """Refuse to read a named pipe, which may never be written to.

    Raises:
        UsageError: `path` is a pipe.
    """
    if path.is_fifo():
        raise UsageError(f"{path} is a pipe; save it to a file first")


def check_target(path: Path, option: str, replace: bool = True) -> None:
    """Refuse, before any work, an output path that cannot be written.

    A link counts as its target, as for `replacing`.

    Raises:
        UsageError: its folder does not exist or is not writable, it is a folder, or it exists and
            `replace` is not set.
    """
    folder = written_through(path).parent
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}, for {option} {path}; make it first")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; name a file")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"{folder} cannot be written to, for {option} {path}; choose another")
    if path.exists() and not replace:
        raise UsageError(f"{path} already exists; choose another name or add --replace")


def make_folder(folder: Path, advice: str) -> None:
    """Create a folder and its parents, unless it exists.

    Raises:
        StylepackError: it cannot be created; the message ends with `advice`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StylepackError(f"cannot make {folder}: {error.strerror}; {advice}") from error


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically; surrogate escapes are written as the original bytes."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")


class FolderLock:
    """Locks a folder until `release` or the end of the process, where files can be locked.

    Raises:
        TrainingError: another process holds the lock.
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
                f"another process is working in {folder}; wait until it ends, or stop it"
            )

    def release(self) -> None:
        """Unlock the folder."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def __del__(self) -> None:
        self.release()
