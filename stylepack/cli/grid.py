"""`stylepack grid`: the mixes between two or four packs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from stylepack.cli import console
from stylepack.cli.completion import complete_mix
from stylepack.cli.gallery import MOST_PIXELS, check_output, find_photos
from stylepack.cli.options import OUT, Device, Force, Precision, TrunkFile, arg, opt
from stylepack.errors import UsageError
from stylepack.library.resolve import resolve
from stylepack.packs.mix import grid_mixes

if TYPE_CHECKING:
    from PIL.Image import Image


def grid(
    photo: Annotated[Path, arg("PHOTO", "A photograph.")],
    corners: Annotated[
        str,
        opt(
            "A,B[,C,D]",
            "Packs at the left and right, then those below them.",
            autocompletion=complete_mix,
        ),
    ],
    steps: Annotated[int, opt("N", "Pictures from corner to corner.", max=100)] = 5,
    output: Annotated[Path, opt("FILE", "The contact sheet, a .png.", names=OUT)] = Path(
        "grid.png"
    ),
    size: Annotated[int, opt("N", "Long side of each picture.", min=16, max=2048)] = 256,
    trunk: TrunkFile = None,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
) -> None:
    """Show how packs blend, as a row between two or a square between four.

    Examples:
      stylepack grid photo.jpg --corners starry,wave
      stylepack grid photo.jpg --corners starry,scream,wave,composition
    """
    most = MOST_PIXELS // (size * size)
    if steps ** (2 if corners.count(",") > 1 else 1) > most:
        raise UsageError(
            f"{steps} steps of {size} pixels make too large a sheet: it can have {most} pictures "
            "of that size; use a smaller --steps or --size"
        )
    names = [corner.strip() for corner in corners.split(",")]
    rows = grid_mixes(names, steps)
    selection = resolve(names, trunk)
    if photo.is_dir():
        raise UsageError(f"{photo} is a folder; a grid shows one photograph")
    check_output(output, ".png", "-o", find_photos([photo]))

    from stylepack.images.contact_sheet import contact_sheet, save_png
    from stylepack.painting.gallery import (
        load_each,
        mix_caption,
        paint_each,
        read_small,
    )

    mixes = [mix for row in rows for mix in row]
    small = read_small(photo, size)
    stylizers = load_each(selection.load(force), mixes, device, precision)
    pictures: list[Image] = []
    with console.meter("painting", len(mixes)) as meter:
        for picture in paint_each(stylizers, small, size, advance=meter.share):
            meter.advance(str(mixes[len(pictures)]))
            pictures.append(picture.small)
    sheet = contact_sheet(
        [pictures[start : start + steps] for start in range(0, len(pictures), steps)],
        [[mix_caption(mix) for mix in row] for row in rows],
        size,
    )
    save_png(sheet, output)
    console.result(output)
