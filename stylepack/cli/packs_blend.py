"""`stylepack packs blend`: a mix as a pack of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli import screen
from stylepack.cli.completion import complete_mix
from stylepack.cli.options import Author, Force, License, Replace, TrunkFile
from stylepack.errors import UsageError
from stylepack.files import check_target
from stylepack.packs.manifest import Manifest, typed_name
from stylepack.packs.mix import parse_mix
from stylepack.packs.resolve import resolve
from stylepack.packs.shelf import IDENTITY, SUFFIX, check_free


def blend(
    mix: Annotated[
        str,
        typer.Argument(
            metavar="A=W,B=W",
            help="Packs (names or files) with weights.",
            autocompletion=complete_mix,
        ),
    ],
    name: Annotated[str, typer.Option(help="The new pack's name.")],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Write this file.  (default: install the pack)"),
    ] = None,
    title: Annotated[str, typer.Option(help="The new pack's title.")] = "",
    author: Author = None,
    license: License = None,
    replace: Replace = False,
    trunk: TrunkFile = None,
    force: Force = False,
) -> None:
    """Make one pack of a mix: painting with it is painting with the mix.

    The pack says what it was made of.  Its licence is that of the packs if they have the same.
    """
    wanted = parse_mix(mix).normalised()
    selection = resolve(wanted.references, trunk)
    typed_name(name, "--name")
    if name == IDENTITY:
        raise UsageError(f"--name: '{IDENTITY}' is the identity pack's name; choose another")
    if output and output.suffix != SUFFIX:
        raise UsageError(f"-o is {output}; name it like {name}{SUFFIX}")
    if output:
        check_target(output, "-o", replace)

    from stylepack.packs.blending import blend_packs
    from stylepack.packs.installing import install_new
    from stylepack.training.export import thumbnail, today

    loaded = selection.load(force)
    if not output:
        check_free(name, replace)
    told = Manifest(
        name=name, title=title, author=author or "", license=license or "", date=today()
    )
    blended = blend_packs(wanted, loaded.packs, told)
    picture = thumbnail(loaded.trunk, blended.style, blended.manifest.own_contrast)
    blended = blended.with_thumbnail(picture)
    if output:
        blended.save(output, loaded.trunk.config)
        done = f"wrote {output}"
    else:
        done = f"installed '{name}' as {install_new(blended, loaded.trunk.config, replace)}"
    if not blended.manifest.license:
        screen.warn("the packs do not have one licence in common: the blend names none; --license")
    screen.say(done)
