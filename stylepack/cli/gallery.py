"""`stylepack gallery`: every installed pack on a few photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli import console
from stylepack.cli.completion import complete_pack
from stylepack.cli.options import OUT, Device, Force, Precision, TrunkFile, arg, opt
from stylepack.errors import PhotoError, UsageError, printable
from stylepack.files import check_target, write_text
from stylepack.library.resolve import resolve
from stylepack.library.shelf import shelf
from stylepack.packs.mix import Mix

MOST_PIXELS = 250_000_000  # of a sheet, which is assembled in memory


def gallery(
    photos: Annotated[list[Path], arg("PHOTO", "Photographs, or folders of them.")],
    output: Annotated[
        Path | None,
        opt(
            "FILE",
            "The contact sheet, a .png (default: gallery.png, or none with --html).",
            names=OUT,
        ),
    ] = None,
    html: Annotated[
        Path | None, opt("FILE", "A web page with sliders to compare, a .html.")
    ] = None,
    size: Annotated[int, opt("N", "Paint at this long side.", min=16)] = 512,
    cell: Annotated[int, opt("N", "Size of a picture on the sheet.", min=16, max=2048)] = 256,
    columns: Annotated[
        int | None, opt("N", "Pictures in a row (default: even rows of at most 6).", min=1)
    ] = None,
    style: Annotated[
        list[str] | None,
        opt(
            "PACK",
            "A pack, by name or file; repeatable (default: all installed).",
            autocompletion=complete_pack,
        ),
    ] = None,
    keep_colors: Annotated[
        bool, typer.Option("--keep-colors", "--keep-colours", help="Keep the photograph's colours.")
    ] = False,
    trunk: TrunkFile = None,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
) -> None:
    """Show every installed pack on your photographs, as a contact sheet or a web page.

    Photographs of a folder that cannot be read are named and left out.

    Examples:
      stylepack gallery photo.jpg
      stylepack gallery photos/ --html gallery.html --style starry --style wave
    """
    sheet_file = Path("gallery.png") if output is None and html is None else output
    sources = find_photos(photos, sheet_file)
    check_output(sheet_file, ".png", "-o", sources)
    check_output(html, ".html", "--html", sources)
    selection = resolve(style or (), trunk)

    from stylepack.images.contact_sheet import save_png
    from stylepack.painting.gallery import (
        GalleryRow,
        Picture,
        gallery_sheet,
        labels_of,
        load_each,
        paint_each,
        read_small,
        warnings_of,
    )

    packs = selection.load(force)
    labelled = labels_of(packs, named=bool(style))
    for message in warnings_of(packs):
        console.warn(message)
    labels = list(labelled.values())
    pictures = len(sources) * (1 + len(labels))
    if sheet_file is not None and pictures > (most := MOST_PIXELS // (cell * cell)):
        raise UsageError(
            f"{pictures} pictures are too many: at {cell} pixels there can be {most}; use a "
            "smaller --cell, fewer photographs, or --style"
        )
    mixes = [Mix(((reference, 1.0),)) for reference in labelled]
    stylizers = load_each(packs, mixes, device, precision)
    read = {}
    for source in sources:
        try:
            read[source] = read_small(source, size)
        except PhotoError as error:
            if source in photos:
                raise
            console.fail(str(error))
    if not read:
        raise typer.Exit(1)
    walls = []
    with console.meter("painting", len(read) * len(stylizers)) as meter:
        for source, photo in read.items():
            wall = GalleryRow(printable(source.name), Picture.of(photo, cell), [])
            for painting in paint_each(
                stylizers, photo, cell, keep_colors=keep_colors, advance=meter.share
            ):
                meter.advance(f"{wall.name}: {labels[len(wall.paintings)].name}")
                wall.paintings.append(painting)
            walls.append(wall)
    if sheet_file is not None:
        save_png(gallery_sheet(walls, labels, cell, columns), sheet_file)
        console.result(sheet_file)
    if html is not None:
        from stylepack.painting.html import gallery_page

        write_text(html, gallery_page(walls, labels))
        console.result(html)
    if len(read) < len(sources):
        raise typer.Exit(1)


def find_photos(photos: Sequence[Path], sheet: Path | None = None) -> list[Path]:
    """The named image files and the photographs in named folders, each once.

    Args:
        photos: files and folders.  Paintings in folders, by their names, are left out with a
            warning.
        sheet: the file to be written; it is left out if a folder contains it.

    Raises:
        UsageError: no such file, or no photograph in a folder.
    """
    from stylepack.images.formats import find_images
    from stylepack.painting.jobs import Paintings

    found: list[Path] = []
    paintings = Paintings("", shelf)
    for photo in photos:
        if not photo.exists():
            raise UsageError(f"no such file or folder: {photo}; give a photograph or a folder")
        if photo.is_dir():
            inside = [file for file in find_images(photo, sheet) if file not in paintings]
            if not inside:
                raise UsageError(f"{photo} has only paintings; name the files to show")
            found += inside
        else:
            found.append(photo)
    paintings.warn()
    return list(dict.fromkeys(found))


def check_output(path: Path | None, suffix: str, option: str, sources: Sequence[Path]) -> None:
    """Refuse a wrong output file before anything is painted.

    Raises:
        UsageError: it has another suffix, its folder is missing, or it is one of the photographs.
    """
    if path is None:
        return
    if path.suffix.lower() != suffix:
        raise UsageError(f"{option} is '{path}'; name it like {path.stem or 'gallery'}{suffix}")
    check_target(path, option)
    if path.resolve() in [source.resolve() for source in sources]:
        raise UsageError(f"{option} {path} is one of the photographs; choose another file")
