"""Image files: which there are, which can be written, and opening them without surprises."""

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from stylepack.errors import PhotoError, UsageError

HEIF_SUFFIXES = frozenset([".heic", ".heif"])
SUFFIXES = HEIF_SUFFIXES | frozenset(
    [".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".jp2", ".avif"]
)
MOST_PIXELS = 500_000_000  # of an image; more is taken for an attempt to fill the memory
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

    One of more than `MOST_PIXELS` is refused before it is decoded.
    """
    path = source if isinstance(source, Path) else "standard input"
    try:
        with _identified(source) as image:
            yield image
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}") from None
    except UnidentifiedImageError:
        raise PhotoError(
            f"{path} is not an image that can be read; expected one like .jpg, .png or .tif"
        ) from None
    except Image.DecompressionBombError:
        raise PhotoError(
            f"{path} has more than {MOST_PIXELS // 1_000_000} megapixels, the most that are read; "
            "make it smaller"
        ) from None
    except MemoryError:
        raise PhotoError(f"there is not enough memory to read {path}; make it smaller") from None
    except DECODING_ERRORS as error:
        if isinstance(error, OSError) and error.strerror:
            raise PhotoError(f"cannot read {path}: {error.strerror}") from error
        raise PhotoError(
            f"cannot read {path}: {error}; the file is damaged, take it from where it came again"
        ) from error


def _identified(source: Path | BinaryIO) -> Image.Image:
    with quietly():
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS // 2  # raises at twice
        try:
            return Image.open(source)
        except UnidentifiedImageError:
            if not _register_heif():
                raise
            if not isinstance(source, Path):
                source.seek(0)
            return Image.open(source)
        finally:
            Image.MAX_IMAGE_PIXELS = before


@contextmanager
def quietly() -> Iterator[None]:
    """Without Pillow's warnings of things that it then reads all the same.

    One thread at a time: the list of filters belongs to the whole process.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _register_heif() -> bool:
    """Teach Pillow HEIC; False where the package pillow-heif is not installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Any Pillow mode as (RGB, CMYK or L of eight bits, the alpha as L or None)."""
    if image.mode.startswith("I") or image.mode == "F":
        return _of_eight_bits(image)
    if image.mode in ("LA", "La"):
        image = image.convert("LA")
        return image.getchannel(0), image.getchannel(1)
    if image.mode == "L" and image.has_transparency_data:
        return image, image.convert("LA").getchannel(1)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return rgba.convert("RGB"), rgba.getchannel("A")
    if image.mode in ("RGB", "CMYK", "L"):
        return image, None
    return image.convert("L" if image.mode == "1" else "RGB"), None


def _of_eight_bits(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Grey of sixteen bits, or floats, whose white is 1 if nothing is above it, else 255."""
    import numpy as np  # listing packs has no time for it

    transparent = image.info.get("transparency")
    if image.mode == "F":
        grey = np.nan_to_num(np.asarray(image))
        white = 1 if grey.max() <= 1 else 255
    else:
        grey = np.asarray(image.convert("I"))
        white = 65535
    alpha = None
    if isinstance(transparent, int):
        alpha = Image.fromarray(np.where(grey == transparent, 0, 255).astype(np.uint8))
    scaled = grey.clip(0, white) * (255 / white) + 0.5
    return Image.fromarray(scaled.astype(np.uint8)), alpha


def as_rgb(image: Image.Image, *, background: str = "white") -> Image.Image:
    """Any Pillow mode as RGB, transparency laid on a colour."""
    opaque, alpha = split_alpha(image)
    rgb = opaque if opaque.mode == "RGB" else opaque.convert("RGB")
    if alpha is None:
        return rgb
    return Image.composite(rgb, Image.new("RGB", rgb.size, background), alpha)


def can_write(suffix: str) -> bool:
    """Whether pictures are written in the format of this suffix."""
    Image.init()
    if suffix.lower() in HEIF_SUFFIXES:
        _register_heif()
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
    # Before its EXIF is read: for that a PNG is decoded, and what is wrong with its pixels would be
    # taken for a fault of the EXIF.
    image.load()
    try:
        with quietly():
            orientation = image.getexif().get(ORIENTATION)
    except DECODING_ERRORS:
        return image
    turn = TURNS.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def find_images(folder: Path, but: Path | None = None) -> list[Path]:
    """Every file under `folder` with an image's suffix, sorted; hidden ones and `but` are left out.

    Raises:
        UsageError: no such folder, or no image in it.
    """
    if folder.is_file():
        raise UsageError(f"{folder} is a file; give a folder of pictures")
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    left_out = but.resolve() if but else None
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and (left_out is None or path.resolve() != left_out)
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not found:
        raise UsageError(f"no images in {folder}; expected files like .jpg or .png")
    return found
