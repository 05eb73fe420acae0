"""Decoding at a reduced size, for JPEG and JPEG 2000."""

from PIL import Image, ImageFile

DRAFTS = (8, 4, 2, 1)  # divisors that JPEG can be decoded with
# JPEG 2000 codestream (ISO/IEC 15444-1, annex A): its first markers, the marker with the number of
# levels and that number's offset after the marker's length, and the marker that ends the header.
CODESTREAM, CODING, LEVELS, TILES = b"\xff\x4f\xff\x51", 0x52, 5, 0x90
TILE_SIZE = 24  # offset in the codestream of a tile's width and height
HEADER = 1 << 16  # bytes that are searched


def whole_factor(size: tuple[int, int], short_side: int, long_side: int) -> int:
    """The largest integer divisor that leaves at least the given sides; 1 if none is given."""
    if short_side:
        return max(1, min(size) // short_side)
    return max(1, max(size) // long_side) if long_side else 1


def drafted_size(image: Image.Image, factor: int) -> tuple[int, int]:
    """Let the decoder divide as much as it can; return the (width, height) that it decodes."""
    if image.format == "JPEG2000":
        return _reduce_resolution(image, factor.bit_length() - 1)
    by = next(n for n in DRAFTS if n <= factor)
    if by > 1:
        image.draft(image.mode, (max(1, image.width // by), max(1, image.height // by)))
    return image.size


def _reduce_resolution(image: Image.Image, most: int) -> tuple[int, int]:
    """Skip up to `most` levels of JPEG 2000, each of which halves the picture, rounding up.

    Pillow rounds to the nearest size, and fails if that differs.
    """
    for levels in range(min(most, _levels(image)) if most else 0, 0, -1):
        half, size = 1 << (levels - 1), 1 << levels
        width, height = (-(-side // size) for side in image.size)
        if ((image.width + half) // size, (image.height + half) // size) == (width, height):
            setattr(image, "reduce", levels)  # noqa: B010 - a method in other image classes
            return width, height
    return image.size


def _levels(image: Image.Image) -> int:
    """Number of levels of a JPEG 2000; 0 if unknown."""
    head, at = _codestream(image)
    at += 2
    while 2 <= at < len(head) - 4 - LEVELS and head[at] == 0xFF and head[at + 1] != TILES:
        if head[at + 1] == CODING:
            return head[at + 4 + LEVELS]
        at += 2 + int.from_bytes(head[at + 2 : at + 4])
    return 0


def tile_pixels(image: Image.Image) -> int:
    """Pixels of the largest tile of a JPEG 2000; tiles are decoded one at a time."""
    head, at = _codestream(image)
    at += TILE_SIZE
    size = head[at : at + 8]
    if at < TILE_SIZE or len(size) < 8:
        return image.width * image.height
    width, height = int.from_bytes(size[:4]), int.from_bytes(size[4:])
    return min(width, image.width) * min(height, image.height)


def _codestream(image: Image.Image) -> tuple[bytes, int]:
    """(first bytes of a JPEG 2000 file, offset of its codestream or -1)."""
    file = image.fp if isinstance(image, ImageFile.ImageFile) else None
    if file is None:
        return b"", -1
    before = file.tell()
    file.seek(0)
    head = file.read(HEADER)
    file.seek(before)
    return head, head.find(CODESTREAM)
