"""From references to checked packs on their trunk, opening each file once.

`resolve` finds the files and reads their headers without torch, so that a wrong name is refused at
once; `Selection.load` then checks every tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from stylepack.bundled import BUNDLED_TRUNK
from stylepack.errors import StylepackError, UsageError, option
from stylepack.library.shelf import Shelf
from stylepack.library.trunks import ShelvedTrunk, find_trunk, trunk_of
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import IDENTITY, LARGEST_PACK, NAME_PATTERN, SUFFIX, Manifest

if TYPE_CHECKING:
    from stylepack.network.trunk import Trunk
    from stylepack.packs.pack import Pack


@dataclass(frozen=True)
class FoundPack:
    """A pack file in memory with a checked header, whose tensors are not checked."""

    path: Path
    content: bytes
    manifest: Manifest

    @classmethod
    def read(cls, path: Path) -> FoundPack:
        """Read a file and check its header.

        Raises:
            PackError: it is too large, or its header is damaged.
        """
        content = read_content(path, LARGEST_PACK)
        return cls(path, content, Manifest.from_header(parse_content(content, path), path))


@dataclass(frozen=True)
class Loaded:
    """A trunk with the SHA-256 of its data, and packs that fit it.

    `left_out`: reference -> error of each pack that was left out and was not asked for by name.
    `file` is the trunk's; `force` accepts packs that do not name their trunk.
    """

    trunk: Trunk
    sha256: str
    packs: dict[str, Pack]
    left_out: dict[str, StylepackError] = field(default_factory=dict)
    file: Path = BUNDLED_TRUNK
    force: bool | None = None

    def including(self, references: Iterable[str]) -> Loaded:
        """A copy with more packs by name or file; packs that are present are not read again.

        Raises:
            UsageError: an unknown pack.
            PackError: a pack that is damaged or belongs to another trunk.
        """
        missing = [one for one in dict.fromkeys(references) if one not in self.packs]
        if not missing:
            return self
        wanted = [one for one in missing if one != IDENTITY]
        more = resolve(wanted, self.file, identity=IDENTITY in missing).load(self.force)
        return replace(self, packs=self.packs | more.packs)


@dataclass(frozen=True)
class Selection:
    """Packs by reference, empty for all packs of the trunk, and the trunk's file."""

    trunk: Path
    packs: dict[str, FoundPack]

    def by_name(self) -> Selection:
        """The same packs by their file names, or the names in their manifests.

        Raises:
            UsageError: two of them have the same name.
        """
        named: dict[str, FoundPack] = {}
        for pack in self.packs.values():
            stem = pack.path.stem
            name = stem if NAME_PATTERN.fullmatch(stem) else pack.manifest.name
            if named.setdefault(name, pack).path != pack.path:
                raise UsageError(f"two of the packs are named '{name}'; leave one of them out")
        return Selection(self.trunk, named)

    def load(self, force: bool | None = None) -> Loaded:
        """Load the trunk and check every pack against it.

        Args:
            force: accept packs that do not name their trunk; None if there is no option for that.

        Raises:
            PackError: the trunk or a named pack is damaged.
            WrongTrunkError: a named pack belongs to another trunk, or names none.
        """
        from stylepack.packs.pack import check_trunk, parse_pack
        from stylepack.packs.trunk_file import load_trunk

        network, digest = load_trunk(self.trunk)

        def checked(pack: FoundPack, reference: str) -> Pack:
            check_trunk(pack.manifest, digest, f"'{reference}'", force)
            return parse_pack(pack.content, network.config, pack.path)

        if self.packs:
            packs = {reference: checked(pack, reference) for reference, pack in self.packs.items()}
            return Loaded(network, digest, packs, file=self.trunk, force=force)
        loaded = Loaded(network, digest, {}, file=self.trunk, force=force)
        for reference, path in packs_on(self.trunk):
            try:
                pack = checked(FoundPack.read(path), reference)
                loaded.packs.setdefault(path.stem, pack)
            except StylepackError as error:
                loaded.left_out[reference] = error
        return loaded


def resolve(
    references: Iterable[str],
    trunk: str | Path | None = None,
    *,
    identity: bool = False,
    shelf: Shelf | None = None,
) -> Selection:
    """Find packs by name or file, and their trunk.

    Args:
        references: packs; none selects all packs of the trunk.
        trunk: a trunk's name or file, whose packs then take precedence for plain names.  None is
            the trunk that the packs name, else the bundled one.
        identity: also select the trunk's identity pack.
        shelf: where to find packs; None creates one.

    Raises:
        UsageError: an unknown pack or trunk, packs of several trunks, or no identity pack.
        PackError: a pack whose header is damaged, or whose trunk is not installed.
    """
    shelf = shelf or Shelf()
    if trunk is None:
        packs = {reference: FoundPack.read(shelf.find(reference)) for reference in references}
        path = trunk_of({name: pack.manifest.trunk_sha256 for name, pack in packs.items()})
    else:
        path = find_trunk(trunk)
        packs = {reference: _on_trunk(reference, path, shelf) for reference in references}
    if identity:
        packs[IDENTITY] = _identity_pack(path, shelf)
    return Selection(path, packs)


def _on_trunk(reference: str, trunk: Path, shelf: Shelf) -> FoundPack:
    """A pack by reference; among several with a plain name, the one that names the trunk."""
    if NAME_PATTERN.fullmatch(reference):
        named = [pack.path for pack in shelf.visible.values() if pack.name == reference]
        digest = ShelvedTrunk(trunk.stem, trunk).sha256
        for path in (*named, trunk.parent / "packs" / f"{reference}{SUFFIX}"):
            with suppress(StylepackError):
                pack = FoundPack.read(path)
                if pack.manifest.trunk_sha256 == digest:
                    return pack
    return FoundPack.read(shelf.find(reference))


def _identity_pack(trunk: Path, shelf: Shelf) -> FoundPack:
    """The identity pack beside a trunk's file, else the installed one.

    Raises:
        UsageError: neither belongs to this trunk.
    """
    beside = trunk.parent / "packs" / f"{IDENTITY}{SUFFIX}"
    pack = FoundPack.read(beside if beside.is_file() else shelf.find(IDENTITY))
    digest = ShelvedTrunk(trunk.stem, trunk).sha256
    if digest and pack.manifest.trunk_sha256 != digest:
        raise UsageError(
            f"{option('strength')} needs the identity style of trunk {digest[:12]}, and there is "
            f"no {beside}"
        )
    return pack


def packs_on(trunk: Path) -> Iterator[tuple[str, Path]]:
    """Yield (reference, file) of all visible packs, then of those beside a trunk's file."""
    for reference, pack in sorted(Shelf().visible.items(), key=lambda item: "/" in item[0]):
        yield reference, pack.path
    if trunk.resolve() != BUNDLED_TRUNK:
        for path in sorted((trunk.parent / "packs").glob(f"*{SUFFIX}")):
            yield path.stem, path
