"""Where packs and trunks live, and finding them by name.  No torch here."""

import difflib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from stylepack.errors import PackError, StylepackError, UsageError
from stylepack.files import replacing
from stylepack.packs.manifest import Manifest, checked_name, read_manifest

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
    """Every installed pack by name, sorted; a user's pack comes before a bundled one."""
    found = dict(_scan(BUNDLED_PACKS, bundled=True))
    found.update(_scan(home_folder() / "packs", bundled=False))
    return dict(sorted(found.items()))


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
    close = difflib.get_close_matches(reference, packs, n=1, cutoff=0.5)
    hint = f"did you mean '{close[0]}'?" if close else "see `stylepack packs list`"
    raise UsageError(f"no pack '{reference}'; {hint}")


def install_pack(source: Path, name: str | None = None, replace: bool = False) -> Shelved:
    """Copy a checked pack file to the user's shelf.

    The caller has read the file as a pack before; here only its header is read again.

    Raises:
        PackError: a pack of that name is installed already and `replace` is not set.
    """
    name = name or read_manifest(source).name
    target = install_place(name, replace)
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
    return Shelved(name, target, bundled=False)


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
    folder = home_folder() / "packs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StylepackError(
            f"cannot make {folder}: {error.strerror}; set {HOME_VARIABLE} to a folder you own"
        ) from error
    return folder / f"{name}{SUFFIX}"


def remove_pack(name: str) -> Path:
    """Delete a pack that the user installed; return where it was.

    Raises:
        UsageError: no such pack, or a bundled one.
    """
    path = find_pack(name)
    if path.parent != home_folder() / "packs" or _is_path(name):
        raise UsageError(f"'{name}' is not a pack that you installed; see `stylepack packs list`")
    try:
        path.unlink()
    except OSError as error:
        raise StylepackError(f"cannot remove {path}: {error.strerror}") from error
    return path


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
