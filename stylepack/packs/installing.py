"""Putting checked packs on the user's shelf: all of them or none."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stylepack.errors import PackError, StylepackError, UsageError
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import LARGEST_PACK, Manifest, checked_name
from stylepack.packs.shelf import SUFFIX, Shelved, packs_folder, shelf
from stylepack.packs.sources import PackFile


@dataclass(frozen=True)
class Plan:
    """What an install will do: bytes to write by name, and what is on the shelf already."""

    new: dict[str, bytes]
    replaced: list[str]
    same: list[str]


def plan_install(packs: Sequence[tuple[str, PackFile]], replace: bool) -> Plan:
    """Compare packs, by the names they are to have, with the shelf and with each other.

    Raises:
        UsageError: a name that is no pack's.
        PackError: a name is taken and `replace` is not set, or two packs have the same.
    """
    here = shelf()
    wanted: dict[str, PackFile] = {}
    plan = Plan({}, [], [])
    for name, file in packs:
        try:
            checked_name(name, "the new pack")
        except PackError as error:
            raise UsageError(str(error)) from error
        other = wanted.setdefault(name, file)
        if other.content != file.content:
            raise PackError(
                f"{other.source} and {file.source} are both named '{name}'; install one of them "
                "alone, with --as NAME"
            )
        if other is not file:
            continue
        taken = here.get(name)
        if taken and _holds(taken, file.content):
            plan.same.append(name)
            continue
        if taken and not replace:
            kind = "bundled" if taken.bundled else "installed"
            raise PackError(
                f"a pack '{name}' is {kind} already, and {file.source} is another; replace it "
                "with --upgrade (or --replace), or choose another name with --as NAME"
            )
        if taken:
            plan.replaced.append(name)
        plan.new[name] = file.content
    return plan


def install_all(packs: Mapping[str, bytes]) -> list[Shelved]:
    """Write pack files to the user's shelf, replacing those of the same name: all or none.

    The caller has checked them.  What goes wrong on the way, Ctrl-C included, is undone.

    Raises:
        StylepackError: the shelf cannot be written to.
    """
    folder = packs_folder()
    try:
        staging = Path(tempfile.mkdtemp(prefix=".install-", dir=folder))
    except OSError as error:
        raise _cannot_write(folder, error) from error
    placed: list[tuple[Path, Path]] = []
    try:
        for name, content in packs.items():
            target, old = folder / f"{name}{SUFFIX}", staging / f"{name}.old"
            (staging / target.name).write_bytes(content)
            if target.exists():
                shutil.copyfile(target, old)
        for name in packs:
            target, old = folder / f"{name}{SUFFIX}", staging / f"{name}.old"
            placed.append((target, old))
            (staging / target.name).replace(target)
    except BaseException as error:
        for target, old in placed:
            _undo(target, old, staging)
        if isinstance(error, OSError):
            raise _cannot_write(folder, error) from error
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return [Shelved(name, folder / f"{name}{SUFFIX}", bundled=False) for name in packs]


def install_pack(source: Path, name: str | None = None, replace: bool = False) -> Shelved:
    """Install one pack file that the caller has read as a pack before.

    Raises:
        PackError: not a pack, or its name is taken and `replace` is not set.
    """
    content = read_content(source, LARGEST_PACK)
    name = name or Manifest.from_header(parse_content(content, source), source).name
    plan = plan_install([(name, PackFile(str(source), content))], replace)
    if plan.new:
        return install_all(plan.new)[0]
    return shelf()[name]


def _undo(target: Path, old: Path, staging: Path) -> None:
    """Back to before `target` was put in place, as far as that had come."""
    with suppress(OSError):
        if old.exists():
            old.replace(target)
        elif not (staging / target.name).exists():
            target.unlink(missing_ok=True)


def _holds(shelved: Shelved, content: bytes) -> bool:
    try:
        return read_content(shelved.path, LARGEST_PACK) == content
    except StylepackError:
        return False


def _cannot_write(folder: Path, error: OSError) -> StylepackError:
    return StylepackError(
        f"cannot write to {folder}: {error.strerror or error}; make room, or set STYLEPACK_HOME "
        "to a folder you own"
    )
