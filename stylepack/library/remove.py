"""Removing the user's packs, and hiding and restoring bundled ones."""

from collections.abc import Sequence
from pathlib import Path

from stylepack.bundled import BUNDLED
from stylepack.errors import PackError, StylepackError, UsageError
from stylepack.files import make_folder
from stylepack.library.shelf import (
    MOVE_HOME,
    Origin,
    Shelved,
    bundled_packs,
    every_pack,
    find_pack,
    home_folder,
    read_hidden,
    write_hidden,
)
from stylepack.library.transaction import alone_in
from stylepack.packs.manifest import IDENTITY


def removable(name: str) -> Path:
    """The file of a pack that the user installed.

    Raises:
        UsageError: no such pack, or a bundled one.
    """
    path = find_pack(name)
    pack = next((pack for pack in every_pack() if pack.path == path), None)
    if pack is None or pack.origin is not Origin.USER or name not in (pack.name, pack.qualified):
        raise UsageError(f"'{name}' is not a pack that you installed; {_way_out(pack)}")
    return path


def remove_pack(name: str) -> Path:
    """Delete a pack that the user installed; return its path.

    Raises:
        UsageError: no such pack, or a bundled one.
    """
    path = removable(name)
    try:
        path.unlink()
    except OSError as error:
        raise StylepackError(
            f"cannot remove {path}: {error.strerror}; remove it by other means"
        ) from error
    return path


def hide_packs(references: Sequence[str]) -> list[str]:
    """Hide bundled packs, given as `NAME` or `bundled/NAME`; return their names.

    Raises:
        UsageError: not a bundled pack, or the identity pack, which painting needs.
    """
    names = _bundled_names(references)
    for name in names:
        if name == IDENTITY:
            raise UsageError(f"'{IDENTITY}' cannot be hidden: --strength and training need it")
        if name not in bundled_packs():
            path = find_pack(name)
            pack = next((pack for pack in every_pack() if pack.path == path), None)
            raise UsageError(f"'{name}' is not a bundled pack; {_way_out(pack)}")
    home = home_folder()
    make_folder(home, MOVE_HOME)
    with alone_in(home):
        write_hidden(home, read_hidden(home).union(names))
    return names


def restore_packs(names: Sequence[str] | None = None) -> list[str]:
    """Restore hidden packs, all of them without `names`; return their names.

    Without `names` a damaged list of hidden packs is rewritten.

    Raises:
        UsageError: a pack is not hidden.
    """
    home = home_folder()
    if not home.is_dir():
        return _restore(home, names)
    with alone_in(home):
        return _restore(home, names)


def _restore(home: Path, names: Sequence[str] | None) -> list[str]:
    if names is None:
        try:
            hidden = read_hidden(home)
        except PackError:
            hidden = frozenset(bundled_packs())
        back = sorted(hidden)
    else:
        hidden = read_hidden(home)
        back = _bundled_names(names)
    for name in back:
        if name not in hidden:
            known = f"hidden are: {', '.join(sorted(hidden))}" if hidden else "no pack is"
            raise UsageError(f"'{name}' is not hidden; {known}")
    if back:
        write_hidden(home, hidden.difference(back))
    return back


def _bundled_names(references: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.removeprefix(f"{BUNDLED}/") for name in references))


def _way_out(pack: Shelved | None) -> str:
    """Advice on how to remove a pack of this origin from the shelf."""
    ways = {
        Origin.USER: "remove it: `stylepack packs remove {0.name}`",
        Origin.BUNDLED: "hide it: `stylepack packs hide {0.name}`",
        Origin.PACKAGE: "remove its package: `pip uninstall {0.collection}`",
        Origin.TRUNK: "remove its trunk: `stylepack trunks remove {0.collection}`",
    }
    return ways[pack.origin].format(pack) if pack else "see `stylepack packs list`"
