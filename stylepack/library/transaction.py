"""Transactions: placing several files and folders together, all of them or none.

Files are first written to a hidden folder beside their targets.  A list of names in that folder
marks that the renames have begun.  A killed command leaves the folder, and the next one that reads
or writes there undoes the transaction.
"""

import json
import os
import shutil
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from stylepack.errors import PackError, StylepackError
from stylepack.files import is_stale, lock

PREFIX = ".stylepack-install-"
NEW, OLD, PLACING = "new", "old", "placing.json"
# Atomic swaps of two paths: the system's function, its flag, and the arguments before each path
# (renameat2(2) of Linux; renamex_np(2) of macOS has none).
SWAPS = {"linux": ("renameat2", 2, [-100]), "darwin": ("renamex_np", 2, [])}


class TakenError(PackError):
    """Another command has written a target in the meantime."""


class Stage:
    """A transaction: staged files, plus backups of the files that they replace in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    @cached_property
    def path(self) -> Path:
        """The hidden folder, created on first use."""
        path = self.folder / f"{PREFIX}{os.urandom(8).hex()}"
        path.mkdir(0o700)
        for half in (NEW, OLD):
            (path / half).mkdir()
        return path

    def add(self, name: str, content: bytes) -> None:
        """Stage a file, `name` or `folder/.../name`."""
        file = self.path / NEW / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        top = name.partition("/")[0]
        if top not in self.names:
            self.names.append(top)

    def place(self, replace: bool = False) -> list[Path]:
        """Move everything to its target; return the new paths.

        Raises:
            TakenError: a target exists and `replace` is not set.
            PackError: a target is a folder instead of a file, or the other way round.
        """
        targets = [self.folder / name for name in self.names]
        for target in targets:
            _check_place(self.path / NEW / target.name, target, replace)
        (self.path / PLACING).write_text(json.dumps(self.names), encoding="utf-8")
        for target in targets:
            _exchange(target, self.path / NEW / target.name, self.path / OLD / target.name)
        (self.path / PLACING).unlink()
        return targets

    def take(self, name: str) -> Path:
        """Move a target into the stage, to be deleted with it; return its new path."""
        return (self.folder / name).rename(self.path / OLD / name)


def _check_place(new: Path, target: Path, replace: bool) -> None:
    """Check a target again: it may have been taken while the caller waited for the lock."""
    if target.exists() and not replace:
        raise TakenError(f"{target} was written by another command meanwhile; run this again")
    if target.exists() and (target.is_file(), target.is_dir()) != (new.is_file(), new.is_dir()):
        kind = "folder" if new.is_dir() else "file"
        raise PackError(f"{target} is in the way and not a {kind}; move it away")


def _exchange(target: Path, new: Path, old: Path) -> None:
    """Move `new` to `target`, and `target` to `old`, or to `new` where the system can swap folders.

    A swap is atomic for readers and is not undone.
    """
    if target.is_file():
        _keep(target, old)
    elif target.exists():
        if _swap(target, new):
            return
        target.rename(old)
    new.replace(target)


def _keep(file: Path, old: Path) -> None:
    """Back up a file by a hard link, or else by an atomic copy."""
    try:
        old.hardlink_to(file)
    except OSError:
        part = old.with_name(f".{old.name}")
        shutil.copyfile(file, part)
        part.rename(old)


def _swap(one: Path, other: Path) -> bool:
    """Swap two folders atomically; False where the system cannot."""
    import ctypes  # rarely needed, and slow to import

    name, flag, before = SWAPS.get(sys.platform, ("", 0, []))
    function = getattr(ctypes.CDLL(None), name, None) if name else None
    if function is None:
        return False
    return bool(function(*before, os.fsencode(one), *before, os.fsencode(other), flag) == 0)


@contextmanager
def staging(
    folder: Path, advice: str, *, own: bool = True, names: Collection[str] = ()
) -> Iterator[Stage]:
    """A transaction in an existing folder, undone on any error, Ctrl-C included.

    The folder is locked, and transactions of killed commands are undone first.

    Args:
        folder: the folder of the targets.
        advice: what to do if it cannot be written to.
        own: only stylepack writes to the folder, so leftovers of killed commands are trusted and
            undone.  Elsewhere, a leftover that replaced a file or placed some of several is kept
            for the command that may undo it, and others are deleted.
        names: files that may be restored even if `own` is not set.

    Raises:
        StylepackError: the folder cannot be written to.
    """
    try:
        with alone_in(folder) as alone:
            _sweep(folder, alone, own, names)
            stage = Stage(folder)
            try:
                yield stage
            finally:
                if "path" in vars(stage):
                    _undo(stage.path)
    except OSError as error:
        raise StylepackError(
            f"cannot write to {folder}: {error.strerror or error}; make room, or {advice}"
        ) from error


def recover(folder: Path, *, own: bool = True, names: Collection[str] = ()) -> None:
    """Undo transactions of killed commands before reading, unless another command has the lock.

    `own` and `names` as for `staging`.
    """
    with suppress(OSError):
        if any(folder.glob(f"{PREFIX}*")):
            with alone_in(folder, wait=False) as alone:
                _sweep(folder, alone, own, names)


def _sweep(folder: Path, alone: bool | None, own: bool, names: Collection[str]) -> None:
    """Remove abandoned stages in a folder; `alone` is from `alone_in`."""
    for left in folder.glob(f"{PREFIX}*") if alone is not False else ():
        if alone or is_stale(left):
            placing = _names_placing(left / PLACING)
            if own or set(placing) <= set(names):
                _undo(left)
            elif len(placing) == 1 and not any((left / OLD).glob("*")):  # nothing to restore
                shutil.rmtree(left, ignore_errors=True)


def _undo(path: Path) -> None:
    """Undo an unfinished transaction and delete its stage; can be interrupted and repeated.

    If undoing fails, the stage remains for the next attempt.
    """
    try:
        for name in _names_placing(path / PLACING):
            _put_back(path.parent / name, path / NEW / name, path / OLD / name)
        (path / PLACING).unlink(missing_ok=True)  # before the files that it lists
    except OSError:
        return
    shutil.rmtree(path, ignore_errors=True)


def _put_back(target: Path, new: Path, old: Path) -> None:
    """Undo `_exchange` from any step: a missing `new` has been placed."""
    if old.exists():
        if not new.exists() and target.is_dir():
            target.rename(new)
        elif not new.exists():
            new.touch()
        old.replace(target)
    elif not new.exists() and target.exists():
        target.rename(new)


def _names_placing(file: Path) -> list[str]:
    """The names in a list that `place` wrote; none if it is missing or damaged."""
    try:
        names = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        return []
    plain = all(name == Path(name).name and name not in ("", "..") for name in names)
    return names if plain and not any("\0" in name for name in names) else []


@contextmanager
def alone_in(folder: Path, *, wait: bool = True) -> Iterator[bool | None]:
    """Lock a folder, by default waiting for other commands; yield the result of `lock`."""
    if sys.platform == "win32":  # folders cannot be opened
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield lock(descriptor, wait=wait)
    finally:
        os.close(descriptor)
