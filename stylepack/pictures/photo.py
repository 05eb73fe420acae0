"""Image files to RGB pixels and back."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from stylepack.errors import PhotoError, UsageError
from stylepack.files import replacing

SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".jp2", ".avif"]
)
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Photo:
    """An upright RGB picture: `pixels` is (3, H, W) uint8."""

    pixels: Tensor

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
        """Take over a Pillow image of any mode."""
        rgb = as_rgb(image)
        flat = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8)
        return cls(flat.view(rgb.height, rgb.width, 3).permute(2, 0, 1))

    def to_image(self) -> Image.Image:
        """The same picture as a Pillow image."""
        return Image.fromarray(self.pixels.permute(1, 2, 0).contiguous().numpy(), "RGB")

    def save(self, path: str | Path) -> None:
        """Write a file in the format of its suffix, whole or not at all.

        Raises:
            UsageError: Pillow cannot write that suffix.
            StylepackError: the place cannot be written.
        """
        path = Path(path)
        file_format = output_format(path)
        options = {"quality": JPEG_QUALITY, "subsampling": 0} if file_format == "JPEG" else {}
        with replacing(path) as temporary:
            self.to_image().save(temporary, format=file_format, **options)


def read_photo(path: str | Path) -> Photo:
    """Read an image file, upright by its EXIF orientation.

    Raises:
        UsageError: no such file.
        PhotoError: not an image, damaged, or too large to be decoded safely.
    """
    with open_image(Path(path)) as image:
        return Photo.from_image(ImageOps.exif_transpose(image))


@contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """A Pillow image whose decoding errors, there and in the body, are PhotoErrors.

    Pillow refuses images of more than 179 million pixels as decompression bombs.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}") from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path} is not an image that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise PhotoError(f"{path} is too large to decode safely: {error}") from None
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise PhotoError(f"cannot read {path}: {reason}") from error


def as_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode as RGB: 16-bit grey is scaled, transparency is laid on white."""
    if image.mode.startswith("I;16") or image.mode == "I":
        image = image.convert("I").point(lambda value: value / 257).convert("L")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image if image.mode == "RGB" else image.convert("RGB")


def can_write(suffix: str) -> bool:
    """Whether Pillow writes still pictures in the format of this suffix."""
    Image.init()
    return Image.registered_extensions().get(suffix.lower(), "") in Image.SAVE


def output_format(path: Path) -> str:
    """Pillow's name of the format that `path`'s suffix asks for.

    Raises:
        UsageError: no suffix, or one that Pillow cannot write.
    """
    if not can_write(path.suffix):
        raise UsageError(
            f"cannot tell what image to write to {path}; name it .jpg, .png, .webp or .tif"
        )
    return Image.registered_extensions()[path.suffix.lower()]


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
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    )
    if not found:
        raise UsageError(f"no images in {folder}; expected files like .jpg or .png")
    return found
