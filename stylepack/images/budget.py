"""Memory for decoding a picture, estimated in advance.

Numbers are peaks measured with Pillow 13 on pictures of 9 to 24 megapixels.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
from PIL import Image

from stylepack.images.formats import MOST_PIXELS
from stylepack.images.reduction import tile_pixels
from stylepack.memory import available_memory

STRIP = 1 << 20  # pixels that are converted at once
CONVERSION = 32 * STRIP  # bytes for converting a strip
MOST_MEMORY = 8 * MOST_PIXELS + CONVERSION  # bytes for one picture
SMALL, LARGE = 1 << 25, 1 << 28  # bytes: up to SMALL never refused, above LARGE one at a time
DECODERS = {"WEBP": 8, "AVIF": 13, "HEIF": 13}  # bytes per pixel besides the decoded picture
COEFFICIENT, COMPONENT = 2, 4  # bytes of a progressive JPEG's coefficient, a JPEG 2000's sample
# TIFF 6.0
BITS, COMPRESSION, ROWS_PER_STRIP, UNCOMPRESSED = 258, 259, 278, 1

_large = threading.Lock()


def tiff_tags(image: Image.Image) -> dict[int, Any]:
    """A TIFF's tags; empty for other formats."""
    return getattr(image, "tag_v2", {})


def bytes_needed(
    image: Image.Image, size: tuple[int, int], full: tuple[int, int], factor: int
) -> int:
    """Peak bytes of decoding: the decoded picture, plus the larger of decoder and result.

    Args:
        image: opened but not loaded.
        size: (width, height) from its decoder.
        full: (width, height) in the file.
        factor: divisor of the decoded picture's sides.
    """
    own = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    result = 4 if image.has_transparency_data else 3
    pixels, file_pixels, bands = size[0] * size[1], full[0] * full[1], len(image.getbands())
    if image.format == "JPEG2000":  # including its compressed bytes
        tile = min(1, tile_pixels(image) / file_pixels) * pixels
        decoder = int((COMPONENT * bands + own) * tile) + pixels + bands * (file_pixels - pixels)
    elif "progressive" in image.info:
        decoder = int(COEFFICIENT * _samples(image) * file_pixels)
    else:
        decoder = DECODERS.get(image.format or "", 0) * file_pixels + _strip_of_tiff(image)
    return own * pixels + max(decoder, result * pixels // factor**2) + CONVERSION


def _samples(image: Image.Image) -> float:
    """Samples per pixel of a JPEG, whose chroma may be subsampled."""
    layers = vars(image).get("layer") or [(0, 1, 1)] * len(image.getbands())
    across, down = zip(*(layer[1:3] for layer in layers), strict=True)
    held = sum(x * y for x, y in zip(across, down, strict=True))
    return float(held / max(1, max(across) * max(down)))


def _strip_of_tiff(image: Image.Image) -> int:
    """Bytes of a strip of a compressed TIFF, which is decoded in one piece."""
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
    """Reserve `needed` bytes; large pictures wait for one another.

    Raises:
        MemoryError: `needed` exceeds the free memory or the limit for one picture.
    """
    if needed > MOST_MEMORY:
        raise MemoryError(f"it takes {needed / 1e9:.1f} GB, the limit is {MOST_MEMORY / 1e9:g} GB")
    with _large if needed > LARGE else nullcontext():
        if needed > SMALL and needed > (free := available_memory()):
            raise MemoryError(f"it takes {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free")
        yield
