"""Putting files and folders in place together: all of them, or as if nothing had been done.

What is to be installed is first written to a hidden folder beside its place.  A list of names
in that folder says when the renames have begun.  A command that was killed leaves the folder,
and the next one that reads or writes there undoes what it had done.
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
# Swapping two entries of a folder in one step: the system's function, its flag for that, and the
# arguments before each path (renameat2(2) of Linux; renamex_np(2) of macOS takes none).
SWAPS = {"linux": ("renameat2", 2, [-100]), "darwin": ("renamex_np", 2, [])}


class TakenError(PackError):
    """A place that was free when it was looked at is so no longer."""


class Stage:
    """A hidden folder with what will be placed in `folder`, and what that takes the place of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []

    @cached_property
    def path(self) -> Path:
        """The hidden folder, made when it is first needed."""
        path = self.folder / f"{PREFIX}{os.urandom(8).hex()}"
        path.mkdir(0o700)
        for half in (NEW, OLD):
            (path / half).mkdir()
        return path

    def add(self, name: str, content: bytes) -> None:
        """Write a file, `name` or `folder/.../name`, that `place` will put in place."""
        file = self.path / NEW / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        top = name.partition("/")[0]
        if top not in self.names:
            self.names.append(top)

    def place(self, replace: bool = False) -> list[Path]:
        """Put everything in place; return the new paths.

        Raises:
            TakenError: something is there and `replace` is not set.
            PackError: it is a folder where a file is to be, or the other way round.
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
        """Move something out of its place, to be deleted with the stage; return where it is."""
        return (self.folder / name).rename(self.path / OLD / name)


def _check_place(new: Path, target: Path, replace: bool) -> None:
    """What the caller has found free may have been taken while it waited for its turn."""
    if target.exists() and not replace:
        raise TakenError(f"{target} was written by another command meanwhile; run this again")
    if target.exists() and (target.is_file(), target.is_dir()) != (new.is_file(), new.is_dir()):
        kind = "folder" if new.is_dir() else "file"
        raise PackError(f"{target} is in the way and no {kind}; move it away")


def _exchange(target: Path, new: Path, old: Path) -> None:
    """Put `new` in the place of `target`, and that in the place of `old`, or of `new`.

    Whoever reads meanwhile finds the one or the other, where the system can swap folders.  A swap
    is not undone: after it one folder is whole.
    """
    if target.is_file():
        _keep(target, old)
    elif target.exists():
        if _swap(target, new):
            return
        target.rename(old)
    new.replace(target)


def _keep(file: Path, old: Path) -> None:
    """Give a file a second name, or make a copy where it can have none; never half of one."""
    try:
        old.hardlink_to(file)
    except OSError:
        part = old.with_name(f".{old.name}")
        shutil.copyfile(file, part)
        part.rename(old)


def _swap(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False where the system cannot."""
    import ctypes  # rarely needed, and not quick to import

    name, flag, before = SWAPS.get(sys.platform, ("", 0, []))
    function = getattr(ctypes.CDLL(None), name, None) if name else None
    if function is None:
        return False
    return bool(function(*before, os.fsencode(one), *before, os.fsencode(other), flag) == 0)


@contextmanager
def staging(
    folder: Path, advice: str, *, own: bool = True, names: Collection[str] = ()
) -> Iterator[Stage]:
    """A stage for things in `folder`, which exists; on any error, Ctrl-C included, all is undone.

    No other command places anything there meanwhile, and nothing that a killed one has left is
    there any more: what the body looks up there is still so when it places.

    Args:
        folder: where things are to be placed.
        advice: what to do if it cannot be written to.
        own: whether nobody else writes to the folder, so that what killed commands have left is
            believed and undone; elsewhere it is only removed.
        names: where nothing else is believed, files that may be put back all the same.

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
    """Undo what killed commands have left in a folder, unless one is at work there.

    For those who only read: where it cannot be undone now, nothing is said.  `own` and `names` as
    for `staging`.
    """
    with suppress(OSError):
        if any(folder.glob(f"{PREFIX}*")):
            with alone_in(folder, wait=False) as alone:
                _sweep(folder, alone, own, names)


def _sweep(folder: Path, alone: bool | None, own: bool, names: Collection[str]) -> None:
    """Remove the stages in a folder that nobody is at work on; `alone` is from `alone_in`."""
    for left in folder.glob(f"{PREFIX}*") if alone is not False else ():
        if alone or is_stale(left):
            if own or set(_names_placing(left / PLACING)) <= set(names):
                _undo(left)
            else:
                shutil.rmtree(left, ignore_errors=True)


def _undo(path: Path) -> None:
    """Back to before the install, as far as that had come; nothing to do where it was finished.

    It may be killed as well, and done again.  What cannot be undone stays for the next time.
    """
    try:
        for name in _names_placing(path / PLACING):
            _put_back(path.parent / name, path / NEW / name, path / OLD / name)
        (path / PLACING).unlink(missing_ok=True)  # before what it tells of is deleted
    except OSError:
        return
    shutil.rmtree(path, ignore_errors=True)


def _put_back(target: Path, new: Path, old: Path) -> None:
    """Undo `_exchange`, at whatever step that ended: a `new` that is not there has been placed."""
    if old.exists():
        if not new.exists() and target.is_dir():
            target.rename(new)
        elif not new.exists():
            new.touch()
        old.replace(target)
    elif not new.exists() and target.exists():
        target.rename(new)


def _names_placing(file: Path) -> list[str]:
    """The names in a list that `place` wrote, none if it is no such list."""
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
    """Wait until no other command changes what is in this folder, then keep others out.

    Yields what `lock` returns for the folder itself.
    """
    if sys.platform == "win32":  # it opens no folders
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield lock(descriptor, wait=wait)
    finally:
        os.close(descriptor)
