"""Image files: which there are, which can be written, and opening them without surprises."""

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from stylepack.errors import PhotoError, UsageError

HEIF_SUFFIXES = frozenset([".heic", ".heif"])
SUFFIXES = HEIF_SUFFIXES | frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".jp2", ".avif"]
)
ORIENTATION = 0x0112  # EXIF 3.0, and what its values 2 to 8 mean:
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_QUIET = threading.RLock()

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


@contextmanager
def open_image(source: Path | BinaryIO) -> Iterator[Image.Image]:
    """A Pillow image whose decoding errors, there and in the body, are PhotoErrors.

    Pillow refuses images of more than 179 million pixels as decompression bombs.
    """
    path = source if isinstance(source, Path) else "standard input"
    if isinstance(path, Path) and path.suffix.lower() in HEIF_SUFFIXES:
        _register_heif()
    try:
        with quietly():
            image = Image.open(source)
        with image:
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


@contextmanager
def quietly() -> Iterator[None]:
    """Without Pillow's warnings of things that it then reads all the same.

    One thread at a time: the list of filters belongs to the whole process.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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
        with quietly():
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
