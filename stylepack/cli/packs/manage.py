"""`stylepack packs install`, `remove`, `hide`, `restore`, `verify` and `diff`."""

from __future__ import annotations

from typing import Annotated

import typer

from stylepack.cli import console
from stylepack.cli.completion import complete_hidden, complete_installed, complete_pack
from stylepack.cli.console import confirm
from stylepack.cli.options import Force, Replace, TrunkFile, arg, flag, opt
from stylepack.errors import PackError, UsageError
from stylepack.library.remove import hide_packs, removable, remove_pack, restore_packs
from stylepack.library.shelf import bundled_packs, find_pack
from stylepack.library.trunks import find_trunk

PackArgument = Annotated[
    str, typer.Argument(help="A pack, by name or file.", autocompletion=complete_pack)
]


def install(
    sources: Annotated[
        list[str], arg("SOURCE", "Pack files, folders, zips, wheels or https URLs.")
    ],
    name: Annotated[str, opt("NAME", "Install one pack as NAME.", names=("--as",))] = "",
    replace: Replace = False,
    sha256: Annotated[str, opt("HEX", "SHA-256 that the source must have.")] = "",
    trunk: TrunkFile = None,
    force: Force = False,
) -> None:
    """Check packs and install all of them, or none if one is refused.

    Examples:
      stylepack packs install dream.safetensors
      stylepack packs install https://example.org/packs.zip
    """
    from stylepack.library.fetch import gather

    with console.meter("fetching", len(sources)) as meter:
        files = gather(sources, sha256, meter.share)
    if name and len(files) > 1:
        raise UsageError(
            f"--as {name} is one name, but there are {len(files)} packs; install them one by one"
        )

    from stylepack.library.install import check_packs, install_as_planned

    manifests = check_packs(files, trunk, force)
    named = [(name or manifest.name, file) for manifest, file in zip(manifests, files, strict=True)]
    plan, placed = install_as_planned(named, replace)
    for same in plan.same:
        console.say(f"'{same}' is already installed, with the same content")
    for path in placed:
        verb = "replaced" if path.stem in plan.replaced else "installed"
        console.say(f"{verb} '{path.stem}'")
        console.result(path)


def remove(
    names: Annotated[list[str], arg("NAME", "Packs.", complete_installed)],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Delete installed packs.

    Examples:
      stylepack packs remove dream
      stylepack packs remove dream sea -y
    """
    files = {removable(name): name for name in names}
    if not yes:
        for file in files:
            console.say(str(file))
        what = "this pack" if len(files) == 1 else f"these {len(files)} packs"
        confirm(", ".join(files.values()), f"Delete {what}?")
    for file, name in files.items():
        console.say(f"removed {remove_pack(name)}")
        if file.stem in bundled_packs():
            console.say(f"'{file.stem}' is now the bundled pack again")


def hide(
    names: Annotated[list[str], arg("NAME", "Packs.", complete_pack)],
) -> None:
    """Hide bundled packs; `restore` brings them back.

    Examples:
      stylepack packs hide kirchner
      stylepack packs hide lilies marine
    """
    for name in hide_packs(names):
        console.say(f"hid '{name}'; bring it back: stylepack packs restore {name}")


def restore(
    names: Annotated[list[str] | None, arg("NAME", "Packs.", complete_hidden)] = None,
    everything: Annotated[bool, flag("--all", "All hidden packs.")] = False,
) -> None:
    """Bring hidden packs back.

    Examples:
      stylepack packs restore kirchner
      stylepack packs restore --all
    """
    if bool(names) == everything:
        raise UsageError("give the names of hidden packs or --all")
    back = restore_packs(None if everything else names)
    console.say(f"restored {', '.join(back)}" if back else "no pack is hidden")


def verify(
    names: Annotated[list[str] | None, arg("NAME", "Packs.", complete_pack)] = None,
    trunk: TrunkFile = None,
) -> None:
    """Check every trunk and pack again, their hashes, headers and numbers.

    Examples:
      stylepack packs verify
      stylepack packs verify dream
    """
    from stylepack.library.verify import verify

    verdicts = list(verify(find_trunk(trunk) if trunk else None, names or ()))
    rows = [
        (one.name, one.words if one.good else f"BAD: {one.words}", one.sha256[:8], one.origin)
        for one in verdicts
    ]
    console.show_table(("name", "state", "sha256", "from"), rows)
    bad = sum(not one.good for one in verdicts)
    if bad:
        raise PackError(
            f"{bad} of {len(verdicts)} files are damaged; install those packs again, or remove them"
        )


def diff(first: PackArgument, second: PackArgument) -> None:
    """Show how far two packs are apart, norm by norm, and how their metadata differ.

    gamma and beta: |a - b| / sqrt(|a| |b|), 0 if they are equal. cosine: of the angle between
    the packs as seen from the neutral style, 1 for the same direction, 0 for unrelated ones.

    Examples:
      stylepack packs diff starry wheatfield
      stylepack packs diff dream.safetensors dream
    """
    paths = find_pack(first), find_pack(second)

    from stylepack.packs.diff import compare, differing_metadata, load_pair

    a, b, config = load_pair(*paths)
    rows = [
        (one.norm, f"{one.gamma:.4f}", f"{one.beta:.4f}", f"{one.cosine:+.4f}")
        for one in compare(a, b, config)
    ]
    console.show_table(("norm", "gamma", "beta", "cosine"), rows)
    differing = differing_metadata(a, b)
    if differing:
        stems = (paths[0].stem, paths[1].stem)
        names = stems if stems[0] != stems[1] else ("first", "second")
        print()
        console.show_table(("metadata", *names), differing)
