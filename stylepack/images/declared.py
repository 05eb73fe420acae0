"""Colour spaces that pictures declare by other means than an ICC profile.

PNG has chunks for them (PNG 3, 11.3.2), AVIF and HEIC code points (ITU-T H.273), and cameras mark
Adobe RGB in EXIF (DCF 2.0).  Most pictures declare sRGB or nothing.
"""

import struct
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

HEADER = 1 << 16  # bytes of a file that are searched
PNG_START, CICP, PIXELS = 8, b"cICP", b"IDAT"
CODE_POINTS = b"colrnclx"
INTEROPERABILITY, INDEX, ADOBE_RGB = 0xA005, 1, "R03"  # EXIF's IFD, its tag, and DCF's value
Chromaticities = tuple[tuple[float, float], ...]
# Chromaticities (x, y) of white, red, green and blue.
D65 = (0.3127, 0.3290)
BT_709: Chromaticities = (D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
ADOBE = (D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
PRIMARIES = {
    4: ((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    7: (D65, (0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: (D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: ((0.314, 0.351), (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    12: (D65, (0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
HDR = {16: "PQ", 18: "HLG"}  # transfer curves that are refused
EXPONENTS = {4: 2.2, 5: 2.8, 8: 1.0}  # other curves count as sRGB's
ADOBE_EXPONENT, USUAL_EXPONENT = 563 / 256, 2.2
NEAR = 0.05  # relative difference from the usual exponent that still means sRGB
SAME = 0.005  # difference of chromaticities that counts as rounding
BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
BLOCK = 1 << 16  # pixels that are converted at once


@dataclass(frozen=True)
class Declared:
    """A colour space: chromaticities of white, red, green and blue; exponent 0 is sRGB's curve."""

    chromaticities: Chromaticities
    exponent: float

    def to_srgb(self, image: Image.Image) -> Image.Image:
        """Convert an 8-bit image to sRGB."""
        coded = np.asarray(image.convert("RGB")).reshape(-1, 3)
        result = np.empty_like(coded)
        for at in range(0, len(coded), BLOCK):
            light = self._light[coded[at : at + BLOCK]] @ self._to_709
            result[at : at + BLOCK] = _encoded(light)
        return Image.fromarray(result.reshape(image.height, image.width, 3))

    @cached_property
    def _light(self) -> NDArray[np.float32]:
        """Linear light of the 256 coded values."""
        coded = np.linspace(0, 1, 256, dtype=np.float32)
        if self.exponent:
            return np.asarray(coded**self.exponent, np.float32)
        return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)

    @cached_property
    def _to_709(self) -> NDArray[np.float32]:
        own, standard = _to_xyz(self.chromaticities), _to_xyz(BT_709)
        cones, wanted = BRADFORD @ own.sum(1), BRADFORD @ standard.sum(1)
        adapted = np.linalg.inv(BRADFORD) @ np.diag(wanted / cones) @ BRADFORD @ own
        return np.asarray((np.linalg.inv(standard) @ adapted).T, np.float32)


def declared(image: Image.Image) -> Declared | None:
    """The colour space of an opened image without an ICC profile; None for sRGB.

    Raises:
        NotImplementedError: high dynamic range.
    """
    points = _code_points(image)
    if points:
        return _of_points(*points)
    if "srgb" in image.info:
        return None
    if "gamma" in image.info or "chromaticity" in image.info:
        return _of_chunks(image.info.get("gamma", 0), image.info.get("chromaticity"))
    return Declared(ADOBE, ADOBE_EXPONENT) if is_adobe_rgb(image) else None


def is_adobe_rgb(image: Image.Image) -> bool:
    """Whether the EXIF says that the colours are Adobe RGB."""
    with suppress(Exception):  # Pillow raises anything for a damaged block
        if "exif" in image.info:
            index = image.getexif().get_ifd(INTEROPERABILITY).get(INDEX, "")
            return str(index).rstrip("\0") == ADOBE_RGB
    return False


def _of_points(primaries: int, curve: int) -> Declared | None:
    if curve in HDR:
        raise NotImplementedError(f"its colours are HDR ({HDR[curve]}); save it in sRGB")
    return _unless_srgb(PRIMARIES.get(primaries, BT_709), EXPONENTS.get(curve, 0))


def _of_chunks(gamma: float, chromaticity: tuple[float, ...] | None) -> Declared | None:
    """The colour space of a PNG's `gamma`, the encoding exponent, and its `chromaticity` values."""
    found = BT_709
    if chromaticity:
        found = tuple(zip(chromaticity[::2], chromaticity[1::2], strict=True))
        if not all(y > 0 for _, y in found) or abs(np.linalg.det(_rows(found[1:]))) < SAME:
            found = BT_709
    return _unless_srgb(found, 1 / gamma if gamma > 0 else 0)


def _unless_srgb(found: Chromaticities, exponent: float) -> Declared | None:
    if abs(exponent / USUAL_EXPONENT - 1) < NEAR:
        exponent = 0
    same = np.allclose(found, BT_709, rtol=0, atol=SAME)
    return None if same and not exponent else Declared(found, exponent)


def _code_points(image: Image.Image) -> tuple[int, int] | None:
    """(primaries, curve) of a PNG's `cICP` or of an AVIF's or HEIC's `colr`, or None."""
    file = image.fp if isinstance(image, ImageFile.ImageFile) else None
    if file is None or image.format not in ("PNG", "AVIF", "HEIF"):
        return None
    before = file.tell()
    try:
        file.seek(0)
        head = file.read(HEADER)
    finally:
        file.seek(before)
    if image.format == "PNG":
        found = _chunk(head, CICP)
        return (found[0], found[1]) if len(found) >= 2 else None
    at = head.find(CODE_POINTS)
    found = head[at + len(CODE_POINTS) :][:4] if at >= 0 else b""
    return struct.unpack(">HH", found) if len(found) == 4 else None


def _chunk(head: bytes, name: bytes) -> bytes:
    """The content of a PNG's chunk before its pixels; empty if there is none."""
    at = PNG_START
    while at + 8 <= len(head) and (kind := head[at + 4 : at + 8]) != PIXELS:
        length = int.from_bytes(head[at : at + 4])
        if kind == name:
            return head[at + 8 : at + 8 + length]
        at += 12 + length
    return b""


def _rows(points: Chromaticities) -> NDArray[np.float64]:
    return np.array([(x, y, 1 - x - y) for x, y in points])


def _to_xyz(points: Chromaticities) -> NDArray[np.float64]:
    """The matrix from linear colours to XYZ, in which white has Y = 1."""
    white, *colours = _rows(points)
    columns = np.array(colours).T
    return columns * np.linalg.solve(columns, white / white[1])


def _encoded(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Linear light as 8-bit sRGB (IEC 61966-2-1)."""
    light = light.clip(0, 1)
    high = 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055
    return (np.where(light <= 0.0031308, 12.92 * light, high) * 255 + 0.5).astype(np.uint8)
