"""Metadata that is kept with a photograph, in the formats that support it."""

import math
import re
import struct
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from stylepack.images.declared import is_adobe_rgb
from stylepack.images.formats import quietly

WITH_EXIF = frozenset(["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
WITH_XMP = WITH_EXIF - {"PNG", "TIFF"}  # by Pillow's option; PNG has a text, TIFF a tag
WITH_DPI = frozenset(["JPEG", "PNG", "TIFF", "BMP"])
WITH_COMMENT = frozenset(["JPEG", "GIF"])

# EXIF 3.0 tags that describe the painting.
SOFTWARE, PROCESSING_SOFTWARE = 0x0131, 0x000B
# ImageDescription, Make, Model, resolution and its unit, DateTime, Artist, HostComputer,
# Rating, Copyright.  The other tags of the first IFD describe the old file's layout.
KEPT_TAGS = frozenset(
    [0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0132, 0x013B, 0x013C, 0x4746, 0x8298]
)
XMP, IPTC = 0x02BC, 0x83BB
MAKER_NOTE, PIXEL_WIDTH, PIXEL_HEIGHT = 0x927C, 0xA002, 0xA003  # in the Exif IFD
COLOUR_SPACE, SRGB = 0xA001, 1  # in the Exif IFD
SUB_IFDS = (0x8769, 0x8825, 0xA005)  # Exif, GPS, interoperability
MOST_IN_JPEG = 65_533  # bytes: a segment's length, including itself, has 16 bits
XMP_NAME = 29  # bytes of these for the name
# A JPEG's APP13 segment with one of Photoshop's resources (Photoshop File Formats), without a name.
APP13, PHOTOSHOP, IPTC_RESOURCE = b"\xff\xed", b"Photoshop 3.0\x008BIM", 0x0404
RESOURCE = ">HHI"  # number, empty name, length
IPTC_NAME = len(PHOTOSHOP) + struct.calcsize(RESOURCE) + 1  # and a padding byte
MOST_DPI = 65_535

TURNED = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8]""")
PNG_XMP = "XML:com.adobe.xmp"
RAW_PROFILE = "Raw profile type"  # texts in which ImageMagick stores the old file's EXIF


@dataclass(frozen=True)
class Metadata:
    """A file's EXIF, XMP, IPTC, comment and PNG texts, and `dpi`, its (x, y) resolution."""

    exif: Image.Exif | None = None
    xmp: bytes | None = None
    iptc: bytes | None = None
    comment: bytes | None = None
    texts: dict[str, str] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None

    @classmethod
    def of(cls, image: Image.Image) -> "Metadata":
        """The metadata of a loaded image, without orientation and thumbnails."""
        xmp, comment = image.info.get("xmp"), image.info.get("comment")
        texts = {
            key: text
            for key, text in image.info.items()
            if image.format == "PNG" and isinstance(key, str) and isinstance(text, str)
            if key != PNG_XMP and not key.startswith(RAW_PROFILE)
        }
        return cls(
            exif=_clean_exif(image),
            xmp=TURNED.sub(rb"\g<1>1", xmp) if isinstance(xmp, bytes) else None,
            iptc=_iptc(image),
            comment=comment if image.format != "JPEG2000" and isinstance(comment, bytes) else None,
            texts=texts,
            dpi=_resolution(image.info.get("dpi")),
        )

    def settings(
        self, file_format: str, size: tuple[int, int], provenance: str, *, all_of_it: bool
    ) -> dict[str, Any]:
        """Options of Pillow's `save` for a picture of (width, height).

        Without `all_of_it`, only the resolution, which reveals nothing about the photograph.
        """
        options: dict[str, Any] = {}
        if self.dpi and file_format in WITH_DPI:
            options["dpi"] = self.dpi
        if not all_of_it:
            return options
        most = MOST_IN_JPEG if file_format == "JPEG" else sys.maxsize
        exif = self._exif(size, provenance, most)
        if file_format == "TIFF":
            exif.update({tag: data for tag, data in ((XMP, self.xmp), (IPTC, self.iptc)) if data})
        if file_format in WITH_EXIF and len(exif):
            options["exif"] = exif.tobytes()
        if file_format in WITH_XMP and self.xmp and len(self.xmp) + XMP_NAME <= most:
            options["xmp"] = self.xmp
        if file_format == "JPEG" and self.iptc and len(self.iptc) + IPTC_NAME <= most:
            options["extra"] = _segment_of_iptc(self.iptc)
        if file_format in WITH_COMMENT and self.comment and len(self.comment) <= most:
            options["comment"] = self.comment
        if file_format == "PNG" and (self.texts or self.xmp):
            options["pnginfo"] = self._png_texts()
        return options

    def _png_texts(self) -> PngInfo:
        texts = PngInfo()
        for key, text in self.texts.items():
            texts.add_text(key, text)
        if self.xmp:
            texts.add_itxt(PNG_XMP, self.xmp.decode(errors="replace"))
        return texts

    def _exif(self, size: tuple[int, int], provenance: str, most: int) -> Image.Exif:
        """EXIF with the provenance, in at most `most` bytes.

        Until it fits, maker's notes, then IFDs below the first, then the rest are dropped.
        """
        exif = Image.Exif()
        if self.exif:
            exif.load(self.exif.tobytes())
            its = exif.get_ifd(SUB_IFDS[0]) if SUB_IFDS[0] in exif else {}
            sides = zip((PIXEL_WIDTH, PIXEL_HEIGHT), size, strict=True)
            its.update({tag: side for tag, side in sides if tag in its})
        if provenance:
            exif[SOFTWARE] = "stylepack"
            exif[PROCESSING_SOFTWARE] = provenance
        if len(exif.tobytes()) > most:
            exif.get_ifd(SUB_IFDS[0]).pop(MAKER_NOTE, None)
        if len(exif.tobytes()) > most:
            exif = _without(exif, SUB_IFDS)
        if len(exif.tobytes()) > most:
            exif = _without(exif, KEPT_TAGS)
        return exif


def _iptc(image: Image.Image) -> bytes | None:
    """The IPTC-IIM records of a JPEG or TIFF."""
    resources = image.info.get("photoshop")
    tags = getattr(image, "tag_v2", {})
    found = resources.get(IPTC_RESOURCE) if isinstance(resources, dict) else tags.get(IPTC)
    return found if found and isinstance(found, bytes) else None


def _segment_of_iptc(iptc: bytes) -> bytes:
    """A JPEG segment with IPTC records of at most `MOST_IN_JPEG - IPTC_NAME` bytes."""
    resource = PHOTOSHOP + struct.pack(RESOURCE, IPTC_RESOURCE, 0, len(iptc)) + iptc
    resource += bytes(len(iptc) % 2)
    return APP13 + struct.pack(">H", 2 + len(resource)) + resource


def _resolution(dpi: object) -> tuple[float, float] | None:
    """A valid (x, y) resolution, else None."""
    with suppress(TypeError, ValueError, ZeroDivisionError, OverflowError):
        x, y = map(float, dpi)  # type: ignore[call-overload]
        if all(math.isfinite(value) and 1 <= value <= MOST_DPI for value in (x, y)):
            return x, y
    return None


def _without(exif: Image.Exif, tags: Collection[int]) -> Image.Exif:
    """A copy without some tags of the first IFD, which may refer to other IFDs."""
    rest = Image.Exif()
    for tag in exif.keys() - set(tags):
        rest[tag] = exif[tag]
    return rest


def _clean_exif(image: Image.Image) -> Image.Exif | None:
    """The file's EXIF without thumbnail and orientation; None if nothing is left."""
    clean = Image.Exif()
    with suppress(Exception), quietly():  # Pillow raises anything for a damaged block
        found = image.getexif()
        for tag in KEPT_TAGS & found.keys():
            clean[tag] = found[tag]
        converted = "icc_profile" not in image.info and is_adobe_rgb(image)
        for ifd in SUB_IFDS[:2] if converted else SUB_IFDS:
            with suppress(KeyError):  # Pillow 12 looks for the last IFD in the first
                if values := _in_srgb(found.get_ifd(ifd)) if converted else found.get_ifd(ifd):
                    clean.get_ifd(ifd).update(values)
                    clean[ifd] = values
        clean.tobytes()
        return clean if len(clean) else None
    return None


def _in_srgb(values: dict[int, Any]) -> dict[int, Any]:
    """The values of an IFD for a picture converted from Adobe RGB to sRGB."""
    kept = {tag: value for tag, value in values.items() if tag != SUB_IFDS[2]}
    return kept | {COLOUR_SPACE: SRGB} if COLOUR_SPACE in kept else kept
