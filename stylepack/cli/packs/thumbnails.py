"""Packs' example pictures on terminals that show images: one sheet, in the terminal's protocol."""

from __future__ import annotations

import base64
import binascii
import io
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from stylepack.errors import PhotoError
from stylepack.packs.manifest import Manifest

if TYPE_CHECKING:
    from PIL.Image import Image

CELL = 96  # pixels a side
LETTER = 9  # assumed width of a terminal's column in pixels, at least
MOST = 60  # packs that are shown unless all are asked for
LARGEST = 1 << 20  # pixels of a picture that is decoded
URI_STARTS = ("data:image/jpeg;base64,", "data:image/png;base64,")
CHUNK = 4096  # bytes of base64 in one of kitty's escape sequences
SIXEL_ROWS = 6


def protocol(environment: Mapping[str, str]) -> str:
    """The terminal's image protocol by its environment: `kitty`, `iterm2`, `sixel`, or empty."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    if "TMUX" in environment or term.startswith(("tmux", "screen")):
        return ""  # they do not pass images on by default
    if term == "xterm-kitty" or "KITTY_WINDOW_ID" in environment or program == "ghostty":
        return "kitty"
    if program in ("iTerm.app", "WezTerm") or environment.get("LC_TERMINAL") == "iTerm2":
        return "iterm2"
    if term.startswith(("foot", "mlterm")) or "sixel" in term or program == "mintty":
        return "sixel"
    return ""


def show_thumbnails(packs: Sequence[tuple[str, Manifest]], kind: str, columns: int) -> None:
    """Print a sheet of thumbnails to a terminal.

    Args:
        packs: references and manifests.
        kind: from `protocol`.
        columns: the terminal's width in columns.
    """
    from stylepack.images.contact_sheet import MARGIN, contact_sheet

    pictures = [(name, decoded(manifest.thumbnail)) for name, manifest in packs]
    shown = [(name, picture) for name, picture in pictures if picture is not None]
    if not shown:
        return
    across = max(1, columns * LETTER // (CELL + MARGIN))
    rows = [shown[start : start + across] for start in range(0, len(shown), across)]
    sheet = contact_sheet(
        [[picture for _, picture in row] for row in rows],
        [[name for name, _ in row] for row in rows],
        CELL,
    )
    encoders = {"kitty": in_kitty, "iterm2": in_iterm2, "sixel": in_sixel}
    sys.stdout.write(encoders[kind](sheet) + "\n")
    sys.stdout.flush()


def decoded(uri: str) -> Image | None:
    """An untrusted data URI as a picture; None unless it is a small JPEG or PNG."""
    from stylepack.images.decoding import as_rgb
    from stylepack.images.formats import open_image

    start = next((start for start in URI_STARTS if uri.startswith(start)), None)
    if start is None:
        return None
    try:
        content = base64.b64decode(uri[len(start) :], validate=True)
        with open_image(io.BytesIO(content), ("JPEG", "PNG"), LARGEST) as image:
            return as_rgb(image)
    except (binascii.Error, PhotoError):
        return None


def in_kitty(picture: Image) -> str:
    """Kitty's protocol: PNG in chunks of base64.

    https://sw.kovidgoyal.net/kitty/graphics-protocol
    """
    data = _png(picture)
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    parts = []
    for index, chunk in enumerate(chunks):
        first = "a=T,f=100," if index == 0 else ""
        parts.append(f"\x1b_G{first}m={int(index + 1 < len(chunks))};{chunk}\x1b\\")
    return "".join(parts)


def in_iterm2(picture: Image) -> str:
    """iTerm2's protocol: one PNG in base64.

    https://iterm2.com/documentation-images.html
    """
    return f"\x1b]1337;File=inline=1;width={picture.width}px:{_png(picture)}\x07"


def in_sixel(picture: Image) -> str:
    """DEC's sixels: bands of six rows, each with one line per colour.

    VT330/VT340 Programmer Reference Manual, chapter 14.
    """
    import numpy as np

    indexed = picture.quantize(64)
    pixels = np.asarray(indexed)
    palette = np.asarray(indexed.getpalette(), np.int32).reshape(-1, 3) * 100 // 255
    parts = [f'\x1bP0;1q"1;1;{picture.width};{picture.height}']
    parts += [f"#{number};2;{r};{g};{b}" for number, (r, g, b) in enumerate(palette.tolist())]
    for top in range(0, picture.height, SIXEL_ROWS):
        band = pixels[top : top + SIXEL_ROWS]
        bits = 1 << np.arange(len(band))[:, None]
        lines = [
            f"#{colour}{_repeated(((band == colour) * bits).sum(0).tolist())}"
            for colour in np.unique(band).tolist()
        ]
        parts.append("$".join(lines) + "-")
    return "".join(parts) + "\x1b\\"


def _repeated(column_bits: Sequence[int]) -> str:
    """Run-length encoded sixels: `!12?`."""
    from itertools import groupby

    runs = [(chr(63 + bits), len(list(run))) for bits, run in groupby(column_bits)]
    return "".join(f"!{count}{sixel}" if count > 3 else sixel * count for sixel, count in runs)


def _png(picture: Image) -> str:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
