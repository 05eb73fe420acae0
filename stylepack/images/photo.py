"""Photographs: reading, resizing, compositing and saving, with their metadata."""

import io
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageCms
from torch import Tensor
from torch.torch_version import TorchVersion

from stylepack.errors import PhotoError, UsageError, option
from stylepack.files import replacing
from stylepack.images.color_profile import from_srgb
from stylepack.images.decoding import Bytes, as_rgb, colour, decode
from stylepack.images.formats import MOST_PIXELS, open_image, output_format
from stylepack.images.mask import composite
from stylepack.images.metadata import Metadata

WITH_ALPHA = frozenset(["PNG", "WEBP", "TIFF", "JPEG2000", "AVIF", "HEIF", "GIF", "TGA"])
WITH_PROFILE = frozenset(["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
WITH_QUALITY = frozenset(["JPEG", "WEBP", "AVIF", "HEIF"])
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
MOST_SIDE = {"JPEG": 65_500, "WEBP": 16_383, "GIF": 65_535, "TGA": 65_535, "AVIF": 65_536}  # pixels
TRANSPARENT = 255  # index of the transparent colour of a GIF
SHOWN_SIDE = 1600  # pixels of a picture in a notebook
TORCH_HAS_LANCZOS = torch.__version__ >= TorchVersion("2.12")
GAP = 3  # multiple of the final size at which pictures are decoded
MOST_ASPECT = 10  # ratio of long to short side of pictures that are not cropped


@dataclass(frozen=True)
class SaveOptions:
    """Options for writing a picture.

    `quality`, 1..100, is for JPEG, WebP, AVIF and HEIC; `subsampling` is for JPEG.  Without
    `metadata`, no EXIF is written and no record of how the picture was made.

    Raises:
        UsageError: an invalid quality or subsampling.
    """

    quality: int = 95
    subsampling: str = "4:4:4"
    metadata: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise UsageError(f"quality is {self.quality}; it must be from 1 to 100")
        if self.subsampling not in SUBSAMPLINGS:
            raise UsageError(
                f"{option('subsampling')} is '{self.subsampling}'; use {', '.join(SUBSAMPLINGS)}"
            )


@dataclass(frozen=True)
class Photo:
    """An upright picture: `pixels` is (3, H, W) uint8 sRGB, `alpha` (H, W) uint8 or None.

    `metadata` and the profile `icc` are the source file's; `provenance`: how it was made.
    """

    pixels: Tensor
    alpha: Tensor | None = None
    metadata: Metadata = field(default_factory=Metadata)
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
    def from_image(cls, image: Image.Image, *, background: str = "white") -> "Photo":
        """The pixels of a Pillow image of any mode.

        Args:
            image: of any mode; it is turned upright by its EXIF orientation.
            background: a colour to lay transparent pixels on; empty keeps transparency.
        """
        found = decode(image, background=background)
        alpha = None if found.alpha is None else torch.from_numpy(found.alpha)
        return cls(_planes(found.rgb), alpha)

    def to_image(self, *, alpha: bool = False) -> Image.Image:
        """The pixels as an RGB Pillow image; RGBA with `alpha`, if the picture has one."""
        image = Image.fromarray(self.pixels.permute(1, 2, 0).contiguous().numpy(), "RGB")
        if alpha and self.alpha is not None:
            image.putalpha(Image.fromarray(self.alpha.numpy(), "L"))
        return image

    def __repr__(self) -> str:
        width, height = self.size
        return f"<Photo {width}x{height}{'' if self.alpha is None else ', with alpha'}>"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """(H, W, 3) uint8, or (H, W, 4) with an alpha, for `numpy.asarray`."""
        rgb = self.pixels.permute(1, 2, 0).numpy()
        if self.alpha is None:
            return np.array(rgb, dtype=dtype, copy=copy)
        if copy is False:
            raise ValueError("pixels and alpha are separate; an array of both is a copy")
        return np.dstack([rgb, self.alpha.numpy()]).astype(dtype or np.uint8, copy=False)

    def _repr_png_(self) -> bytes:
        """A PNG for notebooks, with a long side of at most `SHOWN_SIDE` pixels."""
        small = self.resized(SHOWN_SIDE) if max(self.size) > SHOWN_SIDE else self
        encoded = io.BytesIO()
        small.to_image(alpha=True).save(encoded, "PNG")
        return encoded.getvalue()

    def show(self) -> None:
        """Show the picture in the current notebook, or else in a window."""
        notebook = sys.modules.get("IPython")
        if notebook is not None and notebook.get_ipython() is not None:
            notebook.display.display(self)
        else:
            self.to_image(alpha=True).show()

    def resized(self, long_side: int) -> "Photo":
        """The same picture with a long side of `long_side` pixels; errors as in `scaled`."""
        return self.stretched(scaled(self.size, long_side))

    def stretched(self, size: tuple[int, int]) -> "Photo":
        """The same picture at exactly (width, height) pixels."""
        if size == self.size:
            return self
        alpha = None if self.alpha is None else resampled(self.alpha[None], size)[0]
        return replace(self, pixels=resampled(self.pixels, size), alpha=alpha)

    def flattened(self, background: str) -> "Photo":
        """The picture on a background colour in Pillow's notation (`white`, `#204060`).

        Raises:
            UsageError: no such colour.
        """
        base = torch.tensor(colour(background), dtype=torch.uint8)[:, None, None]
        if self.alpha is None:
            return self
        pixels = composite(self.pixels, base.expand(self.pixels.shape), self.alpha)
        return replace(self, pixels=pixels, alpha=None)

    def save(
        self,
        path: str | os.PathLike[str],
        options: SaveOptions | None = None,
        *,
        quality: int | None = None,
    ) -> None:
        """Write a file atomically, in the format of its suffix.

        Args:
            path: the file to write; an existing one is replaced.
            options: how to encode it.
            quality: for JPEG, WebP, AVIF and HEIC, 1..100; overrides the options' quality.

        Raises:
            UsageError: Pillow cannot write that suffix, or a quality out of range.
            StylepackError: the file cannot be written.
        """
        path = Path(path)
        options = options or SaveOptions()
        if quality is not None:
            options = replace(options, quality=quality)
        encoded = io.BytesIO()  # some encoders never return on a full disk
        self.write(encoded, output_format(path), options)
        with replacing(path) as temporary:
            temporary.write_bytes(encoded.getbuffer())

    def write(self, file: BinaryIO, file_format: str, options: SaveOptions) -> None:
        """Encode in one of Pillow's formats, with alpha and profile if the format supports them.

        Raises:
            PhotoError: the format cannot hold the picture.
        """
        check_sides(self.size, file_format)
        photo = self if file_format in WITH_ALPHA else self.flattened("white")
        image = photo.to_image()
        settings = self.metadata.settings(
            file_format, self.size, self.provenance, all_of_it=options.metadata
        )
        if self.icc and file_format in WITH_PROFILE:
            ImageCms.applyTransform(image, from_srgb(self.icc), inPlace=True)
            settings["icc_profile"] = self.icc
        if photo.alpha is not None:
            band = Image.fromarray(photo.alpha.numpy(), "L")
            if file_format == "GIF":
                image, settings["transparency"] = _with_transparent_index(image, band)
            else:
                image.putalpha(band)
        if file_format in WITH_QUALITY:
            settings["quality"] = options.quality
        if file_format == "JPEG":
            settings["subsampling"] = options.subsampling
        try:
            image.save(file, format=file_format, **settings)
        except MemoryError:
            raise
        except Exception as error:  # encoders raise anything
            width, height = self.size
            raise PhotoError(
                f"{file_format} cannot hold {width}x{height} pixels ({error}); write a .png or .tif"
            ) from error


def scaled(size: tuple[int, int], long_side: int) -> tuple[int, int]:
    """(width, height) scaled to a long side of `long_side` pixels.

    Raises:
        UsageError: the result would have too many pixels.
    """
    scale = long_side / max(size)
    width, height = (max(1, round(side * scale)) for side in size)
    if width * height > MOST_PIXELS:
        raise UsageError(
            f"{option('size', long_side)} makes {width}x{height} pixels; "
            f"the limit is {MOST_PIXELS // 1_000_000} megapixels"
        )
    return width, height


def resampled(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """(C, H, W) uint8 at (width, height), by a Lanczos kernel: (C, height, width) uint8.

    torch's own, from 2.12 on, is faster than Pillow's and differs by a level or two.
    """
    if TORCH_HAS_LANCZOS and min(size) > 1:  # torch 2.14 errs at a width of one pixel
        return F.interpolate(pixels[None], size[::-1], mode="lanczos", antialias=True)[0]
    planes = [Image.fromarray(p.numpy()).resize(size, Image.Resampling.LANCZOS) for p in pixels]
    return torch.from_numpy(np.stack([np.asarray(plane) for plane in planes]))


def check_sides(size: tuple[int, int], file_format: str) -> None:
    """Refuse a (width, height) that a format cannot hold.

    Raises:
        PhotoError: one side is too long.
    """
    width, height = size
    if max(size) > (most := MOST_SIDE.get(file_format, max(size))):
        raise PhotoError(
            f"{file_format} cannot hold {width}x{height} pixels, only {most} a side; "
            "write a .png or .tif"
        )


def _with_transparent_index(image: Image.Image, alpha: Image.Image) -> tuple[Image.Image, int]:
    """An RGB image in 255 colours and a transparent one, used where alpha is below one half."""
    indexed = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=TRANSPARENT)
    indexed.putpalette([*(indexed.getpalette() or [])[: 3 * TRANSPARENT], 0, 0, 0])
    indexed.paste(TRANSPARENT, mask=alpha.point(lambda value: 255 * (value < 128)))
    return indexed, TRANSPARENT


def read_photo(
    source: str | Path | BinaryIO, size: int | None = None, *, background: str = ""
) -> Photo:
    """Read an image file, upright by its EXIF orientation, in sRGB by its ICC profile.

    Args:
        source: a path or an open file.
        size: its long side in pixels; None keeps its own.
        background: a colour to lay transparent pictures on; empty keeps transparency.

    Raises:
        UsageError: no such file or colour.
        PhotoError: not an image, damaged, or too large to be decoded safely.
    """
    with open_image(source if not isinstance(source, str) else Path(source)) as image:
        side = GAP * (size or 0)
        decoded = decode(image, background=background, long_side=side, consume=True)
        alpha = None if decoded.alpha is None else torch.from_numpy(decoded.alpha)
        photo = Photo(_planes(decoded.rgb), alpha, Metadata.of(image), decoded.icc)
        return photo.stretched(scaled(decoded.full, size)) if size else photo


def _planes(rgb: Bytes) -> Tensor:
    """(H, W, 3) as (3, H, W), in the same memory."""
    return torch.from_numpy(rgb).permute(2, 0, 1)


def resized(path: Path, short_side: int) -> Tensor:
    """A picture with a short side of `short_side` pixels: (3, H, W) float32 RGB in 0..1.

    Raises:
        PhotoError: it is damaged, or so narrow that it would be very large.
    """
    photo = read_rgb(path)
    if max(photo.size) > MOST_ASPECT * min(photo.size):
        raise PhotoError(
            f"{path} has {photo.width}x{photo.height} pixels, more than {MOST_ASPECT} times as "
            "long as wide; crop it"
        )
    scale = short_side / min(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return Photo(_planes(np.array(photo))).stretched(size).to_float()


def read_rgb(path: Path) -> Image.Image:
    """A picture, upright, in sRGB, on white."""
    with open_image(path) as image:
        return as_rgb(image)
