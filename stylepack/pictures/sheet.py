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
    columns = max(len(row) for row in rows)
    step_x, step_y = cell + MARGIN, cell + CAPTION + MARGIN
    sheet = Image.new("RGB", (columns * step_x + MARGIN, len(rows) * step_y + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    for y, (row, words) in enumerate(zip(rows, captions, strict=True)):
        for x, (picture, caption) in enumerate(zip(row, words, strict=True)):
            left, top = MARGIN + x * step_x, MARGIN + y * step_y
            fitted = ImageOps.pad(picture, (cell, cell), color=PAPER)
            sheet.paste(fitted, (left, top))
            draw.text(
                (left + cell // 2, top + cell + CAPTION // 2),
                caption,
                fill=INK,
                font=font,
                anchor="mm",
            )
    return sheet
