"""Pixels of a WebP or AVIF file without Pillow's extra copies."""

from PIL import Image


def first_frame(image: Image.Image) -> bytes | None:
    """The rows of a WebP or AVIF that was just opened; None for other formats.

    The decoder, which Pillow would keep beside two copies of the picture, is freed, and the image
    can no longer be loaded.
    """
    decoder = vars(image).get("_decoder")
    if image.format not in ("WEBP", "AVIF") or decoder is None:
        return None
    found = decoder.get_next() if image.format == "WEBP" else decoder.get_frame(0)
    vars(image)["_decoder"] = None
    rows: bytes = found[0]
    return rows


def strip_of(image: Image.Image, rows: bytes, top: int, bottom: int) -> Image.Image:
    """Rows `top` to `bottom` of an image, as an image."""
    stride, kind = len(rows) // image.height, vars(image).get("rawmode", image.mode)
    part = rows[top * stride : bottom * stride]
    return Image.frombytes(image.mode, (image.width, bottom - top), part, "raw", kind)
