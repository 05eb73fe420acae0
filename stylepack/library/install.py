"""Installing packs, and trunks with their packs: all of them or none."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from stylepack.errors import PackError, StylepackError
from stylepack.files import make_folder
from stylepack.library.fetch import PackFile
from stylepack.library.shelf import MOVE_HOME, Shelved, home_folder, packs_folder, shelf
from stylepack.library.transaction import Stage, TakenError, staging
from stylepack.library.trunks import (
    find_trunk,
    known_trunks,
    removable_trunk,
    trunk_names,
    trunk_of,
)
from stylepack.network.trunk import Trunk, TrunkConfig
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import LARGEST_PACK, SUFFIX, TRUNK_FILE, Manifest, typed_name
from stylepack.packs.pack import Pack, check_trunk, parse_pack
from stylepack.packs.tensors import HASH_KEY
from stylepack.packs.trunk_file import load_trunk, parse_trunk


@dataclass(frozen=True)
class Plan:
    """A planned installation: bytes to write by name, names replaced, names already installed."""

    new: dict[str, bytes]
    replaced: list[str]
    same: list[str]


def check_packs(
    files: Sequence[PackFile], trunk: str | Path | None = None, force: bool = False
) -> list[Manifest]:
    """Check every value of packs, each against the trunk that it names; return their manifests.

    Args:
        files: packs of any known trunks.
        trunk: name or file of the trunk that all must belong to; None for each pack's own.
        force: accept packs that do not name their trunk.

    Raises:
        PackError: a pack is damaged, or belongs to another trunk or one that is not installed.
    """
    networks: dict[Path, tuple[Trunk, str]] = {}
    manifests = []
    for file in files:
        claimed = Manifest.from_header(parse_content(file.content, file.source), file.source)
        path = find_trunk(trunk) if trunk else trunk_of({file.source: claimed.trunk_sha256})
        if path not in networks:
            networks[path] = load_trunk(path)
        network, digest = networks[path]
        check_trunk(claimed, digest, f"'{file.source}'", force)
        manifests.append(parse_pack(file.content, network.config, file.source).manifest)
    return manifests


def plan_install(packs: Sequence[tuple[str, PackFile]], replace: bool) -> Plan:
    """Compare packs, by their future names, with the shelf and with each other.

    Raises:
        PackError: a name is taken and `replace` is not set, or two packs have one name.
    """
    installed = shelf()
    wanted: dict[str, PackFile] = {}
    plan = Plan({}, [], [])
    for name, file in packs:
        other = wanted.setdefault(name, file)
        if other.content != file.content:
            raise PackError(
                f"{other.source} and {file.source} are both named '{name}'; install one of them "
                "alone, with --as NAME"
            )
        if other is not file:
            continue
        taken = installed.get(name)
        if taken and _has_content(taken, file.content):
            plan.same.append(name)
            continue
        if taken and not replace:
            raise PackError(
                f"a different pack '{name}' {taken.presence} already; replace it by "
                f"{file.source} with --replace, or choose another name with --as NAME"
            )
        if taken:
            plan.replaced.append(name)
        plan.new[name] = file.content
    return plan


def install_all(packs: Mapping[str, bytes], replace: bool = False) -> list[Path]:
    """Write checked pack files to the user's shelf by name; on any error nothing is written.

    Raises:
        PackError: a name was taken in the meantime, and `replace` is not set.
        StylepackError: the shelf cannot be written to.
    """
    with staging(packs_folder(), MOVE_HOME) as stage:
        return _place(stage, packs, replace)


def install_as_planned(
    packs: Sequence[tuple[str, PackFile]], replace: bool
) -> tuple[Plan, list[Path]]:
    """Plan an installation and do it, with the user's shelf locked: (plan, new files).

    Raises:
        UsageError: an invalid name.
        PackError: see `plan_install`.
        StylepackError: the shelf cannot be written to.
    """
    for name, _ in packs:
        typed_name(name, "the new pack")
    with staging(packs_folder(), MOVE_HOME) as stage:
        plan = plan_install(packs, replace)
        return plan, _place(stage, plan.new, replace) if plan.new else []


def _place(stage: Stage, packs: Mapping[str, bytes], replace: bool) -> list[Path]:
    for name, content in packs.items():
        stage.add(f"{name}{SUFFIX}", content)
    return stage.place(replace)


def install_new(pack: Pack, config: TrunkConfig, replace: bool = False) -> Path:
    """Install a newly made pack under its own name; return its path.

    If that fails, because the name was taken in the meantime or the disk is full, the pack is
    written to the working folder.

    Raises:
        PackError: it is in the working folder.
        StylepackError: it cannot be written there either.
    """
    name = pack.manifest.name
    try:
        return install_all({name: pack.content(config)}, replace)[0]
    except TakenError:
        reason, choice = f"another command has installed a pack '{name}' meanwhile", " --as NAME"
    except StylepackError as error:
        reason, choice = str(error), ""
    kept = _keep(pack, config, reason)
    raise PackError(f"{reason}; this one is in {kept}: `stylepack packs install {kept}{choice}`")


def _keep(pack: Pack, config: TrunkConfig, reason: str) -> Path:
    """Write a pack to the working folder under a free name."""
    try:
        for suffix in chain([""], (f"-{number}" for number in count(2))):
            kept = Path(f"{pack.manifest.name}{suffix}{SUFFIX}")
            with suppress(FileExistsError):
                kept.open("x").close()  # reserves the name
                break
        try:
            pack.save(kept, config)
        except BaseException:
            kept.unlink()
            raise
    except (OSError, StylepackError) as error:
        raise StylepackError(f"{reason}; nor can it be saved in this folder: {error}") from error
    return kept


def _has_content(shelved: Shelved, content: bytes) -> bool:
    try:
        return read_content(shelved.path, LARGEST_PACK) == content
    except StylepackError:
        return False


@dataclass(frozen=True)
class CheckedTrunk:
    """A trunk and packs that belong to it, all values checked; packs by name."""

    sha256: str
    content: bytes
    packs: dict[str, bytes]


def check_with_packs(trunk: PackFile, packs: Sequence[PackFile]) -> CheckedTrunk:
    """Check a trunk and the packs that come with it.

    Raises:
        PackError: one of them is damaged, a pack belongs to another trunk, two have one name, or
            the trunk's metadata lacks its hash.
    """
    network, digest = parse_trunk(trunk.content, trunk.source)
    if HASH_KEY not in parse_content(trunk.content, trunk.source).metadata:
        raise PackError(f"{trunk.source} has no hash in its metadata, by which packs find it")
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
        PackError: the name is taken and `replace` is not set, or the trunk has another name here.
        UsageError: the user's packs belong to the trunk that would be replaced.
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
    present = trunk_names().get(trunk.sha256)
    if present and present != name:
        raise PackError(
            f"this trunk is already installed, as '{present}'; see `stylepack trunks list`"
        )
    if name in known_trunks() and not replace:
        raise PackError(
            f"a trunk '{name}' is already installed; replace it and its packs with "
            "--replace, or choose another name with --as NAME"
        )
    if name in known_trunks() and not present:
        removable_trunk(name)
