"""Taking packs off the shelf: yours are deleted, bundled ones hidden until they are restored."""

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
)
from stylepack.library.state import read_hidden, write_hidden
from stylepack.library.transaction import alone_in
from stylepack.packs.manifest import IDENTITY


def removable(name: str) -> Path:
    """The file of a pack that the user installed.

    Raises:
        UsageError: no such pack, or a bundled one.
    """
    path = find_pack(name)
    pack = next((pack for pack in every_pack() if pack.path == path), None)
    if pack is None or pack.origin is not Origin.YOURS or name not in (pack.name, pack.qualified):
        raise UsageError(f"'{name}' is not a pack that you installed; {_way_out(pack)}")
    return path


def remove_pack(name: str) -> Path:
    """Delete a pack that the user installed; return where it was.

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
    """Take bundled packs off the shelf until `restore_packs`, their files stay; return their names.

    Args:
        references: `NAME` or `bundled/NAME`.

    Raises:
        UsageError: not a bundled pack, or the identity pack, which painting needs.
    """
    names = list(dict.fromkeys(one.removeprefix(f"{BUNDLED}/") for one in references))
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
    """Put hidden packs back on the shelf, all of them without names; return which.

    Without names a damaged list of hidden packs is written anew.

    Raises:
        UsageError: a pack that is not hidden.
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
        back = list(dict.fromkeys(name.removeprefix(f"{BUNDLED}/") for name in names))
    for name in back:
        if name not in hidden:
            known = f"hidden are: {', '.join(sorted(hidden))}" if hidden else "no pack is"
            raise UsageError(f"'{name}' is not hidden; {known}")
    if back:
        write_hidden(home, hidden.difference(back))
    return back


def _way_out(pack: Shelved | None) -> str:
    """How a pack of this origin is taken off the shelf."""
    ways = {
        Origin.YOURS: "remove it: `stylepack packs remove {0.name}`",
        Origin.BUNDLED: "hide it: `stylepack packs hide {0.name}`",
        Origin.PACKAGE: "remove its package: `pip uninstall {0.collection}`",
        Origin.TRUNK: "remove its trunk: `stylepack trunks remove {0.collection}`",
    }
    return ways[pack.origin].format(pack) if pack else "see `stylepack packs list`"
