"""`stylepack packs`: the installed packs."""

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

from stylepack.cli import console
from stylepack.cli.completion import complete_pack
from stylepack.cli.options import App, arg, flag, opt
from stylepack.cli.packs.make import blend, export, make, new
from stylepack.cli.packs.manage import diff, hide, install, remove, restore, verify
from stylepack.cli.packs.thumbnails import MOST, protocol, show_thumbnails
from stylepack.errors import StylepackError, UsageError, counted
from stylepack.library.shelf import faults, find_pack, shelf
from stylepack.library.trunks import name_of, trunk_names
from stylepack.packs.manifest import Manifest, in_words, plain, read_manifest

LONGEST_CELL = 60  # characters of a title or a name in the list on a terminal
WIDE = 110  # terminal columns from which the list shows everything

packs = App(
    help="""List, inspect, install, blend and remove style packs.

    Examples:
      stylepack packs list
      stylepack packs install dream.safetensors
    """
)

Json = Annotated[bool, flag("--json", "Print JSON.")]


@packs.command("list")
def list_packs(
    query: Annotated[
        str,
        opt(
            "TEXT", "Search names, titles, artists, tags and descriptions.", names=("-q", "--query")
        ),
    ] = "",
    thumbnails: Annotated[
        bool | None,
        flag(
            "--thumbnails/--no-thumbnails",
            "Example pictures (default: if the terminal shows images).",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """List the installed packs.

    Examples:
      stylepack packs list
      stylepack packs list -q monet
    """
    kind = protocol(os.environ) if sys.stdout.isatty() and not as_json else ""
    if thumbnails and not kind:
        raise UsageError(
            "--thumbnails needs a terminal that shows images, like kitty, iTerm2 or foot; see "
            "`stylepack gallery`"
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
        if plain(query) in searched(reference, manifest):
            facts |= {"bundled": shelved.bundled, "from": shelved.came_with}
            entries.append((facts, manifest))
    if as_json:
        print_json([facts for facts, _ in entries])
    else:
        columns: tuple[str, ...] = ("name", "title", "artist", "licence", "trunk", "size", "from")
        trunks = trunk_names()
        rows = [row(facts, trunks) for facts, _ in entries]
        if sys.stdout.isatty() and get_terminal_size().columns < WIDE:
            columns = ("name", "title", "artist", "from")
            rows = [(*cells[:3], cells[-1]) for cells in rows]
        console.show_table(columns, rows)
        few = thumbnails or len(entries) <= MOST
        if kind and few and thumbnails is not False:
            pictures = [(facts["name"], manifest) for facts, manifest in entries]
            show_thumbnails(pictures, kind, get_terminal_size().columns)
        if query and not entries:
            console.say(f"no pack matches '{query}'; see `stylepack packs list`")
    for message in (*broken, *faults()):
        console.warn(message)


@packs.command()
def info(
    pack: Annotated[str, arg("PACK", "A name or file.", complete_pack)],
    everything: Annotated[
        bool, flag("--all", "Hashes, the recipe and every other fact too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show what a pack is, who made it and how well it paints.

    Examples:
      stylepack packs info starry
      stylepack packs info dream.safetensors --all
    """
    path = find_pack(pack)
    manifest = read_manifest(path)
    name = path.stem  # its name on this machine
    if as_json:
        print_json({**asdict(manifest), "name": name, "path": str(path)})
        return
    facts = summary(name, manifest, path)
    trunk = name_of(manifest.trunk_sha256, trunk_names())
    rows = every_fact(facts, manifest, trunk) if everything else essentials(facts, manifest, trunk)
    console.show_table(("", ""), [(key, in_words(value)) for key, value in rows if value != ""])


def essentials(facts: Mapping[str, Any], manifest: Manifest, trunk: str) -> list[tuple[str, Any]]:
    """The essential facts of a pack, as rows."""
    keys = ("name", "title", "artist", "year", "description", "author", "license", "merged_from")
    metrics = manifest.metrics
    losses = [f"{key} {metrics[key]}" for key in ("content", "style") if key in metrics]
    photographs = metrics.get("photographs")
    on = f" on {counted(photographs, 'photograph')}" if isinstance(photographs, int) else ""
    return [
        *((key, facts[key]) for key in keys),
        ("trunk", trunk or manifest.trunk_sha256[:12]),
        ("losses", f"{', '.join(losses)}{on}" if losses else ""),
        ("updates", manifest.train.get("updates", "")),
        ("size", size_in_words(facts["bytes"])),
        ("file", facts["path"]),
    ]


def every_fact(facts: Mapping[str, Any], manifest: Manifest, trunk: str) -> list[tuple[str, Any]]:
    """All metadata of a pack, as rows."""
    rows = [*{**facts, "trunk": f"{trunk} {manifest.trunk_sha256}".strip()}.items()]
    rows.append(("own_contrast", manifest.own_contrast or ""))
    rows.append(("thumbnail", f"{len(manifest.thumbnail):,} bytes" if manifest.thumbnail else ""))
    for key in ("style_image", "train", "metrics"):
        shown = ("artist", "year") if key == "style_image" else ()
        values = getattr(manifest, key)
        rows += [(f"{key}.{name}", value) for name, value in values.items() if name not in shown]
    return rows


packs.command()(install)
packs.command()(remove)
packs.command()(hide)
packs.command()(restore)
packs.command()(new)
packs.command()(make)
packs.command()(blend)
packs.command()(export)
packs.command()(verify)
packs.command()(diff)


def row(facts: Mapping[str, Any], trunks: Mapping[str, str]) -> tuple[str, ...]:
    """One row of `list`; `trunks` maps hashes of known trunks to their names."""
    return (
        facts["name"],
        *(shortened(str(facts[key])) for key in ("title", "artist", "license")),
        name_of(facts["trunk"], trunks),
        size_in_words(facts["bytes"]),
        facts["from"],
    )


def searched(name: str, manifest: Manifest) -> str:
    """The text that `list -q` searches."""
    artist = str(manifest.style_image.get("artist", ""))
    return plain("\n".join((name, manifest.title, artist, manifest.tags, manifest.description)))


def summary(name: str, manifest: Manifest, path: Path) -> dict[str, Any]:
    """The facts of a pack that `list` and `info` show."""
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
    """Print JSON on stdout, with null for NaN and infinities.

    Control characters and lone surrogates are escaped.
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
    """Text shortened for a table."""
    return (
        text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 1]}\N{HORIZONTAL ELLIPSIS}"
    )


def size_in_words(size: int) -> str:
    """A number of bytes in KB or MB."""
    return f"{size / 1e3:.0f} KB" if size < 1e6 else f"{size / 1e6:.1f} MB"
