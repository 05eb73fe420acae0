"""`stylepack packs`: what is on the shelf."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import get_terminal_size
from typing import Annotated, Any

import typer

from stylepack.cli import console
from stylepack.cli.completion import complete_pack
from stylepack.cli.packs.make import blend, export, new
from stylepack.cli.packs.manage import diff, hide, install, remove, restore, verify
from stylepack.cli.packs.thumbnails import MOST, protocol, show_thumbnails
from stylepack.errors import StylepackError, UsageError
from stylepack.library.shelf import faults, find_pack, shelf
from stylepack.library.trunks import name_of, trunk_names
from stylepack.packs.manifest import Manifest, in_words, read_manifest

LONGEST_CELL = 60  # characters of a title or a name in the list on a terminal

packs = typer.Typer(
    help="List, inspect, install, blend and remove style packs.", no_args_is_help=True
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@packs.command("list")
def list_packs(
    query: Annotated[
        str,
        typer.Option(
            "-q",
            "--query",
            metavar="TEXT",
            help="Only packs with this in their name, title, artist, tags or description.",
        ),
    ] = "",
    thumbnails: Annotated[
        bool | None,
        typer.Option(
            "--thumbnails/--no-thumbnails",
            help="Show example pictures.  (default: where the terminal shows images)",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the installed packs."""
    kind = protocol(os.environ) if sys.stdout.isatty() and not as_json else ""
    if thumbnails and not kind:
        raise UsageError(
            "--thumbnails is for terminals that show images, like kitty, iTerm2 or foot, and not "
            "for pipes; see `stylepack gallery`"
        )
    entries, broken = [], []
    for reference, shelved in shelf().items():
        try:
            manifest = shelved.manifest()
            facts = summary(reference, manifest, shelved.path)
        except (StylepackError, OSError) as error:
            if not shelved.vanished(error):
                broken.append(str(error))
            continue
        if query.casefold() in searched(reference, manifest):
            facts |= {"bundled": shelved.bundled, "from": shelved.came_with}
            entries.append((facts, manifest))
    if as_json:
        print_json([facts for facts, _ in entries])
    else:
        columns = ("name", "title", "artist", "licence", "trunk", "size", "from")
        trunks = trunk_names()
        console.show_table(columns, [row(facts, trunks) for facts, _ in entries])
        few = thumbnails or len(entries) <= MOST
        if kind and few and thumbnails is not False:
            pictures = [(facts["name"], manifest) for facts, manifest in entries]
            show_thumbnails(pictures, kind, get_terminal_size().columns)
        if query and not entries:
            console.say(f"no pack has '{query}' in its name, title, artist, tags or description")
    for message in (*broken, *faults()):
        console.warn(message)


@packs.command()
def info(
    pack: Annotated[
        str, typer.Argument(help="A pack by name or file.", autocompletion=complete_pack)
    ],
    as_json: Json = False,
) -> None:
    """Show all that a pack says about itself."""
    path = find_pack(pack)
    manifest = read_manifest(path)
    name = path.stem  # the name it goes by here
    if as_json:
        print_json({**asdict(manifest), "name": name, "path": str(path)})
        return
    facts = summary(name, manifest, path)
    trunk = name_of(manifest.trunk_sha256, trunk_names())
    rows = list((facts | {"trunk": f"{trunk} {manifest.trunk_sha256}".strip()}).items())
    rows.append(("own_contrast", manifest.own_contrast or ""))
    rows.append(("thumbnail", f"{len(manifest.thumbnail):,} bytes" if manifest.thumbnail else ""))
    for key in ("style_image", "train", "metrics"):
        shown = ("artist", "year") if key == "style_image" else ()
        values = getattr(manifest, key)
        rows += [(f"{key}.{name}", value) for name, value in values.items() if name not in shown]
    console.show_table(("", ""), [(key, in_words(value)) for key, value in rows if value != ""])


packs.command()(install)
packs.command()(remove)
packs.command()(hide)
packs.command()(restore)
packs.command()(new)
packs.command()(blend)
packs.command()(export)
packs.command()(verify)
packs.command()(diff)


def row(facts: Mapping[str, Any], trunks: Mapping[str, str]) -> tuple[str, ...]:
    """One line of `list`; `trunks` are the names of the known ones by their hashes."""
    return (
        facts["name"],
        *(shortened(str(facts[key])) for key in ("title", "artist", "license")),
        name_of(facts["trunk"], trunks),
        size_in_words(facts["bytes"]),
        facts["from"],
    )


def searched(name: str, manifest: Manifest) -> str:
    """The words in which `list -q` looks."""
    artist = str(manifest.style_image.get("artist", ""))
    words = (name, manifest.title, artist, manifest.tags, manifest.description)
    return "\n".join(words).casefold()


def summary(name: str, manifest: Manifest, path: Path) -> dict[str, Any]:
    """The short facts of a pack, as `list` and `info` show them."""
    return {
        "name": name,
        "title": manifest.title,
        "artist": manifest.style_image.get("artist", ""),
        "year": manifest.style_image.get("year", ""),
        "description": manifest.description,
        "tags": manifest.tags,
        "author": manifest.author,
        "date": manifest.date,
        "license": manifest.license,
        "merged_from": manifest.merged_from,
        "trunk": manifest.trunk_sha256,
        "sha256": manifest.sha256,
        "bytes": path.stat().st_size,
        "path": str(path),
    }


def print_json(value: Any) -> None:
    """JSON on stdout, null for NaN and infinities, which it does not have.

    What could steer a terminal, or is not a character, is escaped.
    """
    text = json.dumps(_finite(value), indent=1, ensure_ascii=not console.takes_any_text(sys.stdout))
    if not text.replace("\n", "").isprintable():
        text = "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    print(text)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shortened(text: str) -> str:
    """A stranger's words, cut for a table."""
    return (
        text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}\N{HORIZONTAL ELLIPSIS}"
    )


def size_in_words(size: int) -> str:
    """Bytes as people read them."""
    return f"{size / 1e3:.0f} KB" if size < 1e6 else f"{size / 1e6:.1f} MB"
