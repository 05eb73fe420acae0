"""Where packs and trunks live, and finding them by name.  No torch here."""

import difflib
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from stylepack.errors import PackError, StylepackError, UsageError
from stylepack.files import make_folder
from stylepack.packs.header import read_header
from stylepack.packs.hidden import read_hidden, write_hidden
from stylepack.packs.manifest import LARGEST_TRUNK, Manifest, checked_name, read_manifest

SUFFIX = ".safetensors"
IDENTITY = "photo"  # the name of a trunk's identity style
HOME_VARIABLE = "STYLEPACK_HOME"
ASSETS = Path(__file__).resolve().parent.parent / "assets"
BUNDLED_TRUNK = ASSETS / "trunk.safetensors"
BUNDLED_LOSS_NETWORK = ASSETS / "loss-network.safetensors"
BUNDLED_PACKS = ASSETS / "packs"
BUNDLED_PHOTOS = ASSETS / "photos"


@dataclass(frozen=True)
class Shelved:
    """A pack on the shelf: its name is its file's name."""

    name: str
    path: Path
    bundled: bool

    def manifest(self) -> Manifest:
        """Its metadata, header only."""
        return read_manifest(self.path)


def home_folder() -> Path:
    """The user's data folder: `STYLEPACK_HOME`, else the platform's."""
    return _moved_home() or user_data_path("stylepack", appauthor=False)


def cache_folder() -> Path:
    """Where downloads are kept: `STYLEPACK_HOME/cache`, else the platform's cache folder."""
    moved = _moved_home()
    return moved / "cache" if moved else user_cache_path("stylepack", appauthor=False)


def shelf() -> dict[str, Shelved]:
    """Every installed pack by name, sorted; a user's pack comes before a bundled one.

    Bundled packs that the user has hidden are left out.

    Raises:
        PackError: the list of hidden packs is damaged.
    """
    hidden = read_hidden(home_folder())
    found = {name: pack for name, pack in bundled_packs().items() if name not in hidden}
    found.update(user_packs())
    return dict(sorted(found.items()))


def bundled_packs() -> dict[str, Shelved]:
    """Every bundled pack by name, hidden ones too."""
    return dict(sorted(_scan(BUNDLED_PACKS, bundled=True)))


def user_packs() -> dict[str, Shelved]:
    """Every pack that the user installed, by name."""
    return dict(sorted(_scan(home_folder() / "packs", bundled=False)))


def bundled_trunk_sha256() -> str:
    """What the bundled trunk's file says its hash is: header only."""
    metadata = read_header(BUNDLED_TRUNK, LARGEST_TRUNK).metadata
    return metadata.get("modelspec.hash_sha256", "").removeprefix("0x")


def find_pack(reference: str) -> Path:
    """The file of a pack given by name or by path.

    Raises:
        UsageError: neither a pack on the shelf nor a file; says what comes close.
    """
    if _is_path(reference):
        with suppress(OSError, RuntimeError):  # a name too long, or the home of nobody
            path = Path(reference).expanduser()
            if path.is_file():
                return path
        raise UsageError(f"no such pack file: {reference}")
    packs = shelf()
    if reference in packs:
        return packs[reference].path
    if reference in bundled_packs():
        raise UsageError(
            f"pack '{reference}' is hidden; bring it back: `stylepack packs restore {reference}`"
        )
    close = difflib.get_close_matches(reference, packs, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else "see `stylepack packs list`"
    raise UsageError(f"no pack '{reference}'; {hint}")


def install_place(name: str, replace: bool = False) -> Path:
    """The path that a new pack is to be written to; its folder exists afterwards.

    Raises:
        UsageError: the name is not a pack's.
        PackError: it is taken and `replace` is not set.
    """
    try:
        checked_name(name, "the new pack")
    except PackError as error:
        raise UsageError(str(error)) from error
    taken = shelf().get(name)
    if taken and not replace:
        kind = "bundled" if taken.bundled else "installed"
        raise PackError(
            f"a pack '{name}' is {kind} already; choose another name or replace it with --replace"
        )
    return packs_folder() / f"{name}{SUFFIX}"


def packs_folder() -> Path:
    """The folder of the user's packs; it exists afterwards.

    Raises:
        StylepackError: it cannot be made.
    """
    folder = home_folder() / "packs"
    make_folder(folder, f"set {HOME_VARIABLE} to a folder you own")
    return folder


def removable(name: str) -> Path:
    """The file of a pack that the user installed.

    Raises:
        UsageError: no such pack, or a bundled one.
    """
    path = find_pack(name)
    if path.parent != home_folder() / "packs" or _is_path(name):
        bundled = not _is_path(name) and name in bundled_packs()
        hint = (
            f"hide it: `stylepack packs hide {name}`" if bundled else "see `stylepack packs list`"
        )
        raise UsageError(f"'{name}' is not a pack that you installed; {hint}")
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
        raise StylepackError(f"cannot remove {path}: {error.strerror}") from error
    return path


def hide_packs(names: Sequence[str]) -> None:
    """Take bundled packs off the shelf until `restore_packs`; their files stay.

    Raises:
        UsageError: not a bundled pack, or the identity pack, which painting needs.
    """
    for name in names:
        if name == IDENTITY:
            raise UsageError(f"'{IDENTITY}' cannot be hidden: --strength and training need it")
        if name not in bundled_packs():
            find_pack(name)
            raise UsageError(
                f"'{name}' is not a bundled pack; remove it: `stylepack packs remove {name}`"
            )
    write_hidden(home_folder(), read_hidden(home_folder()).union(names))


def restore_packs(names: Sequence[str] | None = None) -> list[str]:
    """Put hidden packs back on the shelf, all of them without names; return which.

    Without names a damaged list of hidden packs is written anew.

    Raises:
        UsageError: a pack that is not hidden.
    """
    home = home_folder()
    if names is None:
        try:
            hidden = read_hidden(home)
        except PackError:
            hidden = frozenset(bundled_packs())
        back = sorted(hidden)
    else:
        hidden, back = read_hidden(home), list(names)
    for name in back:
        if name not in hidden:
            known = f"hidden are: {', '.join(sorted(hidden))}" if hidden else "no pack is"
            raise UsageError(f"'{name}' is not hidden; {known}")
    if back:
        write_hidden(home, hidden.difference(back))
    return back


def _moved_home() -> Path | None:
    moved = os.environ.get(HOME_VARIABLE)
    try:
        return Path(moved).expanduser() if moved else None
    except RuntimeError as error:
        raise UsageError(f"{HOME_VARIABLE} is '{moved}': {error}") from error


def _is_path(reference: str) -> bool:
    return reference.endswith(SUFFIX) or "/" in reference or os.sep in reference


def _scan(folder: Path, bundled: bool) -> Iterator[tuple[str, Shelved]]:
    if not folder.is_dir():
        return
    for path in folder.glob(f"*{SUFFIX}"):
        if not path.name.startswith("."):
            yield path.stem, Shelved(path.stem, path, bundled)
