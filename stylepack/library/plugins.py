"""Packs that come with installed Python packages.

A package declares them with an entry point in the group `stylepack.packs` whose value is the dotted
name of a folder.  The folder is found by that name, without running the package.
"""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUP = "stylepack.packs"
FOLDER_PATTERN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", re.ASCII)
LARGEST_ENTRY_POINTS = 1 << 20


@dataclass(frozen=True)
class Package:
    """A distribution's normalized name and a folder that it declares, or a one-line `fault`."""

    name: str
    folder: Path | None
    fault: str = ""


def packages() -> list[Package]:
    """All packages of the environment that declare packs, by name; the first on the path wins."""
    found: dict[str, list[Package]] = {}
    for info in _declaring(sys.path):
        try:
            name, values = _declared(info)
        except Exception:  # importlib does not document its errors for invalid metadata
            fault = f"{info} is damaged; reinstall that package"
            found[info.name] = [Package(info.name, None, fault)]
            continue
        if name not in found:
            found[name] = [_package(name, value, info.parent) for value in values]
    return [package for name in sorted(found) for package in found[name]]


def _declared(info: Path) -> tuple[str, list[str]]:
    """(a package's normalized name, distinct values of its entry points in our group).

    Raises:
        Exception: its metadata is invalid.
    """
    # Imported only if a package declares packs, since the import is slow.
    from importlib.metadata import Distribution

    distribution = Distribution.at(info)
    values = [point.value for point in distribution.entry_points if point.group == GROUP]
    if not distribution.name:
        raise ValueError("no name")
    name = re.sub(r"[-_.]+", "-", distribution.name).lower()
    return name, list(dict.fromkeys(values))


def _package(name: str, declared: str, root: Path) -> Package:
    folder = _folder(declared, root)
    missing = (
        f"package '{name}' declares packs in '{declared}', but there is no such folder; reinstall "
        f"it, or `pip uninstall {name}`"
    )
    return Package(name, folder, "" if folder else missing)


def _declaring(folders: list[str]) -> Iterator[Path]:
    """The `.dist-info` folders whose entry points have our group."""
    mark = f"[{GROUP}]".encode()
    for folder in dict.fromkeys(folders):
        try:
            with os.scandir(folder or ".") as entries:
                infos = sorted(entry.path for entry in entries if entry.name.endswith(".dist-info"))
        except OSError:
            continue
        for info in infos:
            try:
                with open(f"{info}/entry_points.txt", "rb") as file:  # noqa: PTH123 - faster
                    declares = mark in file.read(LARGEST_ENTRY_POINTS)
            except OSError:
                continue
            if declares:
                yield Path(info)


def _folder(declared: str, root: Path) -> Path | None:
    """The folder of a dotted name, beside the package's metadata or on the path."""
    if not FOLDER_PATTERN.fullmatch(declared):
        return None
    parts = declared.split(".")
    for parent in (root, *map(Path, sys.path)):  # an editable install is elsewhere
        folder = parent.joinpath(*parts)
        if folder.is_dir():
            return folder
    return None
