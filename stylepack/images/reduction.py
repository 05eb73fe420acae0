"""Decoding no larger than needed, where a format can: JPEG and JPEG 2000."""

from PIL import Image, ImageFile

DRAFTS = (8, 4, 2, 1)  # by which JPEG can be divided while it is decoded
# Markers of a JPEG 2000 codestream (ISO/IEC 15444-1, annex A): its start, the one with its levels,
# of which that is the eighth byte after the marker's length, and the last of its header.
CODESTREAM, CODING, LEVELS, TILES = b"\xff\x4f\xff\x51", 0x52, 5, 0x90
HEADER = 1 << 16  # bytes in which they are looked for


def whole_factor(size: tuple[int, int], short_side: int, long_side: int) -> int:
    """The whole number by which a picture of this size may be divided."""
    if short_side:
        return max(1, min(size) // short_side)
    return max(1, max(size) // long_side) if long_side else 1


def drafted_size(image: Image.Image, factor: int) -> tuple[int, int]:
    """Let the decoder do what it can of a division, in a fraction of the time.

    Returns (width, height) of what it will give.
    """
    if image.format == "JPEG2000":
        return _reduce_resolution(image, factor.bit_length() - 1)
    by = next(n for n in DRAFTS if n <= factor)
    if by > 1:
        image.draft(image.mode, (max(1, image.width // by), max(1, image.height // by)))
    return image.size


def _reduce_resolution(image: Image.Image, most: int) -> tuple[int, int]:
    """Leave out up to `most` levels of JPEG 2000, each of which halves the picture, rounding up.

    Pillow rounds to the nearest, and fails where that is another size.
    """
    for levels in range(min(most, _levels(image)) if most else 0, 0, -1):
        half, size = 1 << (levels - 1), 1 << levels
        width, height = (-(-side // size) for side in image.size)
        if ((image.width + half) // size, (image.height + half) // size) == (width, height):
            setattr(image, "reduce", levels)  # noqa: B010 - of other images it is a method
            return width, height
    return image.size


def _levels(image: Image.Image) -> int:
    """How often a JPEG 2000 can be halved; 0 where its header does not say."""
    file = image.fp if isinstance(image, ImageFile.ImageFile) else None
    if file is None:
        return 0
    before = file.tell()
    file.seek(0)
    head = file.read(HEADER)
    file.seek(before)
    at = head.find(CODESTREAM) + 2
    while 2 <= at < len(head) - 4 - LEVELS and head[at] == 0xFF and head[at + 1] != TILES:
        if head[at + 1] == CODING:
            return head[at + 4 + LEVELS]
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return 0
