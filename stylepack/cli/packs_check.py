"""`stylepack packs verify` and `diff`: reading packs down to their numbers."""

from __future__ import annotations

from typing import Annotated

import typer

from stylepack.cli import screen
from stylepack.cli.completion import complete_pack
from stylepack.cli.options import TrunkFile
from stylepack.errors import PackError
from stylepack.packs.shelf import find_pack
from stylepack.packs.trunks import find_trunk

PackArgument = Annotated[
    str, typer.Argument(help="A pack by name or file.", autocompletion=complete_pack)
]


def verify(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="NAME", help="Packs.", autocompletion=complete_pack),
    ] = None,
    trunk: TrunkFile = None,
) -> None:
    """Read every trunk and installed pack again: hashes, headers, and every number."""
    from stylepack.packs.verify import verify

    verdicts = list(verify(find_trunk(trunk) if trunk else None, names or ()))
    rows = [
        (one.name, one.words if one.good else f"BAD: {one.words}", one.sha256[:8], one.origin)
        for one in verdicts
    ]
    screen.show_table(("name", "state", "sha256", "from"), rows)
    bad = sum(not one.good for one in verdicts)
    if bad:
        raise PackError(
            f"{bad} of {len(verdicts)} files are bad; install those packs again, or remove them"
        )


def diff(first: PackArgument, second: PackArgument) -> None:
    """Show how far two packs are apart, norm by norm, and what they say differently.

    gamma and beta: |a - b| / sqrt(|a| |b|), 0 for the same.  cosine: between the two packs'
    ways from the neutral style, 1 for the same direction, 0 for unrelated ones.
    """
    paths = find_pack(first), find_pack(second)

    from stylepack.packs.compare import compare, differing_metadata, load_pair

    a, b, config = load_pair(*paths)
    rows = [
        (one.norm, f"{one.gamma:.4f}", f"{one.beta:.4f}", f"{one.cosine:+.4f}")
        for one in compare(a, b, config)
    ]
    screen.show_table(("norm", "gamma", "beta", "cosine"), rows)
    told = differing_metadata(a, b)
    if told:
        stems = (paths[0].stem, paths[1].stem)
        names = stems if stems[0] != stems[1] else ("first", "second")
        print()
        screen.show_table(("metadata", *names), told)
