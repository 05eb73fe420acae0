"""Folders of packs and trunks, and finding packs by name.  Does not import torch."""

import difflib
import json
import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from platformdirs import user_cache_path, user_data_path

from stylepack.bundled import ASSETS, BUNDLED
from stylepack.errors import PackError, StylepackError, UsageError, worded
from stylepack.files import make_folder, write_text
from stylepack.library.plugins import packages
from stylepack.library.transaction import recover
from stylepack.packs.header import MissingFileError
from stylepack.packs.manifest import (
    NAME_PATTERN,
    SUFFIX,
    Manifest,
    plain,
    read_manifest,
    typed_name,
)

HOME_VARIABLE = "STYLEPACK_HOME"
MOVE_HOME = f"set {HOME_VARIABLE} to a folder you own"
HIDDEN = "hidden.json"  # in the home folder: names of hidden bundled packs
LARGEST_HIDDEN = 1 << 16  # bytes
NOWHERE = Path(os.devnull, "stylepack")  # a folder that cannot exist
BUNDLED_PACKS = ASSETS / "packs"
PICTURES = frozenset([".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".heic"])


class Origin(StrEnum):
    """The origin of a pack."""

    USER = "installed"
    TRUNK = "trunk"
    PACKAGE = "pip"
    BUNDLED = "bundled"


@dataclass(frozen=True)
class Shelved:
    """A pack on the shelf, named after its file.

    `collection`: name of the trunk or Python package it came with, `bundled` or `installed`.
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
        """The unique reference `COLLECTION/NAME`."""
        return f"{self.collection}/{self.name}"

    @property
    def came_with(self) -> str:
        """Its origin in words: `installed`, `bundled`, `trunk mine`, `pip foo`."""
        named = self.origin in (Origin.TRUNK, Origin.PACKAGE)
        return f"{self.origin} {self.collection}" if named else str(self.origin)

    @property
    def presence(self) -> str:
        """Its origin as a predicate: `is installed`, `comes with trunk mine`."""
        if self.origin is Origin.PACKAGE:
            return f"comes with package {self.collection}"
        return (
            f"comes with {self.came_with}" if self.origin is Origin.TRUNK else f"is {self.origin}"
        )

    def vanished(self, error: Exception) -> bool:
        """Whether `error` means that it has been removed since it was found."""
        missing = isinstance(error, MissingFileError | FileNotFoundError)
        return missing and not self.path.is_symlink()

    def manifest(self) -> Manifest:
        """Its metadata; only the header is read."""
        return read_manifest(self.path)


def home_folder() -> Path:
    """The user's data folder: `STYLEPACK_HOME`, else the platform's, or `NOWHERE`."""
    return _moved_home() or _of_user(user_data_path)


def unfinished_file(name: str) -> Path:
    """The file of a style whose learning was interrupted, to be resumed or installed."""
    return home_folder() / "unfinished" / f"{name}{SUFFIX}"


def cache_folder() -> Path:
    """The folder of downloads and quick styles.

    `STYLEPACK_HOME/cache`, else the platform's cache folder.
    """
    moved = _moved_home()
    return moved / "cache" if moved else _of_user(user_cache_path)


class Shelf:
    """The installed packs; folders are read once, on first use."""

    @cached_property
    def every(self) -> list[Shelved]:
        """All packs, including hidden and shadowed ones, one per `COLLECTION/NAME`."""
        users = user_packs().values()
        packs: dict[str, Shelved] = {}
        for pack in (*bundled_packs().values(), *users, *trunk_packs(), *package_packs()):
            packs.setdefault(pack.qualified, pack)
        return list(packs.values())

    @cached_property
    def visible(self) -> dict[str, Shelved]:
        """Packs by their shortest reference, sorted, without hidden ones.

        A plain name is the user's own pack, else the bundled one, else the only one with that name
        among Python packages and installed trunks.  Other packs are `COLLECTION/NAME`; bundled and
        packages' packs that one of the user's packs replaces are left out.

        Raises:
            PackError: the list of hidden packs is damaged.
        """
        hidden = read_hidden(home_folder())
        packs: dict[Origin, list[Shelved]] = {origin: [] for origin in Origin}
        for pack in self.every:
            packs[pack.origin].append(pack)
        own = {pack.name for pack in packs[Origin.USER]}
        shown = [pack for pack in packs[Origin.BUNDLED] if pack.name not in hidden]
        first = [*packs[Origin.USER], *shown]
        others = [*packs[Origin.TRUNK], *packs[Origin.PACKAGE]]
        count = Counter(pack.name for pack in others)
        visible: dict[str, Shelved] = {}
        for pack in (*first, *(pack for pack in others if count[pack.name] == 1)):
            visible.setdefault(pack.name, pack)
        for pack in (*first, *others):
            replaced = pack.name in own and pack.origin in (Origin.BUNDLED, Origin.PACKAGE)
            if visible.get(pack.name) is not pack and not replaced:
                visible[pack.qualified] = pack
        return dict(sorted(visible.items()))

    def find(self, reference: str) -> Path:
        """The file of a pack given by name or path.

        Raises:
            UsageError: neither a pack on the shelf nor a file; the closest name is suggested.
        """
        collection, slash, name = reference.partition("/")
        if slash and NAME_PATTERN.fullmatch(name):
            for pack in self.every:
                if (pack.name, pack.collection) == (name, collection):
                    return pack.path
            others = sorted(pack.name for pack in self.every if pack.collection == collection)
            if others:
                raise UsageError(f"no pack '{name}' in '{collection}'; it has {', '.join(others)}")
        if _is_path(reference):
            with suppress(OSError, RuntimeError):  # a name too long, or an unknown user's home
                path = Path(reference).expanduser()
                if path.is_file() and not _is_picture(reference):
                    return path
            if _is_picture(reference):
                raise UsageError(_picture_advice(reference))
            if NAME_PATTERN.fullmatch(name) and NAME_PATTERN.fullmatch(collection):
                raise UsageError(
                    f"no such file: {reference}, and no trunk or package '{collection}' with "
                    "packs is installed; see `stylepack packs list`"
                )
            raise UsageError(
                f"no such pack file: {reference}; packs by name: `stylepack packs list`"
            )
        if _is_picture(reference):
            raise UsageError(_picture_advice(reference))
        packs = self.visible
        if reference in packs:
            return packs[reference].path
        if reference in bundled_packs():
            raise UsageError(
                f"pack '{reference}' is hidden; restore it: `stylepack packs restore {reference}`"
            )
        several = [key for key, pack in packs.items() if pack.name == reference]
        if several:
            raise UsageError(
                f"there are several packs '{reference}'; choose one: {', '.join(several)}"
            )
        raise UsageError(f"no pack '{reference}'; {self._hint(reference)}")

    def _hint(self, reference: str) -> str:
        """A suggestion: the pack that was probably meant, or those with that artist or title."""
        before, colon, weight = reference.rpartition(":")
        if colon and before in self.visible:
            return f"write a weight with '=': {before}={weight}"
        if NAME_PATTERN.fullmatch(reference) and (file := unfinished_file(reference)).is_file():
            return (
                "its training was interrupted; repeat its `stylepack add-style` with --resume, or "
                f"install it as it is: `stylepack packs install {shlex.quote(str(file))}`"
            )
        words = plain(reference.replace("-", " ")).split()
        matches = []
        for name, pack in self.visible.items() if any(len(word) > 2 for word in words) else ():
            with suppress(StylepackError, OSError):
                manifest = pack.manifest()
                artist = str(manifest.style_image.get("artist", ""))
                if set(words) <= set(re.findall(r"\w+", plain(f"{artist} {manifest.title}"))):
                    matches.append(name)
        if matches:
            return f"there is {', '.join(matches)}" if len(matches) < 9 else "see `packs list -q`"
        if "=" in reference and (separator := re.search("[:;+&|]", reference)):
            return f"separate the packs of a mix with commas, not '{separator[0]}': A=0.5,B=0.5"
        if "=" in reference:
            return f"for a mix use {worded(f'--mix {reference}', f'Stylizer.load({reference!r})')}"
        close = difflib.get_close_matches(reference, self.visible, n=1, cutoff=0.6)
        if close:
            return f"did you mean '{close[0]}'?"
        return f"see {worded('`stylepack packs list`', 'stylepack.packs()')}"


def shelf() -> dict[str, Shelved]:
    """`Shelf.visible` of a new shelf."""
    return Shelf().visible


def every_pack() -> list[Shelved]:
    """`Shelf.every` of a new shelf."""
    return Shelf().every


def find_pack(reference: str) -> Path:
    """`Shelf.find` of a new shelf."""
    return Shelf().find(reference)


def bundled_packs() -> dict[str, Shelved]:
    """Bundled packs by name, including hidden ones."""
    return {pack.name: pack for pack in _scan(BUNDLED_PACKS, Origin.BUNDLED, BUNDLED)}


def user_packs() -> dict[str, Shelved]:
    """Packs that the user installed, by name."""
    folder = home_folder() / "packs"
    recover(folder)
    return {pack.name: pack for pack in _scan(folder, Origin.USER, Origin.USER)}


def trunk_packs() -> list[Shelved]:
    """Packs that came with installed trunks."""
    return [
        pack
        for folder in trunk_folders()
        for pack in _scan(folder / "packs", Origin.TRUNK, folder.name)
    ]


def trunk_folders() -> list[Path]:
    """Folders of the installed trunks, with `trunk.safetensors` and `packs/`, by name."""
    folder = home_folder() / "trunks"
    recover(folder)
    return sorted(path for path in folder.glob("*") if NAME_PATTERN.fullmatch(path.name))


def package_packs() -> list[Shelved]:
    """Packs of installed Python packages."""
    return [
        pack
        for package in packages()
        if package.folder
        for pack in _scan(package.folder, Origin.PACKAGE, package.name)
    ]


def read_hidden(home: Path) -> frozenset[str]:
    """Names of the hidden packs; none if the file does not exist.

    Raises:
        PackError: the file is damaged.
    """
    path = home / HIDDEN
    try:
        with path.open("rb") as file:
            names = json.loads(file.read(LARGEST_HIDDEN))["hidden"]
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise PackError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, RecursionError):
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise PackError(f"{path} is damaged; `stylepack packs restore --all` rewrites it")
    return frozenset(names)


def write_hidden(home: Path, names: Iterable[str]) -> None:
    """Write the names of the hidden packs atomically.

    Raises:
        StylepackError: the home folder cannot be created or written to.
    """
    make_folder(home, MOVE_HOME)
    write_text(home / HIDDEN, json.dumps({"hidden": sorted(names)}) + "\n")


def faults() -> list[str]:
    """Messages on unreadable folders and ambiguous names."""
    trunks, declared = trunk_folders(), packages()
    folders = [home_folder() / "packs", *(folder / "packs" for folder in trunks)]
    folders += [package.folder for package in declared if package.folder]
    taken = {BUNDLED, str(Origin.USER), *(folder.name for folder in trunks)}
    sources: dict[str, list[str]] = {}
    for pack in every_pack():
        if pack.origin is Origin.PACKAGE:
            sources.setdefault(pack.name, []).append(pack.collection)
    return [
        *filter(None, map(_fault, folders)),
        *(package.fault for package in declared if package.fault),
        *(
            f"package '{name}' has the name of another collection of packs, which takes "
            f"precedence: `{name}/NAME` is the other's pack if both have one"
            for name in sorted(taken.intersection(package.name for package in declared))
        ),
        *(
            f"'{name}' is in the packages {' and '.join(several)}; choose one: "
            + ", ".join(f"{package}/{name}" for package in several)
            for name, several in sources.items()
            if len(several) > 1
        ),
    ]


def check_free(name: str, replace: bool = False) -> None:
    """Check a name for a new pack before making it; create the folder of packs.

    Raises:
        UsageError: the name is invalid.
        PackError: it is taken and `replace` is not set.
        StylepackError: the folder cannot be created.
    """
    typed_name(name, "the new pack")
    taken = shelf().get(name)
    if taken and not replace:
        raise PackError(
            f"a pack '{name}' {taken.presence} already; choose another name or replace it with "
            f"{worded('--replace', 'replace=True')}"
        )
    packs_folder()


def packs_folder() -> Path:
    """The folder of the user's packs, created if necessary.

    Raises:
        StylepackError: it cannot be created.
    """
    folder = home_folder() / "packs"
    make_folder(folder, MOVE_HOME)
    return folder


def _of_user(folder: Callable[..., Path]) -> Path:
    """The platform's folder for stylepack, or `NOWHERE` if the user has no home."""
    with suppress(RuntimeError):
        path = folder("stylepack", appauthor=False)
        if path.is_absolute():
            return path
    return NOWHERE


def _moved_home() -> Path | None:
    moved = os.environ.get(HOME_VARIABLE)
    try:
        return Path(moved).expanduser() if moved else None
    except RuntimeError as error:
        raise UsageError(f"{HOME_VARIABLE} is '{moved}': {error}") from error


def _is_picture(reference: str) -> bool:
    """Whether a reference is the name of a picture, by its suffix."""
    return Path(reference).suffix.lower() in PICTURES


def _picture_advice(reference: str) -> str:
    typed = shlex.quote(reference)
    advice = worded(
        f"paint with `apply --painting {typed}`, or learn a better style from it: "
        f"`stylepack add-style {typed}`",
        f"load it with painting={reference!r}, or learn a better style from it: "
        f"stylepack.add_style({reference!r})",
    )
    return f"{reference} is a picture, not a pack; {advice}"


def _is_path(reference: str) -> bool:
    return reference.endswith(SUFFIX) or "/" in reference or os.sep in reference


def _scan(folder: Path, origin: Origin, collection: str) -> list[Shelved]:
    """The packs in a folder; none if it cannot be read, which `faults` reports."""
    with suppress(OSError):
        return [
            Shelved(path.stem, path, origin, collection)
            for path in sorted(folder.glob(f"*{SUFFIX}"))
            if not path.name.startswith(".")
        ]
    return []


def _fault(folder: Path) -> str:
    """Message if a folder of packs exists and cannot be read, else ""."""
    try:
        with os.scandir(folder):
            return ""
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"cannot read {folder}: {error.strerror or error}"
