"""Putting a trunk on the shelf together with its packs: all or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from stylepack.errors import PackError
from stylepack.files import make_folder
from stylepack.packs.header import parse_content
from stylepack.packs.pack import check_trunk, parse_pack
from stylepack.packs.shelf import MOVE_HOME, SUFFIX, TRUNK_FILE, home_folder
from stylepack.packs.sources import PackFile
from stylepack.packs.staging import staging
from stylepack.packs.tensors import HASH_KEY
from stylepack.packs.trunkfile import parse_trunk
from stylepack.packs.trunks import known_trunks, removable_trunk, trunk_names


@dataclass(frozen=True)
class CheckedTrunk:
    """A trunk and packs that belong to it, down to the last number; packs by name."""

    sha256: str
    content: bytes
    packs: dict[str, bytes]


def check_with_packs(trunk: PackFile, packs: Sequence[PackFile]) -> CheckedTrunk:
    """Check a trunk and the packs that come with it.

    Raises:
        PackError: one of them is damaged, a pack is another trunk's, two have one name, or the
            trunk does not say its hash.
    """
    network, digest = parse_trunk(trunk.content, trunk.source)
    if HASH_KEY not in parse_content(trunk.content, trunk.source).metadata:
        raise PackError(f"{trunk.source} does not say its own hash, by which packs find it")
    checked: dict[str, bytes] = {}
    for file in packs:
        manifest = parse_pack(file.content, network.config, file.source).manifest
        check_trunk(manifest, digest, f"'{file.source}'")
        if manifest.name in checked:
            raise PackError(f"{file.source}: two packs are named '{manifest.name}'")
        checked[manifest.name] = file.content
    return CheckedTrunk(digest, trunk.content, checked)


def install_trunk(name: str, trunk: CheckedTrunk, replace: bool) -> Path:
    """Write a trunk with its packs to the user's shelf; return its folder.

    Raises:
        PackError: the name is taken and `replace` is not set, or the trunk is here by another.
        UsageError: packs of the user's belong to the trunk that would be replaced.
        StylepackError: the shelf cannot be written to.
    """
    folder = home_folder() / "trunks"
    make_folder(folder, MOVE_HOME)
    with staging(folder, MOVE_HOME) as stage:
        _check_free(name, trunk, replace)
        stage.add(f"{name}/{TRUNK_FILE}", trunk.content)
        for pack, content in trunk.packs.items():
            stage.add(f"{name}/packs/{pack}{SUFFIX}", content)
        return stage.place(replace)[0]


def _check_free(name: str, trunk: CheckedTrunk, replace: bool) -> None:
    here = trunk_names().get(trunk.sha256)
    if here and here != name:
        raise PackError(f"this trunk is here already, as '{here}'; see `stylepack trunks list`")
    if name in known_trunks() and not replace:
        raise PackError(
            f"a trunk '{name}' is installed already; replace it and its packs with "
            "--replace, or choose another name with --as NAME"
        )
    if name in known_trunks() and not here:
        removable_trunk(name)
