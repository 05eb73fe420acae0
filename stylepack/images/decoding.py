"""Decoding: whatever Pillow opens becomes upright sRGB of eight bits, for every command alike.

Beside the decoder's own picture only the result is held in memory: it is made strip by strip.
"""

import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageColor, ImageFile

from stylepack.errors import UsageError
from stylepack.images.formats import MOST_PIXELS, quietly
from stylepack.memory import available_memory

STRIP = 1 << 20  # pixels that are converted at a time
MOST_MEMORY = 8 * MOST_PIXELS  # bytes that reading one picture may take
SMALL, LARGE = 1 << 24, 1 << 28  # bytes: always free, and taken by one picture at a time
# Bytes a pixel that decoders take for themselves while they work; measured.
DECODERS = {"WEBP": 13, "AVIF": 21, "HEIF": 13, "JPEG2000": 34}
PROGRESSIVE = 6  # JPEG's
DRAFTS = (8, 4, 2, 1)  # by which JPEG can be divided while it is decoded

ORIENTATION = 0x0112  # EXIF 3.0
# From an upright (H, W, ...) array, for each value, the view of it that is as the file has it.
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
SUBFILE_TYPE, BITS, PHOTOMETRIC, SAMPLE_FORMAT = 254, 258, 262, 339
REDUCED, WHITE_IS_ZERO, SIGNED = 1, 0, 2
WHITES = (1, 255, 65_535)  # of greys whose file does not say how far they go
OVERSHOOT = 2  # times white, up to which floats go that are a little too bright

PROFILE_ERRORS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)

Bytes = NDArray[np.uint8]

_large = threading.Lock()


@dataclass(frozen=True)
class Decoded:
    """`rgb` is (H, W, 3) sRGB, `alpha` (H, W) or None where all is opaque.

    `icc` is the profile to go back to, None where there is none.  `full` is the upright picture's
    (width, height), of which this may be a reduction.
    """

    rgb: Bytes
    alpha: Bytes | None
    icc: bytes | None
    full: tuple[int, int]


def decode(
    image: Image.Image, *, background: str = "", short_side: int = 0, long_side: int = 0
) -> Decoded:
    """The pixels of an image in any of Pillow's modes, by its orientation and its ICC profile.

    Args:
        image: just opened, or made; JPEGs are then decoded no larger than they are needed.
        background: the colour that transparency is laid on; empty keeps it.
        short_side, long_side: pixels that the side keeps at least, if it has them: the picture is
            divided by a whole number.  Without either it is not.

    Raises:
        UsageError: no such colour.
        MemoryError: there is not enough memory, or more than `MOST_MEMORY` would be taken.
        NotImplementedError: greys of which none can be taken for white, or a raw's preview.
    """
    if background:
        colour(background)
    if _tags(image).get(SUBFILE_TYPE, 0) == REDUCED:
        raise NotImplementedError("its first picture is a preview; develop or export it as .jpg")
    _correct_transparency(image)
    full = image.size
    _draft(image, _factor(full, short_side, long_side))
    drafted = image.size != full
    factor = _factor(image.size, short_side, long_side)
    with _room(_bytes_needed(image, full, factor)):
        image.load()
        as_stored, sideways = _orientation(image)
        width, height = -(-image.width // factor), -(-image.height // factor)
        shape = (width, height) if sideways else (height, width)
        rgb = np.empty((*shape, 3), np.uint8)
        alpha = None
        if image.has_transparency_data and not background:
            alpha = np.full(shape, 255, np.uint8)
        place = None if alpha is None else as_stored(alpha)
        icc = _fill(image, factor, background, as_stored(rgb), place)
    if alpha is not None and alpha.min(initial=255) == 255:
        alpha = None
    full = full if drafted else image.size  # a TIFF is turned as it is loaded
    return Decoded(rgb, alpha, icc, full[::-1] if sideways else full)


def as_rgb(image: Image.Image, short_side: int = 0) -> Image.Image:
    """An image in any mode as upright RGB in sRGB, on white; `short_side` as in `decode`."""
    return Image.fromarray(decode(image, background="white", short_side=short_side).rgb)


def colour(name: str) -> tuple[int, int, int]:
    """Red, green and blue, 0..255, of a colour as Pillow names it (`white`, `#204060`).

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


def _factor(size: tuple[int, int], short_side: int, long_side: int) -> int:
    """The whole number by which a picture of this size may be divided."""
    if short_side:
        return max(1, min(size) // short_side)
    return max(1, max(size) // long_side) if long_side else 1


def _draft(image: Image.Image, factor: int) -> None:
    """Let JPEG's decoder do what it can of a division, in a fraction of the time."""
    by = next(n for n in DRAFTS if n <= factor)
    if by > 1:
        image.draft(image.mode, (max(1, image.width // by), max(1, image.height // by)))


def _bytes_needed(image: Image.Image, full: tuple[int, int], factor: int) -> int:
    """Memory that decoding takes: its picture's, and the decoder's before or the result's after."""
    own = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    result = 4 if image.has_transparency_data else 3
    other = PROGRESSIVE if "progressive" in image.info else 0
    decoder = DECODERS.get(image.format or "", other) * full[0] * full[1]
    pixels = image.width * image.height
    return own * pixels + max(decoder, result * pixels // factor**2)


@contextmanager
def _room(needed: int) -> Iterator[None]:
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


def _orientation(image: Image.Image) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], bool]:
    """How the file has the upright picture, and whether it has it on its side.

    Of a loaded image: for its EXIF a PNG is decoded, and what is wrong with its pixels would be
    taken for a fault of the EXIF.  `ImageOps.exif_transpose` fails at slightly damaged EXIF.
    """
    value = None
    with suppress(Exception), quietly():
        value = image.getexif().get(ORIENTATION)
    if isinstance(value, int) and value in AS_STORED:
        return AS_STORED[value], value in SIDEWAYS
    return lambda upright: upright, False


def _fill(
    image: Image.Image, factor: int, background: str, rgb: Bytes, alpha: Bytes | None
) -> bytes | None:
    """Convert a loaded image into (H, W, 3) and (H, W), as stored; the profile to go back to."""
    icc = image.info.get("icc_profile") or b""
    lightness = _Lightness(image) if image.mode[0] in "IF" else None
    mode, transform = "", None
    for top, strip in _strips(image, factor):
        opaque, band = split_alpha(lightness(strip) if lightness else strip)
        mode, transform = to_srgb(icc, opaque.mode)
        colours = opaque if opaque.mode == mode else opaque.convert(mode)
        if transform:
            colours = ImageCms.applyTransform(colours, transform) or colours
        if band and background:
            colours = Image.composite(colours, Image.new("RGB", strip.size, background), band)
        rows = slice(top // factor, -(-(top + strip.height) // factor))
        rgb[rows] = _reduced(colours, factor)
        if band and alpha is not None:
            alpha[rows] = _reduced(band, factor)
    return icc if transform and mode == "RGB" and leads_back(icc) else None


def _strips(image: Image.Image, factor: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """(Its first row, a strip) from above to below, each of a multiple of `factor` rows."""
    rows = factor * max(1, STRIP // max(1, image.width * factor))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _reduced(strip: Image.Image, factor: int) -> Bytes:
    return np.asarray(strip.reduce(factor) if factor > 1 else strip)


def _tags(image: Image.Image) -> dict[int, Any]:
    """A TIFF's tags."""
    return getattr(image, "tag_v2", {})


def _correct_transparency(image: Image.Image) -> None:
    """Bring a PNG's transparent colour, which Pillow leaves in the file's bits, to eight."""
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
    """A mode of eight bits as (RGB, CMYK, LAB or L, the alpha as L or None)."""
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
    """Strips of an image of integers or floats in eight bits: L, or LA with a transparent value.

    White is the most that the bits can hold.  Of floats it is the first of `WHITES` that none of
    them is far above, and of 32-bit integers the first that none is above, if there is such.
    """

    def __init__(self, image: Image.Image) -> None:
        tags = _tags(image)
        self.bits = int(np.ravel(tags.get(BITS, 16))[0])
        self.signed = SIGNED in np.ravel(tags.get(SAMPLE_FORMAT, 1))
        self.inverted = tags.get(PHOTOMETRIC) == WHITE_IS_ZERO
        self.transparent = image.info.get("transparency")
        self.white = float(2 ** (self.bits - self.signed) - 1)
        if image.mode == "F":
            most = self._most(image)
            near = [white for white in WHITES if most <= OVERSHOOT * white]
            if not near:
                raise NotImplementedError(f"its greys go up to {most:g}; bring them to 0..1")
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


@lru_cache(maxsize=8)
def to_srgb(icc: bytes, mode: str) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """(The mode to convert to first, the transform from there to sRGB) of RGB, CMYK, LAB or L.

    Without a profile, and with a damaged one or one of other colours, the transform is None.
    """
    try:
        if mode == "LAB":
            profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        elif icc:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            if mode == "L" and profile.profile.xcolor_space.strip() == "RGB":
                mode = "RGB"
        else:
            return "RGB", None
        srgb = ImageCms.createProfile("sRGB")
        return mode, ImageCms.buildTransform(profile, srgb, mode, "RGB")
    except PROFILE_ERRORS:
        return "RGB", None


@lru_cache(maxsize=8)
def from_srgb(icc: bytes) -> ImageCms.ImageCmsTransform:
    """The transform from sRGB to a profile's colours.

    Raises:
        PyCMSError: some profiles only lead one way.
    """
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    return ImageCms.buildTransform(ImageCms.createProfile("sRGB"), profile, "RGB", "RGB")


def leads_back(icc: bytes) -> bool:
    """Whether pictures can be given back in a profile's colours."""
    try:
        from_srgb(icc)
    except PROFILE_ERRORS:
        return False
    return True
