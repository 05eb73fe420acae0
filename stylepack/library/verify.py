"""Reading everything that is installed once more, down to the last number."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylepack.errors import StylepackError, UsageError
from stylepack.library.shelf import every_pack
from stylepack.library.trunks import ShelvedTrunk, known_trunks
from stylepack.network.trunk import TrunkConfig
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import LARGEST_PACK, Manifest
from stylepack.packs.pack import fitting_config, parse_pack
from stylepack.packs.trunk_file import load_trunk

GONE = "removed meanwhile"
WITHOUT_HASH = "good as far as can be seen: it carries no hash"


@dataclass(frozen=True)
class Verdict:
    """One file: what it is called, how it is, and whose it is."""

    name: str
    path: Path
    origin: str
    good: bool
    words: str
    sha256: str = ""


def verify(trunk: Path | None = None, names: Sequence[str] = ()) -> Iterator[Verdict]:
    """Check every known trunk, then every installed pack or those named, hidden ones too.

    Hash, header, tensors, and that every number is one.  A pack is held to the sizes of its
    trunk if that is known, else to those that it was made for.

    Args:
        trunk: one trunk file, instead of those that are known.
        names: references of packs, or plain names; a plain name is every pack of that name.

    Raises:
        UsageError: no pack of that name.
    """
    packs = every_pack()
    for name in names:
        if not any(name in (pack.name, pack.qualified) for pack in packs):
            raise UsageError(f"no pack '{name}' is installed; see `stylepack packs list`")
    trunks = [ShelvedTrunk(trunk.name, trunk)] if trunk else list(known_trunks().values())
    sizes: dict[str, tuple[str, TrunkConfig]] = {}
    for one in trunks:
        try:
            network, digest = load_trunk(one.path)
            sizes.setdefault(digest, (one.name, network.config))
            yield Verdict(f"trunk {one.name}", one.path, "trunk", True, "good", digest)
        except StylepackError as error:
            words = GONE if one.gone else str(error)
            yield Verdict(f"trunk {one.name}", one.path, "trunk", one.gone, words)
    for pack in packs:
        if not names or pack.name in names or pack.qualified in names:
            try:
                words, sha256 = _read(pack.path, sizes)
                yield Verdict(pack.name, pack.path, pack.came_with, True, words, sha256)
            except StylepackError as error:
                gone = pack.vanished(error)
                words = GONE if gone else str(error)
                yield Verdict(pack.name, pack.path, pack.came_with, gone, words)


def _read(path: Path, sizes: Mapping[str, tuple[str, TrunkConfig]]) -> tuple[str, str]:
    """(what is to be said of a good pack, the hash of its data)."""
    content = read_content(path, LARGEST_PACK)
    header = parse_content(content, path)
    trunk_sha256 = Manifest.from_header(header, path).trunk_sha256
    name, config = sizes.get(trunk_sha256, ("", None))
    manifest = parse_pack(content, config or fitting_config(header), path).manifest
    if not manifest.sha256:
        return WITHOUT_HASH, ""
    if not trunk_sha256:
        return "good, does not say of which trunk", manifest.sha256
    if not name:
        return f"good, of another trunk: {trunk_sha256[:8]}", manifest.sha256
    return "good", manifest.sha256
