"""Contact sheets: captioned pictures in a grid."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont, ImageOps

CAPTION = 20  # pixels of height under each picture
MARGIN = 6
INK, PAPER = "#202020", "#ffffff"


def contact_sheet(
    rows: Sequence[Sequence[Image.Image]], captions: Sequence[Sequence[str]], cell: int
) -> Image.Image:
    """Lay out pictures in rows, each fitted into a square of `cell` pixels over its caption."""
    fitted = [[ImageOps.contain(picture, (cell, cell)) for picture in row] for row in rows]
    heights = [max(picture.height for picture in row) for row in fitted]
    width = MARGIN + max(map(len, rows)) * (cell + MARGIN)
    height = MARGIN + sum(heights) + len(rows) * (CAPTION + MARGIN)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    top = MARGIN
    for row, words, tallest in zip(fitted, captions, heights, strict=True):
        for column, (picture, caption) in enumerate(zip(row, words, strict=True)):
            middle = MARGIN + column * (cell + MARGIN) + cell // 2
            sheet.paste(picture, (middle - picture.width // 2, top + tallest - picture.height))
            below = (middle, top + tallest + CAPTION // 2)
            draw.text(below, caption, fill=INK, font=font, anchor="mm")
        top += tallest + CAPTION + MARGIN
    return sheet
