"""Decoding of any image that Pillow opens, to upright 8-bit sRGB.

Images are converted in strips, so that only the decoded picture and the result are in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageColor, ImageFile

from stylepack.errors import UsageError
from stylepack.images.budget import (
    BITS,
    COMPRESSION,
    STRIP,
    UNCOMPRESSED,
    bytes_needed,
    room,
    tiff_tags,
)
from stylepack.images.color_profile import is_writable, to_srgb
from stylepack.images.declared import Declared, declared
from stylepack.images.formats import allowing, quietly
from stylepack.images.frames import first_frame, strip_of
from stylepack.images.reduction import drafted_size, whole_factor

ORIENTATION = 0x0112  # EXIF 3.0
# For each orientation, the view of an upright (H, W, ...) array in the order of the file.
AS_STORED: dict[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: np.rot90(upright, -1),
}
SIDEWAYS = (5, 6, 7, 8)
# TIFF 6.0
SUBFILE_TYPE, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 254, 262, 284, 339
REDUCED, WHITE_IS_ZERO, SEPARATE, SIGNED = 1, 0, 2, 2
WHOLE_COLOURS = (2, 5)  # RGB and CMYK
WHITES = (1, 255, 65_535)  # possible white levels of greys without a declared range
CHECKED = 1 << 26  # pixels, below Pillow's warning limit
OVERSHOOT = 2  # multiple of white that floats may reach
Bytes = NDArray[np.uint8]
Strips = Iterator[tuple[int, Image.Image]]


@dataclass(frozen=True)
class Decoded:
    """A decoded picture: `rgb` (H, W, 3) sRGB, `alpha` (H, W) or None if all is opaque.

    `icc`: the profile to save with, or None.  `full`: (width, height) of the upright picture in the
    file, which may be larger.
    """

    rgb: Bytes
    alpha: Bytes | None
    icc: bytes | None
    full: tuple[int, int]


def decode(
    image: Image.Image,
    *,
    background: str = "",
    short_side: int = 0,
    long_side: int = 0,
    managed: bool = True,
    consume: bool = False,
) -> Decoded:
    """The pixels of an image in any of Pillow's modes, oriented and in sRGB by its ICC profile.

    Args:
        image: just opened, or made; JPEG and JPEG 2000 are decoded no larger than needed.
        background: a colour to lay transparent pictures on; empty keeps transparency.
        short_side, long_side: the fewest pixels of that side after reduction by a whole number; 0
            for no reduction.
        managed: convert colours to sRGB; else they are left as they are.
        consume: the image is not used again, so its decoder's memory can be freed.

    Raises:
        UsageError: no such colour.
        MemoryError: there is not enough memory, or it needs more than `MOST_MEMORY`.
        NotImplementedError: greys without a known white level, signed bytes, high dynamic range, a
            raw's preview, or separate planes that Pillow mixes up.
    """
    if background:
        colour(background)
    _check_tiff(image)
    _correct_transparency(image)
    icc = (image.info.get("icc_profile") or b"") if managed else b""
    other = declared(image) if managed and not icc else None
    full = image.size
    size = drafted_size(image, whole_factor(full, short_side, long_side))
    drafted = size != full
    factor = whole_factor(size, short_side, long_side)
    with room(bytes_needed(image, size, full, factor)):
        frame = first_frame(image) if consume else None
        if frame is None:
            _load(image)
        as_stored, sideways = _orientation(image)
        width, height = -(-image.width // factor), -(-image.height // factor)
        shape = (width, height) if sideways else (height, width)
        rgb = np.empty((*shape, 3), np.uint8)
        alpha = None
        if image.has_transparency_data and not background:
            alpha = np.full(shape, 255, np.uint8)
        alpha_view = None if alpha is None else as_stored(alpha)
        strips = _srgb(image, _strips(image, factor, frame), icc, other)
        _fill(strips, factor, background, as_stored(rgb), alpha_view)
    if alpha is not None and alpha.min(initial=255) == 255:
        alpha = None
    full = full if drafted else image.size  # Pillow rotates a TIFF when it is loaded
    return Decoded(rgb, alpha, _kept(icc, image), full[::-1] if sideways else full)


def _load(image: Image.Image) -> None:
    """Load an image; Pillow checks the size of large TIFFs again, by its own limit."""
    with allowing() if image.width * image.height > CHECKED else nullcontext():
        image.load()


def as_rgb(image: Image.Image, short_side: int = 0) -> Image.Image:
    """An image that was just opened as upright RGB in sRGB, on white.

    `short_side` as in `decode`; the image cannot be used again.
    """
    decoded = decode(image, background="white", short_side=short_side, consume=True)
    return Image.fromarray(decoded.rgb)


def colour(name: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of a colour in Pillow's notation (`white`, `#204060`).

    Raises:
        UsageError: no such colour.
    """
    try:
        red, green, blue = bytes(ImageColor.getrgb(name)[:3])  # 0..255 each
    except ValueError:
        raise UsageError(
            f"no colour '{name}'; give a name like white or a value like #204060"
        ) from None
    return red, green, blue


def _check_tiff(image: Image.Image) -> None:
    """Refuse a TIFF that Pillow reads wrong: previews, signed bytes, some kinds of planes."""
    tags = tiff_tags(image)
    if tags.get(SUBFILE_TYPE, 0) == REDUCED:
        raise NotImplementedError("its first picture is a preview; develop or export it as .jpg")
    if image.mode == "L" and SIGNED in np.ravel(tags.get(SAMPLE_FORMAT, 1)):
        raise NotImplementedError("its greys are signed; save it with unsigned values")
    if tags.get(PLANES) == SEPARATE and len(image.getbands()) > 1:
        deep = max(np.ravel(tags.get(BITS, 1))) > 8
        raw = tags.get(COMPRESSION, UNCOMPRESSED) == UNCOMPRESSED
        if tags.get(PHOTOMETRIC) not in WHOLE_COLOURS or (deep and raw):
            raise NotImplementedError("its colours are in separate planes; save it interleaved")


def _orientation(image: Image.Image) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], bool]:
    """(view of an upright array in the order of the file, whether width and height are swapped).

    The image must be loaded, since reading a PNG's EXIF decodes it, and errors in its pixels would
    be taken for errors in the EXIF.  `ImageOps.exif_transpose` fails on slightly damaged EXIF.
    """
    value = None
    with suppress(Exception), quietly():
        value = image.getexif().get(ORIENTATION)
    if isinstance(value, int) and value in AS_STORED:
        return AS_STORED[value], value in SIDEWAYS
    return lambda upright: upright, False


def _srgb(
    image: Image.Image, strips: Strips, icc: bytes, other: Declared | None
) -> Iterator[tuple[int, Image.Image, Image.Image | None]]:
    """Yield (first row, sRGB, alpha or None) of strips, by an ICC profile or `other` colours."""
    lightness = _Lightness(image) if image.mode[0] in "IF" else None
    for top, strip in strips:
        opaque, band = split_alpha(lightness(strip) if lightness else strip)
        mode, transform = to_srgb(icc, opaque.mode)
        colours = opaque if opaque.mode == mode else opaque.convert(mode)
        if transform:
            colours = ImageCms.applyTransform(colours, transform) or colours
        elif other:
            colours = other.to_srgb(colours)
        yield top, colours, band


def _fill(
    strips: Iterator[tuple[int, Image.Image, Image.Image | None]],
    factor: int,
    background: str,
    rgb: Bytes,
    alpha: Bytes | None,
) -> None:
    """Write strips to `rgb` and `alpha`, reduced and on the background."""
    for top, colours, band in strips:
        if band and background:
            colours = Image.composite(colours, Image.new("RGB", colours.size, background), band)
        rows = slice(top // factor, -(-(top + colours.height) // factor))
        rgb[rows] = _reduced(colours, factor)
        if band and alpha is not None:
            alpha[rows] = _reduced(band, factor)


def _kept(icc: bytes, image: Image.Image) -> bytes | None:
    """The profile to save with: that of an RGB picture, if it can be written."""
    grey = image.mode in ("1", "L", "LA", "La") or image.mode[0] in "IF"
    whole = image.mode if image.mode in ("CMYK", "LAB") else "RGB"
    mode, transform = to_srgb(icc, "L" if grey else whole)
    return icc if transform and mode == "RGB" and is_writable(icc) else None


def _strips(image: Image.Image, factor: int = 1, frame: bytes | None = None) -> Strips:
    """Yield (first row, strip) from top to bottom, with a multiple of `factor` rows each.

    The rows are those of a loaded image, or of its `frame`.
    """
    rows = factor * max(1, STRIP // max(1, image.width * factor))
    for top in range(0, image.height, rows):
        bottom = min(top + rows, image.height)
        if frame is None:
            yield top, image.crop((0, top, image.width, bottom))
        else:
            yield top, strip_of(image, frame, top, bottom)


def _reduced(strip: Image.Image, factor: int) -> Bytes:
    return np.asarray(strip.reduce(factor) if factor > 1 else strip)


def _correct_transparency(image: Image.Image) -> None:
    """Convert a PNG's transparent colour from the file's bit depth to 8 bits."""
    key = image.info.get("transparency")
    if image.format != "PNG" or key is None or not isinstance(image, ImageFile.ImageFile):
        return
    kind = image.tile[0].args if image.tile else ""
    if image.mode == "1":
        image.info["transparency"] = 255 if key else 0
    elif kind in ("L;2", "L;4"):
        most = 3 if kind == "L;2" else 15
        image.info["transparency"] = (key & most) * 255 // most
    elif kind == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in key)


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """(image in RGB, CMYK, LAB or L, its alpha in L or None) of an image in an 8-bit mode."""
    if image.mode in ("LA", "La") or (image.mode == "L" and image.has_transparency_data):
        image = image.convert("LA")
        return image.getchannel(0), image.getchannel(1)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    if image.mode in ("RGB", "CMYK", "LAB", "L"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


class _Lightness:
    """Converts strips of an integer or float image to 8 bits: L, or LA with a transparent value.

    White is the largest value of the bit depth; for floats the first of `WHITES` that no value
    exceeds by far, and for 32-bit integers the first that no value exceeds, if there is one.
    """

    def __init__(self, image: Image.Image) -> None:
        tags = tiff_tags(image)
        self.bits = int(np.ravel(tags.get(BITS, 16))[0])
        self.signed = SIGNED in np.ravel(tags.get(SAMPLE_FORMAT, 1))
        self.inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
        self.transparent = image.info.get("transparency")
        self.white = float(2 ** (self.bits - self.signed) - 1)
        if image.mode == "F":
            most = self._most(image)
            near = [white for white in WHITES if most <= OVERSHOOT * white]
            if not near:
                raise NotImplementedError(f"its greys go up to {most:g}; scale them to 0..1")
            self.white = near[0]
        elif self.bits == 32:
            most = self._most(image)
            self.white = next((white for white in WHITES if most <= white), self.white)

    def __call__(self, strip: Image.Image) -> Image.Image:
        values = self._values(strip)
        scaled = np.nan_to_num(values, nan=0, posinf=self.white, neginf=0).clip(0, self.white)
        scaled = (self.white - scaled if self.inverted else scaled) * (255 / self.white) + 0.5
        grey = Image.fromarray(scaled.astype(np.uint8))
        if not isinstance(self.transparent, int):
            return grey
        opaque = np.where(values == self.transparent, 0, 255).astype(np.uint8)
        return Image.merge("LA", (grey, Image.fromarray(opaque)))

    def _values(self, strip: Image.Image) -> NDArray[Any]:
        values = np.asarray(strip)
        unsigned = strip.mode == "I" and self.bits == 32 and not self.signed
        return values.view(np.uint32) if unsigned else values

    def _most(self, image: Image.Image) -> float:
        """The largest finite value."""
        strips = (self._values(strip) for _, strip in _strips(image))
        return max(float(values[np.isfinite(values)].max(initial=0)) for values in strips)
