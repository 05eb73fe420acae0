"""`stylepack packs new`: packs as a Python package, to be shared by pip."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli import screen
from stylepack.cli.completion import complete_pack
from stylepack.errors import UsageError
from stylepack.packs.manifest import NAME_PATTERN, read_manifest
from stylepack.packs.shelf import find_pack, user_packs
from stylepack.packs.trunks import choose_trunk, name_of, trunk_names


def new(
    folder: Annotated[
        Path,
        typer.Argument(metavar="NAME", help="The package's name, or a folder to make by its name."),
    ],
    packs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PACK",
            help="Packs by name or file.  (default: all that you installed)",
            autocompletion=complete_pack,
        ),
    ] = None,
) -> None:
    """Write a Python package with packs, ready to build: whoever installs it by pip has them.

    The package's folder is printed to stdout.
    """
    wanted = packs or list(user_packs())
    if not wanted:
        raise UsageError(
            "you have no packs of your own; name some: `stylepack packs new NAME PACK`"
        )
    found = {reference: find_pack(reference) for reference in wanted}
    named: dict[str, Path] = {}
    for path in found.values():
        name = path.stem if NAME_PATTERN.fullmatch(path.stem) else read_manifest(path).name
        if named.setdefault(name, path) != path:
            raise UsageError(f"two of the packs are named '{name}'; leave one of them out")

    from stylepack.packs.collection import write_collection

    choose_trunk(found)
    names = trunk_names()
    trunk = name_of(read_manifest(next(iter(named.values()))).trunk_sha256, names)
    unlicensed = write_collection(folder, folder.name, named, in_words(trunk))
    for name in unlicensed:
        screen.warn(f"'{name}' names no licence: say in README.md what others may do with it")
    if trunk != "bundled":
        screen.warn(f"trunk '{trunk}' is not bundled: whoever uses the packs needs it as well")
    screen.say(f"wrote {', '.join(named)}; build it: cd {folder} && python -m build --wheel")
    print(folder)


def in_words(trunk: str) -> str:
    """How the README names the trunk."""
    return "that is bundled with stylepack" if trunk == "bundled" else f"`{trunk}`"
