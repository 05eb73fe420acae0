"""Image files to RGB pixels and back, with all that travels with a photograph."""

import io
import struct
import sys
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from PIL import Image, ImageCms, ImageColor
from torch import Tensor

from stylepack.errors import PhotoError, UsageError
from stylepack.files import replacing
from stylepack.pictures.color import STRIP
from stylepack.pictures.imagefile import (
    MOST_PIXELS,
    as_rgb,
    open_image,
    output_format,
    quietly,
    split_alpha,
    upright,
)

WITH_ALPHA = frozenset(["PNG", "WEBP", "TIFF", "JPEG2000", "AVIF", "HEIF"])
WITH_EXIF = frozenset(["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
WITH_QUALITY = frozenset(["JPEG", "WEBP", "AVIF", "HEIF"])
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")

# EXIF 3.0 tags: what belongs to the old file's layout, and where the painting is described.
SOFTWARE, PROCESSING_SOFTWARE = 0x0131, 0x000B
# ImageDescription, Make, Model, resolution and its unit, DateTime, Artist, HostComputer,
# Rating, Copyright.  The other tags of the first IFD describe the old file's layout.
KEPT_TAGS = frozenset(
    [0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0132, 0x013B, 0x013C, 0x4746, 0x8298]
)
MAKER_NOTE, PIXEL_WIDTH, PIXEL_HEIGHT = 0x927C, 0xA002, 0xA003  # in the Exif IFD
MOST_EXIF_IN_JPEG = 65_533  # bytes: a segment's length, itself included, has sixteen bits
SUB_IFDS = (0x8769, 0x8825, 0xA005)  # Exif, GPS, interoperability


@dataclass(frozen=True)
class SaveOptions:
    """How a picture is written.  `quality` is Pillow's, 1..100."""

    quality: int = 95
    subsampling: str = "4:4:4"
    metadata: bool = True


@dataclass(frozen=True)
class Photo:
    """An upright picture: `pixels` is (3, H, W) uint8 sRGB, `alpha` (H, W) uint8 or None.

    `exif` and `icc` are the source file's, to be written again; `provenance` says how the
    picture was made.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    exif: Image.Exif | None = None
    icc: bytes | None = None
    provenance: str = ""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.pixels.shape[2], self.pixels.shape[1]

    def to_float(self) -> Tensor:
        """(3, H, W) float32 RGB in 0..1."""
        return self.pixels.float().div_(255)

    @classmethod
    def from_float(cls, pixels: Tensor) -> "Photo":
        """Round (3, H, W) RGB in 0..1, any float dtype and device, to 8 bits."""
        return cls(pixels.float().mul(255).round_().clamp_(0, 255).to("cpu", torch.uint8))

    @classmethod
    def from_image(cls, image: Image.Image) -> "Photo":
        """The pixels of a Pillow image of any mode, transparency laid on white."""
        return cls(_planes(as_rgb(image)))

    def to_image(self) -> Image.Image:
        """The pixels as an RGB Pillow image."""
        return Image.fromarray(self.pixels.permute(1, 2, 0).contiguous().numpy(), "RGB")

    def resized(self, long_side: int) -> "Photo":
        """The same picture with its long side at this many pixels, everything else kept.

        Raises:
            UsageError: that would be more pixels than pictures are read with.
        """
        scale = long_side / max(self.size)
        width, height = (max(1, round(side * scale)) for side in self.size)
        if width * height > MOST_PIXELS:
            raise UsageError(
                f"--size {long_side} makes {width}x{height} pixels; "
                f"{MOST_PIXELS // 1_000_000} megapixels are the most"
            )
        return self.stretched((width, height))

    def stretched(self, size: tuple[int, int]) -> "Photo":
        """The same picture at exactly (width, height) pixels."""
        image = self.to_image().resize(size, Image.Resampling.LANCZOS, reducing_gap=3)
        alpha = self.alpha
        if alpha is not None:
            band = Image.fromarray(alpha.numpy(), "L")
            alpha = _planes(band.resize(size, Image.Resampling.LANCZOS))[0]
        return replace(self, pixels=_planes(image), alpha=alpha)

    def flattened(self, background: str) -> "Photo":
        """Without transparency, laid on a colour given as Pillow names it (`white`, `#204060`).

        Raises:
            UsageError: no such colour.
        """
        base = torch.tensor(colour(background), dtype=torch.uint8)[:, None, None]
        if self.alpha is None:
            return self
        pixels = composite(self.pixels, base.expand(self.pixels.shape), self.alpha)
        return replace(self, pixels=pixels, alpha=None)

    def save(self, path: str | Path, options: SaveOptions | None = None) -> None:
        """Write a file in the format of its suffix, whole or not at all.

        Raises:
            UsageError: Pillow cannot write that suffix.
            StylepackError: the place cannot be written.
        """
        path = Path(path)
        file_format = output_format(path)
        with replacing(path) as temporary, temporary.open("wb") as file:
            self.write(file, file_format, options or SaveOptions())

    def write(self, file: BinaryIO, file_format: str, options: SaveOptions) -> None:
        """Write to an open file in one of Pillow's formats; alpha goes where the format has it."""
        settings: dict[str, Any] = {}
        photo = self if file_format in WITH_ALPHA else self.flattened("white")
        image = photo.to_image()
        if self.icc:
            image = _from_srgb(image, self.icc)
            settings["icc_profile"] = self.icc
        if photo.alpha is not None:
            image.putalpha(Image.fromarray(photo.alpha.numpy(), "L"))
        if file_format in WITH_QUALITY:
            settings["quality"] = options.quality
        if file_format == "JPEG":
            settings["subsampling"] = options.subsampling
        if options.metadata and file_format in WITH_EXIF and (self.exif or self.provenance):
            most = MOST_EXIF_IN_JPEG if file_format == "JPEG" else sys.maxsize
            settings["exif"] = self._exif_to_write(most)
        try:
            image.save(file, format=file_format, **settings)
        except (OSError, ValueError, OverflowError, RuntimeError, struct.error) as error:
            if isinstance(error, OSError) and error.errno:
                raise  # the disk's, not the encoder's
            width, height = self.size
            raise PhotoError(
                f"{file_format} cannot hold {width}x{height} pixels ({error}); write a .png or .tif"
            ) from error

    def _exif_to_write(self, most: int) -> bytes:
        """The source's EXIF and the provenance; of the former, in turn, less than all if that is
        more than `most` bytes: no maker's notes, no IFDs below the first, nothing.
        """
        exif = Image.Exif()
        if self.exif:
            exif.load(self.exif.tobytes())
            its = exif.get_ifd(SUB_IFDS[0]) if SUB_IFDS[0] in exif else {}
            sides = zip((PIXEL_WIDTH, PIXEL_HEIGHT), self.size, strict=True)
            its.update({tag: side for tag, side in sides if tag in its})
        if self.provenance:
            exif[SOFTWARE] = "stylepack"
            exif[PROCESSING_SOFTWARE] = self.provenance
        if len(exif.tobytes()) > most:
            exif.get_ifd(SUB_IFDS[0]).pop(MAKER_NOTE, None)
        if len(exif.tobytes()) > most:
            exif = _without(exif, SUB_IFDS)
        if len(exif.tobytes()) > most:
            exif = _without(exif, KEPT_TAGS)
        return exif.tobytes()


def read_photo(source: str | Path | BinaryIO) -> Photo:
    """Read an image file, upright by its EXIF orientation, in sRGB by its ICC profile.

    Raises:
        UsageError: no such file.
        PhotoError: not an image, damaged, or too large to be decoded safely.
    """
    with open_image(source if not isinstance(source, str) else Path(source)) as image:
        icc = image.info.get("icc_profile")
        turned = upright(image)
        exif = _clean_exif(image)
        opaque, band = split_alpha(turned)
        rgb, icc = _to_srgb(opaque, icc)
        alpha = None
        if band is not None and band.getextrema() != (255, 255):
            alpha = _planes(band)[0]
        return Photo(_planes(rgb), alpha, exif, icc)


def composite(top: Tensor, bottom: Tensor, share: Tensor) -> Tensor:
    """Lay one picture on another: (3, H, W) uint8 each.

    `share`, (H, W) uint8, is 255 where `top` covers and 0 where `bottom` shows.
    """
    result = torch.empty_like(top)
    for a in range(0, top.shape[1], STRIP):
        rows = slice(a, a + STRIP)
        shares = share[rows].float().div_(255)
        laid = torch.lerp(bottom[:, rows].float(), top[:, rows].float(), shares)
        result[:, rows] = laid.round_().to(torch.uint8)
    return result


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


def read_mask(source: str | Path) -> Tensor:
    """A mask: (H, W) uint8, white 255, black where it is transparent.

    Raises:
        UsageError: no such file.
        PhotoError: not an image, or damaged.
    """
    with open_image(Path(source)) as image:
        return _planes(as_rgb(upright(image), background="black").convert("L"))[0]


def fit_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """An (H, W) uint8 mask stretched to (width, height).

    Raises:
        UsageError: another shape or dtype.
    """
    if mask.dim() != 2 or mask.dtype != torch.uint8:
        raise UsageError(f"a mask is {tuple(mask.shape)} {mask.dtype}; it must be (H, W) uint8")
    if mask.shape == size[::-1]:
        return mask
    grey = Image.fromarray(mask.numpy(), "L")
    return _planes(grey.resize(size, Image.Resampling.BILINEAR))[0]


def _planes(image: Image.Image) -> Tensor:
    """An RGB or L image as (3 or 1, H, W) uint8."""
    bands = len(image.getbands())
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, bands).permute(2, 0, 1)


def _to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """An RGB, CMYK or L image -> (RGB in sRGB, the profile to go back to).

    A damaged profile is left aside.  Only RGB profiles are gone back to: a painted picture is RGB,
    whatever the photograph was.
    """
    if not icc:
        return as_rgb(image), None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return as_rgb(image), None
    try:
        if image.mode == "RGB":
            _from_srgb(Image.new("RGB", (1, 1)), icc)  # some profiles only lead one way
        else:
            icc = None
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        icc = None
    assert converted is not None  # not in place
    return converted, icc


def _from_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    converted = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), profile)
    return converted or image


def _without(exif: Image.Exif, tags: Collection[int]) -> Image.Exif:
    """A copy without some tags of the first IFD, those that stand for other IFDs included."""
    rest = Image.Exif()
    for tag in exif.keys() - set(tags):
        rest[tag] = exif[tag]
    return rest


def _clean_exif(image: Image.Image) -> Image.Exif | None:
    """The file's EXIF without its thumbnail and orientation; None if there is none to keep."""
    clean = Image.Exif()
    with suppress(Exception), quietly():  # Pillow raises whatever a damaged block leads it to
        found = image.getexif()
        for tag in KEPT_TAGS & found.keys():
            clean[tag] = found[tag]
        for ifd in SUB_IFDS:
            values = found.get_ifd(ifd)
            if values:
                clean.get_ifd(ifd).update(values)
                clean[ifd] = values
        clean.tobytes()
        return clean if len(clean) else None
    return None
