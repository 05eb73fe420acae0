"""Image files to RGB pixels and back, with all that travels with a photograph."""

import io
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import torch
from PIL import Image, ImageCms, ImageColor, UnidentifiedImageError
from torch import Tensor

from stylepack.errors import PhotoError, UsageError
from stylepack.files import replacing

HEIF_SUFFIXES = frozenset([".heic", ".heif"])
SUFFIXES = HEIF_SUFFIXES | frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".jp2", ".avif"]
)
WITH_ALPHA = frozenset(["PNG", "WEBP", "TIFF", "JPEG2000", "AVIF", "HEIF"])
WITH_EXIF = frozenset(["JPEG", "PNG", "WEBP", "TIFF", "JPEG2000", "AVIF", "HEIF"])
WITH_QUALITY = frozenset(["JPEG", "WEBP", "AVIF", "HEIF"])
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")

# EXIF 3.0 tags: what belongs to the old file's layout, and where the painting is described.
ORIENTATION, SOFTWARE, PROCESSING_SOFTWARE = 0x0112, 0x0131, 0x000B
# ImageDescription, Make, Model, resolution and its unit, DateTime, Artist, HostComputer,
# Rating, Copyright.  The other tags of the first IFD describe the old file's layout.
KEPT_TAGS = frozenset(
    [0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0132, 0x013B, 0x013C, 0x4746, 0x8298]
)
SUB_IFDS = (0x8769, 0x8825, 0xA005)  # Exif, GPS, interoperability


TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# What Pillow's decoders raise at damaged files.
DECODING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    RuntimeError,
    MemoryError,
    OverflowError,
    struct.error,
)


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
        """The same picture with its long side at this many pixels, everything else kept."""
        scale = long_side / max(self.size)
        width, height = self.size
        return self.stretched((max(1, round(width * scale)), max(1, round(height * scale))))

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
        try:
            colour = ImageColor.getrgb(background)[:3]
        except ValueError:
            raise UsageError(
                f"no colour '{background}'; give a name like white or a value like #204060"
            ) from None
        if self.alpha is None:
            return self
        base = torch.tensor(colour, dtype=torch.float32)[:, None, None]
        share = self.alpha.float().div(255)
        pixels = torch.lerp(base.expand(self.pixels.shape), self.pixels.float(), share)
        return replace(self, pixels=pixels.round_().to(torch.uint8), alpha=None)

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
            settings["exif"] = self._exif_to_write()
        try:
            image.save(file, format=file_format, **settings)
        except (ValueError, OverflowError, RuntimeError, MemoryError, struct.error) as error:
            width, height = self.size
            raise PhotoError(
                f"{file_format} cannot hold {width}x{height} pixels ({error}); write a .png or .tif"
            ) from error

    def _exif_to_write(self) -> bytes:
        exif = self.exif or Image.Exif()
        if self.provenance:
            exif[SOFTWARE] = "stylepack"
            exif[PROCESSING_SOFTWARE] = self.provenance
        try:
            return exif.tobytes()
        except Exception:  # a stranger's EXIF may hold values that cannot be written again
            fresh = Image.Exif()
            fresh[PROCESSING_SOFTWARE] = self.provenance
            return fresh.tobytes()


def read_photo(source: str | Path | BinaryIO) -> Photo:
    """Read an image file, upright by its EXIF orientation, in sRGB by its ICC profile.

    Raises:
        UsageError: no such file.
        PhotoError: not an image, damaged, or too large to be decoded safely.
    """
    with open_image(source if not isinstance(source, str) else Path(source)) as image:
        exif = _clean_exif(image)
        icc = image.info.get("icc_profile")
        image = upright(image)
        alpha = None
        if image.has_transparency_data:
            rgba = image.convert("RGBA")
            image, band = rgba.convert("RGB"), rgba.getchannel("A")
            if band.getextrema() != (255, 255):
                alpha = _planes(band)[0]
        rgb, icc = _to_srgb(image, icc)
        return Photo(_planes(rgb), alpha, exif, icc)


def read_mask(source: str | Path, size: tuple[int, int]) -> Tensor:
    """A mask stretched to (width, height): (H, W) uint8, white 255.

    Raises:
        UsageError: no such file.
        PhotoError: not an image, or damaged.
    """
    with open_image(Path(source)) as image:
        grey = as_rgb(upright(image)).convert("L")
        return _planes(grey.resize(size, Image.Resampling.BILINEAR))[0]


def _planes(image: Image.Image) -> Tensor:
    """An RGB or L image as (3 or 1, H, W) uint8."""
    bands = len(image.getbands())
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, bands).permute(2, 0, 1)


def _to_srgb(image: Image.Image, icc: bytes | None) -> tuple[Image.Image, bytes | None]:
    """(RGB image in sRGB, the profile to go back to).  A damaged profile is left aside.

    Only RGB profiles are gone back to: a painted picture is RGB, whatever the photograph was.
    """
    if not icc or image.mode not in ("RGB", "CMYK", "L"):
        return as_rgb(image), None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return as_rgb(image), None
    assert converted is not None  # not in place
    return converted, icc if image.mode == "RGB" else None


def _from_srgb(image: Image.Image, icc: bytes) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
    converted = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), profile)
    return converted or image


def _clean_exif(image: Image.Image) -> Image.Exif | None:
    """The file's EXIF without its thumbnail and orientation; None if there is none to keep."""
    clean = Image.Exif()
    with suppress(Exception):  # Pillow raises whatever a damaged block leads it to
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


@contextmanager
def open_image(source: Path | BinaryIO) -> Iterator[Image.Image]:
    """A Pillow image whose decoding errors, there and in the body, are PhotoErrors.

    Pillow refuses images of more than 179 million pixels as decompression bombs.
    """
    path = source if isinstance(source, Path) else "standard input"
    if isinstance(path, Path) and path.suffix.lower() in HEIF_SUFFIXES:
        _register_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what it then reads all the same
            with Image.open(source) as image:
                yield image
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}") from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path} is not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{path} is too large to decode safely: {error}") from None
    except DECODING_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PhotoError(f"cannot read {path}: {reason}") from error


def _register_heif() -> None:
    """Teach Pillow HEIC where the package pillow-heif is installed."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def as_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB: 16-bit grey is scaled, transparency is laid on white."""
    if image.mode.startswith("I;16") or image.mode == "I":
        image = image.convert("I").point(lambda value: value / 257 + 0.5).convert("L")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image if image.mode == "RGB" else image.convert("RGB")


def can_write(suffix: str) -> bool:
    """Whether pictures are written in the format of this suffix."""
    Image.init()
    known = suffix.lower() in SUFFIXES
    return known and Image.registered_extensions().get(suffix.lower(), "") in Image.SAVE


def output_format(path: Path) -> str:
    """Pillow's name of the format that `path`'s suffix asks for.

    Raises:
        UsageError: no suffix, or one that is not written.
    """
    if not can_write(path.suffix):
        raise UsageError(
            f"cannot tell what image to write to {path}; name it .jpg, .png, .webp or .tif"
        )
    return Image.registered_extensions()[path.suffix.lower()]


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; nothing else of the EXIF is touched.

    `ImageOps.exif_transpose` also writes the EXIF anew and fails at slightly damaged ones.
    """
    try:
        orientation = image.getexif().get(ORIENTATION)
    except DECODING_ERRORS:
        return image
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def find_images(folder: Path) -> list[Path]:
    """Every file under `folder` with an image's suffix, sorted; hidden ones are left out.

    Raises:
        UsageError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise UsageError(f"no images in {folder}; expected files like .jpg or .png")
    return found
