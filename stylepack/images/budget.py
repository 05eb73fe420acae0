"""Memory that decoding one picture takes, estimated and refused before it is decoded.

The figures are peaks measured with Pillow 13 on pictures of 9 to 16 megapixels.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from PIL import Image

from stylepack.images.formats import MOST_PIXELS
from stylepack.memory import available_memory

STRIP = 1 << 20  # pixels that are converted at a time
CONVERSION = 32 * STRIP  # bytes that converting a strip takes at most
MOST_MEMORY = 8 * MOST_PIXELS + CONVERSION  # bytes that reading one picture may take
SMALL, LARGE = 1 << 25, 1 << 28  # bytes: always free, and taken by one picture at a time
DECODERS = {"WEBP": 14, "AVIF": 21, "HEIF": 13}  # bytes a pixel beside the decoded picture
COEFFICIENT, COMPONENT = 2, 4  # bytes: of a progressive JPEG, and of a number in JPEG 2000
# TIFF 6.0
BITS, COMPRESSION, ROWS_PER_STRIP, UNCOMPRESSED = 258, 259, 278, 1

_large = threading.Lock()


def tiff_tags(image: Image.Image) -> dict[int, Any]:
    """A TIFF's tags; of other formats none."""
    return getattr(image, "tag_v2", {})


def bytes_needed(
    image: Image.Image, size: tuple[int, int], full: tuple[int, int], factor: int
) -> int:
    """Memory that decoding takes: its picture's, and the decoder's before or the result's after.

    Args:
        image: opened and not loaded.
        size: (width, height) that its decoder gives.
        full: (width, height) of the file.
        factor: by which the decoded picture is divided.
    """
    own = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    result = 4 if image.has_transparency_data else 3
    pixels, file_pixels, bands = size[0] * size[1], full[0] * full[1], len(image.getbands())
    if image.format == "JPEG2000":  # its compressed bytes are held too
        decoder = (COMPONENT * bands + own + 1) * pixels + bands * (file_pixels - pixels)
    elif "progressive" in image.info:
        decoder = COEFFICIENT * bands * file_pixels
    else:
        decoder = DECODERS.get(image.format or "", 0) * file_pixels + _strip_of_tiff(image)
    return own * pixels + max(decoder, result * pixels // factor**2) + CONVERSION


def _strip_of_tiff(image: Image.Image) -> int:
    """Bytes of a compressed TIFF's strips, each of which is held whole."""
    tags = tiff_tags(image)
    if _first(tags.get(COMPRESSION, UNCOMPRESSED)) == UNCOMPRESSED:
        return 0
    rows = min(_first(tags.get(ROWS_PER_STRIP, image.height)), image.height)
    bits = max(8 * COMPONENT, len(image.getbands()) * _first(tags.get(BITS, 1)))
    return rows * image.width * bits // 8


def _first(value: object) -> int:
    return int(np.ravel(np.asarray(value))[0])


@contextmanager
def room(needed: int) -> Iterator[None]:
    """Room for a picture of so many bytes, which no other large one takes meanwhile.

    Raises:
        MemoryError: that is more than is free, or than pictures may take.
    """
    if needed > MOST_MEMORY:
        raise MemoryError(f"it takes {needed / 1e9:.1f} GB, and {MOST_MEMORY / 1e9:g} are the most")
    with _large if needed > LARGE else nullcontext():
        if needed > SMALL and needed > (free := available_memory()):
            raise MemoryError(f"it takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free")
        yield
