"""Writing files so that a reader never meets half of one."""

import errno
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stylepack.errors import StylepackError, UsageError

PART = re.compile(r"\.(\d+)-\d+\.part")  # what `replacing` writes to, by process and number
PERMISSIONS = 0o777  # of a file's mode
ADVICE = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EISDIR: "choose a name that no folder has",
}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is renamed to `path`.

    A link stays one: what it leads to is replaced.
    On any error, Ctrl-C included, the temporary file is removed and `path` is untouched.

    Raises:
        StylepackError: the folder does not exist, is not writable, or the disk is full.
    """
    number = int.from_bytes(os.urandom(8))  # containers that share a folder have the same processes
    linked = os.path.islink(path)  # noqa: PTH114 - pathlib raises at long names
    target = Path(os.path.realpath(path)) if linked else path
    temporary = target.with_name(f".{os.getpid()}-{number}.part")
    try:
        yield temporary
        with suppress(OSError):  # a file keeps its permissions, where there are such
            temporary.chmod(target.stat().st_mode & PERMISSIONS)
        temporary.replace(target)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> StylepackError:
    """What to raise where `path` cannot be written."""
    advice = ADVICE.get(error.errno or 0, "choose a place that exists and that you may write to")
    return StylepackError(f"cannot write {path}: {error.strerror or error}; {advice}")


def remove_leftovers(folder: Path) -> None:
    """Remove what `replacing` has left in `folder` when its process was killed.

    Call it before this process writes there: processes of containers have the same few numbers,
    so a file of this very number is an earlier process's.
    """
    for path in folder.glob(".*.part"):
        match = PART.fullmatch(path.name)
        if match and not _is_another_alive(int(match[1])):
            with suppress(OSError):
                path.unlink()


def _is_another_alive(process: int) -> bool:
    if process == os.getpid():
        return False
    if os.name == "nt":  # there is no asking by a signal that does nothing
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # somebody else's
        pass
    return True


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

    Raises:
        UsageError: `option` names a file in no folder, a folder, or one to be replaced without
            `replace`.
    """
    if not path.parent.is_dir():
        raise UsageError(f"no such folder: {path.parent}, for {option} {path}; make it first")
    if path.is_dir():
        raise UsageError(f"{option} {path} is a folder; name a file")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"{path.parent} cannot be written to, for {option} {path}; choose another")
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
