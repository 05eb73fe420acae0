"""`stylepack packs`: what is on the shelf."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from stylepack.cli import screen
from stylepack.cli.options import Force, Replace, TrunkFile
from stylepack.errors import StylepackError, UsageError
from stylepack.packs.manifest import Manifest, read_manifest
from stylepack.packs.shelf import find_pack, install_pack, remove_pack, shelf

packs = typer.Typer(help="List, inspect, install and remove style packs.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@packs.command("list")
def list_packs(as_json: Json = False) -> None:
    """List the installed packs."""
    entries, broken = [], []
    for shelved in shelf().values():
        try:
            entries.append((shelved, shelved.manifest()))
        except StylepackError as error:
            broken.append(str(error))
    if as_json:
        found = [summary(s.name, m, s.path) | {"bundled": s.bundled} for s, m in entries]
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        screen.show_table(
            ("name", "title", "artist", "licence", "trunk", "from"),
            [
                (
                    shelved.name,
                    manifest.title,
                    str(manifest.style_image.get("artist", "")),
                    manifest.license,
                    manifest.trunk_sha256[:12],
                    "bundled" if shelved.bundled else "installed",
                )
                for shelved, manifest in entries
            ],
        )
    for message in broken:
        screen.warn(message)


@packs.command()
def info(
    pack: Annotated[str, typer.Argument(help="A pack by name or file.")], as_json: Json = False
) -> None:
    """Show what a pack says about itself."""
    path = find_pack(pack)
    manifest = read_manifest(path)
    name = path.stem  # the name it goes by here
    if as_json:
        facts = {**asdict(manifest), "name": name, "path": str(path)}
        print(json.dumps(facts, indent=1, ensure_ascii=False))
        return
    rows = [(key, value) for key, value in summary(name, manifest, path).items() if value]
    for key, values in (("train", manifest.train), ("metrics", manifest.metrics)):
        rows += [(f"{key}.{name}", value) for name, value in values.items()]
    screen.show_table(("", ""), [(key, as_text(value)) for key, value in rows])


@packs.command()
def install(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Pack files.")],
    name: Annotated[str, typer.Option("--as", help="Install one pack under another name.")] = "",
    replace: Replace = False,
    trunk: TrunkFile = None,
    force: Force = False,
) -> None:
    """Check pack files and copy them to your shelf."""
    if name and len(files) > 1:
        raise UsageError(f"--as {name} is one name for {len(files)} packs; install them one by one")

    from stylepack.packs.pack import check_trunk, load_pack
    from stylepack.packs.shelf import BUNDLED_TRUNK
    from stylepack.packs.trunkfile import load_trunk

    network, digest = load_trunk(trunk or BUNDLED_TRUNK)
    for file in files:
        manifest = load_pack(file, network.config).manifest
        if manifest.trunk_sha256 or not force:
            check_trunk(manifest, digest, f"'{file}'")
    for file in files:
        shelved = install_pack(file, name or None, replace)
        screen.say(f"installed '{shelved.name}' as {shelved.path}")


@packs.command()
def remove(names: Annotated[list[str], typer.Argument(metavar="NAME", help="Packs.")]) -> None:
    """Remove packs that you installed."""
    for name in names:
        screen.say(f"removed {remove_pack(name)}")


def summary(name: str, manifest: Manifest, path: Path) -> dict[str, Any]:
    """The short facts of a pack, as `list` and `info` show them."""
    return {
        "name": name,
        "title": manifest.title,
        "artist": manifest.style_image.get("artist", ""),
        "year": manifest.style_image.get("year", ""),
        "description": manifest.description,
        "author": manifest.author,
        "date": manifest.date,
        "license": manifest.license,
        "merged_from": manifest.merged_from,
        "trunk": manifest.trunk_sha256,
        "sha256": manifest.sha256,
        "bytes": path.stat().st_size,
        "path": str(path),
    }


def as_text(value: Any) -> str:
    """A metadata value on one line."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
