"""Contact sheets: captioned pictures in a grid."""

import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from stylepack.files import replacing

CAPTION = 20  # pixels of height under each picture for the first line
LINE = 15  # and for every further line
MARGIN = 6
INK, PAPER = "#202020", "#ffffff"
FONT_FILE = "mpl-data/fonts/ttf/DejaVuSans.ttf"  # in matplotlib: Latin, Greek, Cyrillic and more
FONT_SIZES = (12, 11, 10)
FEW_LINES, MOST_LINES = 2, 4  # per caption; a smaller font is preferred to more than a few
UNKNOWN = "?"
NO_CHARACTER = "\uffff"


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]], captions: Sequence[Sequence[str]], cell: int
) -> Image.Image:
    """Lay out pictures in rows, each fitted into a square of `cell` pixels above its caption.

    Captions wrap at spaces and newlines, not at no-break spaces.  All have the largest font size in
    which they fit; longer ones end in an ellipsis.
    """
    fitted = [[ImageOps.contain(picture, (cell, cell)) for picture in row] for row in rows]
    font, wrapped = fit_captions([caption for words in captions for caption in words], cell)
    heights = [max(picture.height for picture in row) for row in fitted]
    spaces = [CAPTION + LINE * (max(len(wrapped[c]) for c in words) - 1) for words in captions]
    width = MARGIN + max(map(len, rows)) * (cell + MARGIN)
    height = MARGIN + sum(heights) + sum(spaces) + len(rows) * MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for row, words, tallest, space in zip(fitted, captions, heights, spaces, strict=True):
        for column, (picture, caption) in enumerate(zip(row, words, strict=True)):
            middle = MARGIN + column * (cell + MARGIN) + cell // 2
            sheet.paste(picture, (middle - picture.width // 2, top + tallest - picture.height))
            for number, line in enumerate(wrapped[caption]):
                below = (middle, top + tallest + CAPTION // 2 + number * LINE)
                draw.text(below, line, fill=INK, font=font, anchor="mm")
        top += tallest + space + MARGIN
    return sheet


def save_png(picture: Image.Image, path: Path) -> None:
    """Write a PNG atomically.

    Raises:
        StylepackError: the file cannot be written.
    """
    with replacing(path) as temporary:
        picture.save(temporary, "PNG")


def fit_captions(
    captions: Iterable[str], width: int
) -> tuple[ImageFont.FreeTypeFont, dict[str, list[str]]]:
    """(font, caption -> its lines), with lines of at most `width` pixels."""
    texts = {caption: spell(caption) for caption in captions}
    for most, size in product((FEW_LINES, MOST_LINES), FONT_SIZES):
        font = _font(size)
        wrapped = {caption: _wrap(text, font, width) for caption, text in texts.items()}
        if all(
            len(lines) <= most and all(font.getlength(line) <= width for line in lines)
            for lines in wrapped.values()
        ):
            break
    return font, {caption: _cut(lines, font, width) for caption, lines in wrapped.items()}


def spell(text: str) -> str:
    """`text` with a '?' for every character that the font lacks."""
    composed = unicodedata.normalize("NFC", text)
    return "".join(c if c in " \n" or _has_glyph(c) else UNKNOWN for c in composed)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    matplotlib = find_spec("matplotlib")  # which need not be imported
    assert matplotlib is not None
    assert matplotlib.submodule_search_locations
    file = Path(matplotlib.submodule_search_locations[0], FONT_FILE)
    return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)


@cache
def _has_glyph(character: str) -> bool:
    font = _font(FONT_SIZES[0])
    return bytes(font.getmask(character)) != bytes(font.getmask(NO_CHARACTER))


def _wrap(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines = []
    for paragraph in text.split("\n"):
        line = ""
        for glued in paragraph.split(" "):
            word = glued.replace("\N{NO-BREAK SPACE}", " ")
            longer = f"{line} {word}" if line else word
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return lines


def _cut(lines: list[str], font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """The first lines, each cut to the width with an ellipsis."""
    kept = lines[:MOST_LINES]
    if len(lines) > MOST_LINES:
        kept[-1] += "…"
    for number, line in enumerate(kept):
        shorter = line
        while shorter and font.getlength(line) > width:
            shorter = shorter[:-1]
            line = f"{shorter.rstrip()}…"
        kept[number] = line
    return kept
