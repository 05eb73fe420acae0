"""Reading everything that is installed once more, down to the last number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylepack.errors import StylepackError, UsageError
from stylepack.network.trunk import TrunkConfig
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import LARGEST_PACK, Manifest
from stylepack.packs.pack import fitting_config, parse_pack
from stylepack.packs.shelf import bundled_packs, user_packs
from stylepack.packs.trunkfile import load_trunk

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


def verify(trunk: Path, names: Sequence[str] = ()) -> Iterator[Verdict]:
    """Check the trunk, then every installed pack or those named, hidden ones too.

    Hash, header, tensors, and that every number is one.  A pack of another trunk is held to
    the sizes that it was made for.

    Raises:
        UsageError: no pack of that name.
    """
    files = [*bundled_packs().values(), *user_packs().values()]
    for name in names:
        if not any(shelved.name == name for shelved in files):
            raise UsageError(f"no pack '{name}' is installed; see `stylepack packs list`")
    config, digest = None, ""
    try:
        network, digest = load_trunk(trunk)
        config = network.config
        yield Verdict("(trunk)", trunk, "trunk", True, "good", digest)
    except StylepackError as error:
        yield Verdict("(trunk)", trunk, "trunk", False, str(error))
    for shelved in files:
        if not names or shelved.name in names:
            origin = "bundled" if shelved.bundled else "installed"
            try:
                words, sha256 = _read(shelved.path, config, digest)
                yield Verdict(shelved.name, shelved.path, origin, True, words, sha256)
            except StylepackError as error:
                yield Verdict(shelved.name, shelved.path, origin, False, str(error))


def _read(path: Path, config: TrunkConfig | None, trunk_sha256: str) -> tuple[str, str]:
    """(what is to be said of a good pack, the hash of its data)."""
    content = read_content(path, LARGEST_PACK)
    header = parse_content(content, path)
    foreign = Manifest.from_header(header, path).trunk_sha256 != trunk_sha256
    sizes = fitting_config(header) if foreign or config is None else config
    manifest = parse_pack(content, sizes, path).manifest
    if not manifest.sha256:
        return WITHOUT_HASH, ""
    if not manifest.trunk_sha256:
        return "good, does not say of which trunk", manifest.sha256
    if trunk_sha256 and manifest.trunk_sha256 != trunk_sha256:
        return f"good, of another trunk: {manifest.trunk_sha256[:8]}", manifest.sha256
    return "good", manifest.sha256
