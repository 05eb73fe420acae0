"""Where packs and trunks live, and finding them by name.  No torch here."""

import difflib
import os
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from stylepack.bundled import ASSETS, BUNDLED
from stylepack.errors import PackError, UsageError
from stylepack.files import make_folder
from stylepack.library.plugins import packages
from stylepack.library.state import read_hidden
from stylepack.library.transaction import recover
from stylepack.packs.header import MissingFileError
from stylepack.packs.manifest import NAME_PATTERN, SUFFIX, Manifest, read_manifest, typed_name

HOME_VARIABLE = "STYLEPACK_HOME"
MOVE_HOME = f"set {HOME_VARIABLE} to a folder you own"
NOWHERE = Path(os.devnull, "stylepack")  # nothing is found there, and nothing can be written
BUNDLED_PACKS = ASSETS / "packs"


class Origin(StrEnum):
    """How a pack came to the shelf."""

    YOURS = "installed"
    TRUNK = "trunk"
    PACKAGE = "pip"
    BUNDLED = "bundled"


@dataclass(frozen=True)
class Shelved:
    """A pack on the shelf: its name is its file's name.

    `collection` is what it came with: the name of a trunk or of a Python package.
    """

    name: str
    path: Path
    origin: Origin
    collection: str

    @property
    def bundled(self) -> bool:
        """Whether it comes with stylepack."""
        return self.origin is Origin.BUNDLED

    @property
    def qualified(self) -> str:
        """The name that finds this pack and no other: `COLLECTION/NAME`."""
        return f"{self.collection}/{self.name}"

    @property
    def came_with(self) -> str:
        """Where it is from, in words: `installed`, `bundled`, `trunk mine`, `pip foo`."""
        named = self.origin in (Origin.TRUNK, Origin.PACKAGE)
        return f"{self.origin} {self.collection}" if named else str(self.origin)

    @property
    def presence(self) -> str:
        """The same as a predicate: `is installed`, `comes with trunk mine`."""
        if self.origin is Origin.PACKAGE:
            return f"comes with package {self.collection}"
        return (
            f"comes with {self.came_with}" if self.origin is Origin.TRUNK else f"is {self.origin}"
        )

    def vanished(self, error: Exception) -> bool:
        """Whether `error` says that it has been removed since it was found: not a fault of it."""
        missing = isinstance(error, MissingFileError | FileNotFoundError)
        return missing and not self.path.is_symlink()

    def manifest(self) -> Manifest:
        """Its metadata, header only."""
        return read_manifest(self.path)


def home_folder() -> Path:
    """The user's data folder: `STYLEPACK_HOME`, else the platform's, or `NOWHERE`."""
    return _moved_home() or _of_user(user_data_path)


def cache_folder() -> Path:
    """Where downloads are kept: `STYLEPACK_HOME/cache`, else the platform's cache folder."""
    moved = _moved_home()
    return moved / "cache" if moved else _of_user(user_cache_path)


class Shelf:
    """The packs of one moment: each of the folders is read once, when it is first needed."""

    @cached_property
    def every(self) -> list[Shelved]:
        """All packs, hidden and shadowed ones too, one for each `COLLECTION/NAME`."""
        found: dict[str, Shelved] = {}
        for pack in (
            *bundled_packs().values(),
            *user_packs().values(),
            *trunk_packs(),
            *package_packs(),
        ):
            found.setdefault(pack.qualified, pack)
        return list(found.values())

    @cached_property
    def visible(self) -> dict[str, Shelved]:
        """Packs by the shortest reference that finds them, sorted.

        A plain name is your own pack; else the bundled one; else the only one of that name among
        Python packages and installed trunks.  The rest go by `COLLECTION/NAME`, but for bundled and
        packages' packs whose place a pack of yours has taken.  Bundled packs that the user has
        hidden are left out.

        Raises:
            PackError: the list of hidden packs is damaged.
        """
        hidden = read_hidden(home_folder())
        packs: dict[Origin, list[Shelved]] = {origin: [] for origin in Origin}
        for pack in self.every:
            packs[pack.origin].append(pack)
        yours = {pack.name for pack in packs[Origin.YOURS]}
        shown = [pack for pack in packs[Origin.BUNDLED] if pack.name not in hidden]
        first = [*packs[Origin.YOURS], *shown]
        others = [*packs[Origin.TRUNK], *packs[Origin.PACKAGE]]
        found: dict[str, Shelved] = {}
        for pack in first:
            found.setdefault(pack.name, pack)
        count = Counter(pack.name for pack in others)
        for pack in others:
            if count[pack.name] == 1:
                found.setdefault(pack.name, pack)
        for pack in (*first, *others):
            replaced = pack.name in yours and pack.origin in (Origin.BUNDLED, Origin.PACKAGE)
            if found.get(pack.name) is not pack and not replaced:
                found[pack.qualified] = pack
        return dict(sorted(found.items()))

    def find(self, reference: str) -> Path:
        """The file of a pack given by name or by path.

        Raises:
            UsageError: neither a pack on the shelf nor a file; says what comes close.
        """
        collection, slash, name = reference.partition("/")
        if slash and NAME_PATTERN.fullmatch(name):
            for pack in self.every:
                if (pack.name, pack.collection) == (name, collection):
                    return pack.path
        if _is_path(reference):
            with suppress(OSError, RuntimeError):  # a name too long, or the home of nobody
                path = Path(reference).expanduser()
                if path.is_file():
                    return path
            raise UsageError(
                f"no such pack file: {reference}; packs by name: `stylepack packs list`"
            )
        packs = self.visible
        if reference in packs:
            return packs[reference].path
        if reference in bundled_packs():
            raise UsageError(
                f"pack '{reference}' is hidden; bring it back: "
                f"`stylepack packs restore {reference}`"
            )
        several = [key for key, pack in packs.items() if pack.name == reference]
        if several:
            raise UsageError(
                f"there are several packs '{reference}'; say which: {', '.join(several)}"
            )
        close = difflib.get_close_matches(reference, packs, n=1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'?" if close else "see `stylepack packs list`"
        raise UsageError(f"no pack '{reference}'; {hint}")


def shelf() -> dict[str, Shelved]:
    """`Shelf.visible` of this moment."""
    return Shelf().visible


def every_pack() -> list[Shelved]:
    """`Shelf.every` of this moment."""
    return Shelf().every


def find_pack(reference: str) -> Path:
    """`Shelf.find` of this moment."""
    return Shelf().find(reference)


def bundled_packs() -> dict[str, Shelved]:
    """Every bundled pack by name, hidden ones too."""
    return {pack.name: pack for pack in _scan(BUNDLED_PACKS, Origin.BUNDLED, BUNDLED)}


def user_packs() -> dict[str, Shelved]:
    """Every pack that the user installed, by name."""
    folder = home_folder() / "packs"
    recover(folder)
    return {pack.name: pack for pack in _scan(folder, Origin.YOURS, Origin.YOURS)}


def trunk_packs() -> list[Shelved]:
    """Every pack that came with an installed trunk."""
    return [
        pack
        for folder in trunk_folders()
        for pack in _scan(folder / "packs", Origin.TRUNK, folder.name)
    ]


def trunk_folders() -> list[Path]:
    """The folders of the installed trunks, each `trunk.safetensors` and `packs/`, by name."""
    folder = home_folder() / "trunks"
    recover(folder)
    return sorted(path for path in folder.glob("*") if NAME_PATTERN.fullmatch(path.name))


def package_packs() -> list[Shelved]:
    """Every pack of an installed Python package."""
    return [
        pack
        for package in packages()
        if package.folder
        for pack in _scan(package.folder, Origin.PACKAGE, package.name)
    ]


def faults() -> list[str]:
    """What is to be said of places that were passed over, and of names that mean several packs."""
    trunks, declared = trunk_folders(), packages()
    places = [home_folder() / "packs", *(folder / "packs" for folder in trunks)]
    places += [package.folder for package in declared if package.folder]
    taken = {BUNDLED, str(Origin.YOURS), *(folder.name for folder in trunks)}
    sources: dict[str, list[str]] = {}
    for pack in every_pack():
        if pack.origin is Origin.PACKAGE:
            sources.setdefault(pack.name, []).append(pack.collection)
    return [
        *filter(None, map(_fault, places)),
        *(package.fault for package in declared if package.fault),
        *(
            f"package '{name}' has the name of packs that are found before its own: `{name}/NAME` "
            "is not one of the package's where both have one"
            for name in sorted(taken.intersection(package.name for package in declared))
        ),
        *(
            f"'{name}' is in the packages {' and '.join(found)}; say which: "
            + ", ".join(f"{package}/{name}" for package in found)
            for name, found in sources.items()
            if len(found) > 1
        ),
    ]


def check_free(name: str, replace: bool = False) -> None:
    """Check a name for a new pack, before anything is done to make it; make the packs' folder.

    Raises:
        UsageError: the name is not a pack's.
        PackError: it is taken and `replace` is not set.
        StylepackError: there is no folder for packs, and none can be made.
    """
    typed_name(name, "the new pack")
    taken = shelf().get(name)
    if taken and not replace:
        raise PackError(
            f"a pack '{name}' {taken.presence} already; choose another name or replace it with "
            "--replace"
        )
    packs_folder()


def packs_folder() -> Path:
    """The folder of the user's packs; it exists afterwards.

    Raises:
        StylepackError: it cannot be made.
    """
    folder = home_folder() / "packs"
    make_folder(folder, MOVE_HOME)
    return folder


def _of_user(folder: Callable[..., Path]) -> Path:
    """One of the platform's folders for stylepack, `NOWHERE` where the user has no home."""
    with suppress(RuntimeError):
        found = folder("stylepack", appauthor=False)
        if found.is_absolute():
            return found
    return NOWHERE


def _moved_home() -> Path | None:
    moved = os.environ.get(HOME_VARIABLE)
    try:
        return Path(moved).expanduser() if moved else None
    except RuntimeError as error:
        raise UsageError(f"{HOME_VARIABLE} is '{moved}': {error}") from error


def _is_path(reference: str) -> bool:
    return reference.endswith(SUFFIX) or "/" in reference or os.sep in reference


def _scan(folder: Path, origin: Origin, collection: str) -> list[Shelved]:
    """The packs in a folder, none where it cannot be read: `faults` tells of that."""
    with suppress(OSError):
        return [
            Shelved(path.stem, path, origin, collection)
            for path in sorted(folder.glob(f"*{SUFFIX}"))
            if not path.name.startswith(".")
        ]
    return []


def _fault(folder: Path) -> str:
    """Why a folder of packs cannot be read, in a line; empty where it can, or is not there."""
    try:
        with os.scandir(folder):
            return ""
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"cannot read {folder}: {error.strerror or error}"
