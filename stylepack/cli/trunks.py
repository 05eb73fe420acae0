"""`stylepack trunks`: the networks that packs belong to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer

from stylepack.cli import console
from stylepack.cli.completion import complete_trunk
from stylepack.cli.console import confirm
from stylepack.cli.options import App, Replace, arg, opt
from stylepack.cli.packs.shelf import Json, print_json, size_in_words
from stylepack.errors import StylepackError
from stylepack.library.trunks import (
    ShelvedTrunk,
    checked_trunk_name,
    find_trunk,
    known_trunks,
    packs_on,
    removable_trunk,
    remove_trunk,
)
from stylepack.packs.header import data_sha256, parse_content, read_content
from stylepack.packs.manifest import LARGEST_TRUNK, TRUNK_FILE, in_words

CLAIMS = ("author", "date", "description", "implementation", "license", "tags", "title")
SIZES = ("widths", "residual_blocks", "edge_kernel", "grain")

trunks = App(
    help="""List, inspect, install and remove trunks, the networks that packs belong to.

    Examples:
      stylepack trunks list
      stylepack trunks install runs/mine
    """
)

TrunkName = Annotated[str, arg("NAME", "A trunk.", complete_trunk)]


@trunks.command("list")
def list_trunks(as_json: Json = False) -> None:
    """List the bundled trunk and the installed ones.

    Examples:
      stylepack trunks list
      stylepack trunks list --json
    """
    facts: list[dict[str, Any]] = []
    broken = []
    for trunk in known_trunks().values():
        try:
            facts.append({"name": trunk.name, **place_of(trunk)})
        except (StylepackError, OSError) as error:
            if not trunk.gone:
                broken.append(f"trunk '{trunk.name}': {error}")
    if as_json:
        print_json(facts)
    else:
        rows = [
            (
                fact["name"],
                str(len(fact["packs"])),
                fact["sha256"][:8],
                size_in_words(fact["bytes"]),
                fact["path"],
            )
            for fact in facts
        ]
        console.show_table(("name", "packs", "sha256", "size", "file"), rows)
    for message in broken:
        console.warn(message)


@trunks.command()
def info(
    trunk: Annotated[str, arg("NAME|FILE", "A trunk by name or file.", complete_trunk)] = "",
    as_json: Json = False,
) -> None:
    """Show a trunk's metadata and packs, by default the bundled trunk's.

    Examples:
      stylepack trunks info
      stylepack trunks info runs/mine/trunk.safetensors
    """
    path = find_trunk(trunk or None)
    known = [one for one in known_trunks().values() if one.path == path]
    shown = known[0] if known else ShelvedTrunk(path.stem, path)
    metadata = shown.header().metadata
    claims = {key: metadata.get(f"modelspec.{key}", "") for key in CLAIMS}
    content = read_content(path, LARGEST_TRUNK)
    digest = data_sha256(content, parse_content(content, path))
    facts = {
        "name": shown.name,
        **{key: value for key, value in claims.items() if value},
        **sizes(metadata.get("stylepack.trunk_config", "")),
        **place_of(shown),
        "sha256": digest,
    }
    if as_json:
        print_json(facts)
    else:
        rows = [(key, in_words(value)) for key, value in facts.items() if value not in ("", [])]
        console.show_table(("", ""), rows)
    if shown.sha256 not in ("", digest):
        console.warn(f"{path} is damaged: its data does not match its hash; install it again")


@trunks.command()
def install(
    source: Annotated[
        str, arg("SOURCE", "A run folder of `train`, a zip of one, a trunk file, or an https URL.")
    ],
    name: Annotated[
        str, opt("NAME", "The trunk's name (default: the source's).", names=("--as",))
    ] = "",
    replace: Replace = False,
    sha256: Annotated[str, opt("HEX", "SHA-256 that the source must have.")] = "",
) -> None:
    """Check a trunk and its packs, and install all of them or none.

    The packs are found as TRUNK/NAME, and as NAME where that is free.

    Examples:
      stylepack trunks install runs/mine
      stylepack trunks install https://example.org/mine.zip --as theirs
    """
    name = checked_trunk_name(name or name_from(source))

    from stylepack.library.fetch import gather_trunk

    with console.meter("fetching", 1) as meter:
        trunk, packs = gather_trunk(source, sha256, meter.share)

    from stylepack.library.install import check_with_packs, install_trunk

    checked = check_with_packs(trunk, packs)
    folder = install_trunk(name, checked, replace)
    among = f" with {', '.join(checked.packs)}" if checked.packs else " without packs"
    console.say(f"installed trunk '{name}'{among}")
    console.result(folder)


@trunks.command()
def remove(
    name: TrunkName,
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
) -> None:
    """Delete an installed trunk and the packs that came with it.

    Examples:
      stylepack trunks remove mine
      stylepack trunks remove mine -y
    """
    folder = removable_trunk(name)
    if not yes:
        console.say(str(folder))
        confirm(f"trunk '{name}'", "Delete this trunk and the packs in its folder?")
    console.say(f"removed {remove_trunk(name)}")


def name_from(source: str) -> str:
    """A trunk's name from its source, without suffixes.

    For `.../mine/trunk.safetensors` the folder's name, else that of the folder, file or URL.
    """
    path = Path(urlsplit(source).path) if "://" in source else Path(source).absolute()
    if path.name == TRUNK_FILE:
        path = path.parent
    return path.name.partition(".")[0].lower()


def place_of(trunk: ShelvedTrunk) -> dict[str, Any]:
    """A trunk's packs, hash, size in bytes and path."""
    return {
        "packs": [pack.name for pack in packs_on(trunk)],
        "sha256": trunk.sha256,
        "bytes": trunk.path.stat().st_size,
        "path": str(trunk.path),
    }


def sizes(config: str) -> dict[str, object]:
    """A trunk's sizes from its metadata; empty if that is damaged."""
    try:
        fields = json.loads(config)
    except (ValueError, RecursionError):
        return {}
    known = [key for key in SIZES if isinstance(fields, dict) and key in fields]
    return {key: fields[key] for key in known if _is_size(fields[key])}


def _is_size(value: object) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return all(isinstance(number, int | float) for number in numbers)
