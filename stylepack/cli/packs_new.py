"""`stylepack packs new`: packs as a Python package, to be shared by pip."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli import screen
from stylepack.cli.completion import complete_pack
from stylepack.cli.options import TrunkFile
from stylepack.errors import UsageError
from stylepack.packs.resolve import resolve
from stylepack.packs.shelf import user_packs
from stylepack.packs.trunks import name_of, trunk_names

SHOWN = 20  # packs that are named


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
    trunk: TrunkFile = None,
) -> None:
    """Write a Python package with packs, ready to build: whoever installs it by pip has them.

    The package's folder is printed to stdout.
    """
    wanted = packs or list(user_packs())
    if not wanted:
        raise UsageError(
            "you have no packs of your own; name some: `stylepack packs new NAME PACK`"
        )
    selection = resolve(wanted, trunk).by_name()
    named = {name: pack.path for name, pack in selection.packs.items()}
    hashes = [pack.manifest.trunk_sha256 for pack in selection.packs.values()]
    its_name = name_of(next(filter(None, hashes), ""), trunk_names())

    from stylepack.packs.collection import write_collection

    unlicensed = write_collection(folder, named, selection.trunk, in_words(its_name))
    for name in unlicensed:
        screen.warn(f"'{name}' names no licence: say in README.md what others may do with it")
    if its_name != "bundled":
        screen.warn(f"trunk '{its_name}' is not bundled: whoever uses the packs needs it as well")
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    shown, there = ", ".join([*named][:SHOWN]), shlex.quote(str(folder))
    screen.say(f"wrote {shown}{more}; build it: cd {there} && python -m build --wheel")
    screen.result(folder)


def in_words(trunk: str) -> str:
    """How the README names the trunk."""
    return "that is bundled with stylepack" if trunk == "bundled" else f"`{trunk}`"
