"""Installed trunks by name and hash.  Does not import torch."""

import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stylepack.bundled import BUNDLED, BUNDLED_TRUNK
from stylepack.errors import PackError, StylepackError, UsageError, WrongTrunkError, worded
from stylepack.library.shelf import MOVE_HOME, Origin, Shelved, every_pack, trunk_folders
from stylepack.library.transaction import staging
from stylepack.packs.header import Header, read_header
from stylepack.packs.manifest import (
    ARCHITECTURE,
    LARGEST_TRUNK,
    TRUNK_FILE,
    check_version,
    checked_name,
)

HASH_DIGITS = 8  # shown for a trunk without a name


@dataclass(frozen=True)
class ShelvedTrunk:
    """A trunk by name: the bundled one, or one that the user installed."""

    name: str
    path: Path

    @property
    def gone(self) -> bool:
        """Whether its folder has been removed since it was found."""
        return not os.path.lexists(self.path.parent)

    def header(self) -> Header:
        """Its header, checked.

        Raises:
            PackError: damaged, or not a trunk file.
        """
        header = read_header(self.path, LARGEST_TRUNK)
        if header.metadata.get("modelspec.architecture") != ARCHITECTURE:
            raise PackError(f"{self.path} is not a trunk file; give one that `train` wrote")
        check_version(header, self.path)
        return header

    @property
    def sha256(self) -> str:
        """The hash in its file's header."""
        return self.header().metadata.get("modelspec.hash_sha256", "").removeprefix("0x")


def known_trunks() -> dict[str, ShelvedTrunk]:
    """The bundled trunk, then the installed ones by name."""
    trunks = {BUNDLED: ShelvedTrunk(BUNDLED, BUNDLED_TRUNK)}
    for folder in trunk_folders():
        trunks[folder.name] = ShelvedTrunk(folder.name, folder / TRUNK_FILE)
    return trunks


def trunks_by_hash() -> dict[str, ShelvedTrunk]:
    """Every undamaged trunk by its hash."""
    trunks: dict[str, ShelvedTrunk] = {}
    for trunk in known_trunks().values():
        with suppress(StylepackError):
            trunks.setdefault(trunk.sha256, trunk)
    trunks.pop("", None)
    return trunks


def trunk_names() -> dict[str, str]:
    """Hash -> name of every undamaged trunk."""
    return {digest: trunk.name for digest, trunk in trunks_by_hash().items()}


def name_of(trunk_sha256: str, names: Mapping[str, str]) -> str:
    """A trunk's name, else the first digits of its hash, else `unknown`."""
    return names.get(trunk_sha256) or trunk_sha256[:HASH_DIGITS] or "unknown"


def trunk_named(name: str) -> ShelvedTrunk:
    """A trunk by name.

    Raises:
        UsageError: there is no trunk with that name.
    """
    trunks = known_trunks()
    if name not in trunks:
        raise UsageError(f"no trunk '{name}'; there are: {', '.join(trunks)}")
    return trunks[name]


def find_trunk(reference: str | Path | None) -> Path:
    """The file of a trunk given by name or file; None is the bundled one.

    Raises:
        UsageError: neither a known trunk nor a file.
    """
    if reference is None:
        return BUNDLED_TRUNK
    trunks = known_trunks()
    if str(reference) in trunks:
        return trunks[str(reference)].path
    if Path(reference).is_file():
        return Path(reference)
    raise UsageError(
        f"no trunk '{reference}'; give a file or one of the installed: {', '.join(trunks)}"
    )


def trunk_of(hashes: Mapping[str, str]) -> Path:
    """The file of the trunk that the packs name, or of the bundled one if they name none.

    Args:
        hashes: a pack's reference -> its trunk's hash, or "" if it names none.

    Raises:
        UsageError: packs of several trunks.
        WrongTrunkError: the packs' trunk is not installed.
    """
    named: dict[str, str] = {}
    for reference, digest in hashes.items():
        if digest:
            named.setdefault(digest, reference)
    if not named:
        return BUNDLED_TRUNK
    trunks = trunks_by_hash()
    if len(named) > 1:
        names = {digest: trunk.name for digest, trunk in trunks.items()}
        (first, a), (second, b) = list(named.items())[:2]
        raise UsageError(
            f"'{a}' belongs to trunk {name_of(first, names)} and '{b}' to trunk "
            f"{name_of(second, names)}; packs are painted and mixed on one trunk"
        )
    ((digest, reference),) = named.items()
    if digest not in trunks:
        raise WrongTrunkError(
            f"pack '{reference}' belongs to trunk {digest[:12]}, which is not installed; install "
            "it: `stylepack trunks install FOLDER`, or give its file with "
            f"{worded('--trunk FILE', 'trunk=')}"
        )
    return trunks[digest].path


def packs_on(trunk: ShelvedTrunk) -> list[Shelved]:
    """Every pack that names this trunk, of any origin."""
    digest = trunk.sha256
    packs = []
    for pack in every_pack():
        with suppress(StylepackError):
            if pack.manifest().trunk_sha256 == digest:
                packs.append(pack)
    return packs


def removable_trunk(name: str) -> Path:
    """The folder of a trunk that can be deleted with its packs.

    Raises:
        UsageError: no such trunk, the bundled one, or one that the user's packs belong to.
    """
    trunk = trunk_named(name)
    if name == BUNDLED:
        raise UsageError("the bundled trunk cannot be removed; for others: `stylepack trunks list`")
    try:
        left = [pack.name for pack in packs_on(trunk) if pack.origin is Origin.USER]
    except StylepackError:
        left = []  # a damaged trunk has no packs
    if left:
        raise UsageError(
            f"your packs {', '.join(left)} belong to trunk '{name}'; remove them first: "
            f"`stylepack packs remove {' '.join(left)}`"
        )
    return trunk.path.parent


def remove_trunk(name: str) -> Path:
    """Delete an installed trunk with its packs; return its folder.

    Raises:
        UsageError: see `removable_trunk`.
        StylepackError: it cannot be deleted.
    """
    folder = removable_trunk(name)
    with staging(folder.parent, MOVE_HOME) as stage:
        try:
            gone = stage.take(name)
        except OSError as error:
            raise StylepackError(f"cannot remove {folder}: {error.strerror or error}") from error
        try:
            _delete(gone)
        except OSError as error:
            raise StylepackError(
                f"trunk '{name}' is removed, but {gone} remains: {error.strerror or error}; delete "
                "it, or the next command that reads trunks will"
            ) from error
    return folder


def _delete(path: Path) -> None:
    """Delete a folder with its contents, a file, or a link but not its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def checked_trunk_name(name: str) -> str:
    """Return `name` if an installed trunk can have it.

    Raises:
        UsageError: it cannot be a folder's name on all systems, or is reserved.
    """
    try:
        checked_name(name, "the new trunk", "a trunk's")
    except PackError as error:
        raise UsageError(f"{error}; choose one with --as NAME") from error
    if name in (BUNDLED, str(Origin.USER)):
        raise UsageError(f"a trunk cannot be called '{name}'; choose another with --as NAME")
    return name
