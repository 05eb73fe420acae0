"""Putting files and folders in place together: all of them, or as if nothing had been done.

What is to be installed is first written to a hidden folder beside its place.  A list of names
in that folder says when the renames have begun.  An install that was killed leaves the folder,
and the next install undoes what it had done.
"""

import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stylepack.errors import PackError, StylepackError

PREFIX = ".stylepack-install-"
NEW, OLD, PLACING = "new", "old", "placing.json"
STALE = 24 * 3600.0  # seconds; where there are no locks, an install must have ended by then


class TakenError(PackError):
    """A place that was free when it was looked at is so no longer."""


class Stage:
    """A hidden folder with what will be placed in `folder`, and what that takes the place of."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent
        self.names: list[str] = []
        (path / NEW).mkdir()
        (path / OLD).mkdir()

    def add(self, name: str, content: bytes) -> None:
        """Write a file, `name` or `folder/.../name`, that `place` will put in place."""
        file = self.path / NEW / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        top = name.partition("/")[0]
        if top not in self.names:
            self.names.append(top)

    def place(self, replace: bool = False) -> list[Path]:
        """Put everything in place; return where it lies.

        Raises:
            TakenError: something is there and `replace` is not set.
            PackError: it is a folder where a file is to lie, or the other way round.
        """
        for name in self.names:
            self._check_place(self.path / NEW / name, self.folder / name, replace)
        (self.path / PLACING).write_text(json.dumps(self.names), encoding="utf-8")
        for name in self.names:
            new, old, target = self.path / NEW / name, self.path / OLD / name, self.folder / name
            if target.is_file():
                shutil.copyfile(target, old)  # a reader finds the one or the other
            elif target.exists():
                target.rename(old)
            new.replace(target)
        (self.path / PLACING).unlink()
        return [self.folder / name for name in self.names]

    @staticmethod
    def _check_place(new: Path, target: Path, replace: bool) -> None:
        """What the caller has found free may have been taken while it waited for its turn."""
        if target.exists() and not replace:
            raise TakenError(f"{target} was written by another command meanwhile; run this again")
        if target.exists() and (target.is_file(), target.is_dir()) != (new.is_file(), new.is_dir()):
            kind = "folder" if new.is_dir() else "file"
            raise PackError(f"{target} is in the way and no {kind}; move it away")


@contextmanager
def staging(folder: Path, advice: str, *, sweep: bool = True) -> Iterator[Stage]:
    """A stage for things in `folder`, which exists; on any error, Ctrl-C included, all is undone.

    Args:
        folder: where things are to be placed.
        advice: what to do if it cannot be written to.
        sweep: undo what killed installs have left there.  Only for folders that nobody else
            writes to: what is left there is believed.

    Raises:
        StylepackError: the folder cannot be written to.
    """
    try:
        with alone_in(folder) as alone:
            for left in folder.glob(f"{PREFIX}*") if sweep else ():
                if alone or time.time() - left.stat().st_mtime > STALE:
                    _undo(left)
            path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder))
            try:
                yield Stage(path)
            finally:
                _undo(path)
    except OSError as error:
        raise StylepackError(
            f"cannot write to {folder}: {error.strerror or error}; make room, or {advice}"
        ) from error


def _undo(path: Path) -> None:
    """Back to before the install, as far as that had come; nothing to do where it was finished."""
    names = _names_placing(path / PLACING)
    for name in names:
        new, old, target = path / NEW / name, path / OLD / name, path.parent / name
        with suppress(OSError, ValueError):
            if not new.exists() and target.exists():
                target.rename(new)
            if old.exists() and not target.exists():
                old.rename(target)
    if names:
        (path / PLACING).unlink()  # first: it would say that what rmtree deletes has been placed
    shutil.rmtree(path, ignore_errors=True)


def _names_placing(file: Path) -> list[str]:
    """The names in a list that `place` wrote, none if it is no such list."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return []
    plain = all(name == Path(name).name and name not in ("", "..") for name in names)
    return names if plain else []


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Wait until no other command changes what is in this folder, then keep others out.

    The lock is on the folder itself and ends with the process, however that ends.  False where
    there are no such locks.
    """
    if sys.platform == "win32":
        yield False
        return
    import fcntl

    descriptor = os.open(folder, os.O_RDONLY)
    try:
        locked = False
        with suppress(OSError):  # some network file systems have none
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            locked = True
        yield locked
    finally:
        os.close(descriptor)
