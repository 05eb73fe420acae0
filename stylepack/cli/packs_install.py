"""`stylepack packs install`, `remove`, `hide` and `restore`: what is put on the shelf and off."""

from __future__ import annotations

from typing import Annotated

import typer

from stylepack.cli import screen
from stylepack.cli.asking import confirm
from stylepack.cli.completion import complete_hidden, complete_installed, complete_pack
from stylepack.cli.options import Force, Replace, TrunkFile
from stylepack.errors import UsageError
from stylepack.packs.removing import hide_packs, removable, remove_pack, restore_packs
from stylepack.packs.shelf import bundled_packs


def install(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE", help="Pack files, folders, zips, wheels, https addresses."
        ),
    ],
    name: Annotated[str, typer.Option("--as", help="Install one pack under another name.")] = "",
    replace: Replace = False,
    sha256: Annotated[
        str, typer.Option(metavar="HEX", help="The SHA-256 that the one source must have.")
    ] = "",
    trunk: TrunkFile = None,
    force: Force = False,
) -> None:
    """Check packs and copy them to your shelf: all of them, or none if one is refused."""
    from stylepack.packs.sources import gather

    with screen.meter("fetching", len(sources)) as meter:
        files = gather(sources, sha256, meter.share)
    if name and len(files) > 1:
        raise UsageError(f"--as {name} is one name for {len(files)} packs; install them one by one")

    from stylepack.packs.installing import check_packs, install_as_planned

    manifests = check_packs(files, trunk, force)
    named = [(name or manifest.name, file) for manifest, file in zip(manifests, files, strict=True)]
    plan, placed = install_as_planned(named, replace)
    for same in plan.same:
        screen.say(f"'{same}' is installed already, with the same content")
    for path in placed:
        verb = "replaced" if path.stem in plan.replaced else "installed"
        screen.say(f"{verb} '{path.stem}' as {path}")


def remove(
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME", help="Packs.", autocompletion=complete_installed),
    ],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Delete packs that you installed."""
    files = {removable(name): name for name in names}
    if not yes:
        for file in files:
            screen.say(str(file))
        what = "this pack" if len(files) == 1 else f"these {len(files)} packs"
        confirm(", ".join(files.values()), f"Delete {what}?")
    for file, name in files.items():
        screen.say(f"removed {remove_pack(name)}")
        if file.stem in bundled_packs():
            screen.say(f"'{file.stem}' is the bundled pack again")


def hide(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME", help="Packs.", autocompletion=complete_pack)
    ],
) -> None:
    """Take bundled packs out of the list; `restore` brings them back."""
    for name in hide_packs(names):
        screen.say(f"hid '{name}'; bring it back: stylepack packs restore {name}")


def restore(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Packs.", autocompletion=complete_hidden),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are hidden.")] = False,
) -> None:
    """Bring hidden packs back."""
    if bool(names) == everything:
        raise UsageError("give the names of hidden packs or --all")
    back = restore_packs(None if everything else names)
    screen.say(f"restored {', '.join(back)}" if back else "no pack is hidden")
