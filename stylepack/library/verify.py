"""`packs verify`: check every value of all installed trunks and packs."""

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
WITHOUT_HASH = "good, but without a hash to check"


@dataclass(frozen=True)
class Verdict:
    """The result for one file."""

    name: str
    path: Path
    origin: str
    good: bool
    words: str
    sha256: str = ""


def verify(trunk: Path | None = None, names: Sequence[str] = ()) -> Iterator[Verdict]:
    """Check every known trunk, then all installed packs or the named ones, including hidden ones.

    Hash, header, tensors and values are checked, and sizes against the pack's trunk if it is known.

    Args:
        trunk: a trunk file to check instead of the known ones.
        names: references of packs, or plain names for every pack with that name.

    Raises:
        UsageError: no pack of that name.
    """
    packs = every_pack()
    for name in names:
        if not any(name in (pack.name, pack.qualified) for pack in packs):
            raise UsageError(f"no pack '{name}' is installed; see `stylepack packs list`")
    trunks = [ShelvedTrunk(trunk.name, trunk)] if trunk else list(known_trunks().values())
    sizes: dict[str, tuple[str, TrunkConfig]] = {}
    for known in trunks:
        name, path = f"trunk {known.name}", known.path
        try:
            network, digest = load_trunk(path)
            sizes.setdefault(digest, (known.name, network.config))
            yield Verdict(name, path, "trunk", True, "good", digest)
        except StylepackError as error:
            words = GONE if known.gone else str(error)
            yield Verdict(name, path, "trunk", known.gone, words)
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
    """(words for a good pack, the hash of its data)."""
    content = read_content(path, LARGEST_PACK)
    header = parse_content(content, path)
    trunk_sha256 = Manifest.from_header(header, path).trunk_sha256
    name, config = sizes.get(trunk_sha256, ("", None))
    manifest = parse_pack(content, config or fitting_config(header), path).manifest
    if not manifest.sha256:
        return WITHOUT_HASH, ""
    if not trunk_sha256:
        return "good, does not name its trunk", manifest.sha256
    if not name:
        return f"good, of another trunk: {trunk_sha256[:8]}", manifest.sha256
    return "good", manifest.sha256
