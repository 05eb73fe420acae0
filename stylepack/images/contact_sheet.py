"""Contact sheets: captioned pictures in a grid."""

import unicodedata
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from stylepack.files import replacing

CAPTION = 20  # pixels of height under each picture for the first line
LINE = 15  # and for every further line
MARGIN = 6
INK, PAPER = "#202020", "#ffffff"
FONT_SIZES = (13, 12, 11)
FEW_LINES, MOST_LINES = 2, 4  # per caption; a smaller font is preferred to more than a few
IN_FONT = frozenset("«»“”…\N{NO-BREAK SPACE}")  # glyphs of Pillow's font besides ASCII
SPELLINGS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"\u2018": "'", "\u2019": "'", "\u2013": "-", "\u2014": "-", "\u0131": "i"}
)
UNKNOWN = "?"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


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


def fit_captions(captions: Iterable[str], width: int) -> tuple[Font, dict[str, list[str]]]:
    """(font, caption -> its lines), with lines of at most `width` pixels."""
    texts = {caption: spell(caption) for caption in captions}
    for most, size in product((FEW_LINES, MOST_LINES), FONT_SIZES):
        font = ImageFont.load_default(size)
        wrapped = {caption: _wrap(text, font, width) for caption, text in texts.items()}
        if all(
            len(lines) <= most and all(font.getlength(line) <= width for line in lines)
            for lines in wrapped.values()
        ):
            break
    return font, {caption: _cut(lines, font, width) for caption, lines in wrapped.items()}


def spell(text: str) -> str:
    """`text` in the glyphs of Pillow's font: accents are dropped, other characters become '?'."""
    return "".join(map(_spell_character, text.translate(SPELLINGS)))


def _spell_character(character: str) -> str:
    if character.isascii() or character in IN_FONT:
        return character
    if unicodedata.combining(character):
        return ""
    plain = unicodedata.normalize("NFKD", character)
    return "".join(c for c in plain if c.isascii()) or UNKNOWN


def _wrap(text: str, font: Font, width: int) -> list[str]:
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


def _cut(lines: list[str], font: Font, width: int) -> list[str]:
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
