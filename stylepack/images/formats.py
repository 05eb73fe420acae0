"""Formats of images and clips, safe opening of image files, and images of a folder."""

import logging
import os
import threading
import warnings
from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO

from PIL import Image, UnidentifiedImageError

from stylepack.errors import PhotoError, StylepackError, UsageError
from stylepack.files import refuse_pipe
from stylepack.images.kinds import LENGTH, kind_of, known_to_pillow

# Pillow's other decoders are never used; PostScript, for example, would run Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "JPEG2000", "AVIF")
SAFE_HEIF = (1, 7)  # older versions include a libheif with critical vulnerabilities
HEIF_SUFFIXES = frozenset([".heic", ".heif"])
TGA_SUFFIXES = frozenset([".tga", ".icb", ".vda", ".vst"])
# Formats without a reliable signature, recognized by name.
BY_NAME = {**{suffix: ["TGA"] for suffix in TGA_SUFFIXES}, ".dib": ["DIB"]}
JPEG_SUFFIXES = frozenset([".jpg", ".jpeg", ".jpe", ".jfif"])
OTHERS_WRITTEN = [".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".jp2", ".avif", ".tga"]
OTHERS_READ = [".mpo", ".apng", ".dib", ".pnm", ".pgm", ".pbm", ".pfm", ".avifs", ".j2k", ".j2c"]
WRITTEN = HEIF_SUFFIXES | JPEG_SUFFIXES | frozenset(OTHERS_WRITTEN)
SUFFIXES = WRITTEN | TGA_SUFFIXES | frozenset([*OTHERS_READ, ".jpc", ".jpf", ".jpx"])
# Muxer of FFmpeg by suffix: containers that painted clips are written in.
CONTAINERS = {
    ".mp4": "mp4",
    ".m4v": "mp4",
    ".mov": "mov",
    ".mkv": "matroska",
    ".webm": "webm",
}
_ONLY_READ = [".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ogv", ".ts", ".mts", ".m2ts"]
CLIP_SUFFIXES = frozenset([*CONTAINERS, *_ONLY_READ, ".nut", ".vob", ".mxf"])
DEFAULT_SUFFIX = ".mp4"  # for clips in containers that are only read
ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}
BESIDE_PICTURES = frozenset(  # suffixes of other files that are skipped silently
    [".csv", ".db", ".html", ".ini", ".json", ".md", ".toml", ".tsv", ".txt", ".xml", ".xmp"]
)
MOST_PIXELS = 500_000_000  # of an image; more may be an attempt to exhaust memory
LONGEST_REASON = 200  # characters of a decoder's message
MOST_COUNTED = 1000  # pages of a TIFF
SHOWN = 5  # names in a line
# Reasons for leaving out something in a folder.
NOT_OPENED, AGAIN = "that cannot be opened", "linked more than once"
NO_FILE, OTHER, HIDDEN = "broken links or devices", "of other kinds", "hidden"
_QUIET = threading.RLock()
_log = logging.getLogger("stylepack")


@contextmanager
def open_image(
    source: Path | BinaryIO,
    formats: Sequence[str] = FORMATS,
    most: int = MOST_PIXELS,
    *,
    all_frames: bool = False,
) -> Iterator[Image.Image]:
    """Open an image with Pillow; decoder errors, including those in the body, become PhotoErrors.

    Images of more than `most` pixels are refused before decoding.  Frames and pages after the first
    are ignored with a warning, unless the body reads `all_frames`.

    Raises:
        UsageError: no such file, or a pipe.
        PhotoError: in none of Pillow's `formats`, damaged, or too large for the memory.
    """
    path = source if isinstance(source, Path) else name_of(source)
    try:
        if isinstance(source, Path):
            refuse_pipe(source)
        with _identified(source, formats, most) as image:
            yield image
            if not all_frames:
                _warn_of_frames(image, path)
    except StylepackError:
        raise
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}; give an image file") from None
    except UnidentifiedImageError:
        raise PhotoError(f"{path} {_what_instead(source)}") from None
    except Image.DecompressionBombError:
        raise PhotoError(
            f"{path} has more than {most // 1_000_000} megapixels, the limit; make it smaller"
        ) from None
    except NotImplementedError as error:  # from this package
        raise PhotoError(f"cannot read {path}: {error}") from None
    except MemoryError as error:
        needed = f": {error}" if str(error) else ""
        raise PhotoError(f"not enough memory to read {path}{needed}; make it smaller") from None
    except Exception as error:  # decoders raise anything for damaged files
        if isinstance(error, OSError) and error.strerror:
            raise PhotoError(f"cannot read {path}: {error.strerror}") from error
        reason = str(error)[:LONGEST_REASON] or type(error).__name__
        raise PhotoError(
            f"cannot read {path}: {reason}; the file is damaged, get a fresh copy"
        ) from error


def name_of(stream: BinaryIO) -> str:
    """The name of an open file, or `standard input`."""
    name = getattr(stream, "name", None)
    return name if isinstance(name, str) else "standard input"


def _identified(source: Path | BinaryIO, formats: Sequence[str], most: int) -> Image.Image:
    named = (source if isinstance(source, Path) else Path(name_of(source))).suffix.lower()
    formats = [*formats, *BY_NAME.get(named, [])]
    with allowing(most):
        try:
            return Image.open(source, formats=formats)
        except UnidentifiedImageError:
            if not _register_heif():
                raise
            return Image.open(source, formats=["HEIF"])


def _what_instead(source: Path | BinaryIO) -> str:
    """Words for an error: the kind of a file that cannot be read, and advice."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(LENGTH)
    else:
        source.seek(0)
        head = source.read(LENGTH)
    kind, advice = kind_of(head)
    if kind:
        return f"is {kind}, not an image that can be read; {advice}"
    known = known_to_pillow(head)
    if known in FORMATS:
        return f"is damaged, or {known} of a rare kind; save it again with 8 bits per channel"
    like = f"is {known}, " if known else "is "
    return f"{like}not an image that can be read; expected one like .jpg, .png or .tif"


def _warn_of_frames(image: Image.Image, path: object) -> None:
    with suppress(Exception):  # damage after the first picture does not matter
        if (frames := _count_frames(image)) > 1:
            count = f"more than {MOST_COUNTED:,}" if frames > MOST_COUNTED else frames
            _log.warning("%s has %s frames or pages; only the first picture is read", path, count)


def _count_frames(image: Image.Image) -> int:
    """Number of pictures in a file; for a TIFF, `MOST_COUNTED` + 1 at most.

    Pillow's time for counting a TIFF's pages is quadratic.
    """
    if image.format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    count = 1
    with suppress(EOFError):
        while count <= MOST_COUNTED:
            image.seek(count)
            count += 1
    return count


@contextmanager
def quietly() -> Iterator[None]:
    """Suppress Pillow's warnings; one thread at a time, because filters are global."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def allowing(most: int = MOST_PIXELS) -> Iterator[None]:
    """Set Pillow's global limit on pixels and suppress its warnings, like `quietly`."""
    with quietly():
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, most // 2  # raises at twice this
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _register_heif() -> bool:
    """Register HEIC with Pillow; False without pillow-heif or with a vulnerable version."""
    try:
        import pillow_heif
    except ImportError:
        return False
    if tuple(map(int, pillow_heif.__version__.split(".")[:2])) < SAFE_HEIF:
        return False
    pillow_heif.register_heif_opener()
    return True


def can_write(suffix: str) -> bool:
    """Whether pictures can be written in the format of this suffix."""
    Image.init()
    if suffix.lower() in HEIF_SUFFIXES:
        _register_heif()
    known = suffix.lower() in WRITTEN
    return known and Image.registered_extensions().get(suffix.lower(), "") in Image.SAVE


def output_format(path: Path) -> str:
    """Pillow's name of the format of `path`'s suffix.

    Raises:
        UsageError: no suffix, or one that cannot be written.
    """
    if not can_write(path.suffix):
        if path.suffix.lower() in HEIF_SUFFIXES:
            needed = ".".join(map(str, SAFE_HEIF))
            raise UsageError(
                f"{path} needs pillow-heif {needed} or later: pip install pillow-heif; or name it "
                ".jpg, .png, .webp or .tif"
            )
        raise UsageError(f"{path} has no image extension; name it .jpg, .png, .webp or .tif")
    return Image.registered_extensions()[path.suffix.lower()]


def is_clip(path: Path) -> bool:
    """Whether a file is named like a clip."""
    return path.suffix.lower() in CLIP_SUFFIXES


def unfinished_folder(target: Path) -> Path:
    """The folder that holds the painted parts of a clip until it is complete."""
    return target.with_name(f".{target.name}.unfinished")


def clip_suffix(source: Path) -> str:
    """The suffix of a painted clip: the clip's own if that can be written."""
    return source.suffix if source.suffix.lower() in CONTAINERS else DEFAULT_SUFFIX


def find_images(folder: Path, but: Path | None = None, also: Collection[str] = ()) -> list[Path]:
    """Every file under `folder` with an image's suffix, or one of `also`, sorted.

    Hidden files and `but` are left out.  Links to folders are followed, each folder once.  A
    warning counts other files that are left out.

    Raises:
        UsageError: no such folder, or no image in it.
    """
    if folder.is_file():
        raise UsageError(f"{folder} is a file; give a folder of pictures")
    if not folder.is_dir():
        raise UsageError(f"no such folder: {folder}")
    excluded = but.resolve() if but else None
    left_out: dict[str, list[str]] = defaultdict(list)
    images = sorted(
        path
        for path in _files(folder, left_out)
        if _is_image(path, left_out, also) and (excluded is None or path.resolve() != excluded)
    )
    words = _counted(left_out)
    if not images:
        none = "no images that can be read" if NOT_OPENED in left_out else "no images"
        behind = f"; left out: {words}" if words else ""
        raise UsageError(f"{none} in {folder}; expected files like .jpg or .png{behind}")
    if words:
        _log.warning("left out of %s: %s", folder, words)
    return images


def _files(folder: Path, left_out: dict[str, list[str]]) -> Iterator[Path]:
    """Yield every file below a folder, except in hidden folders; linked folders come last."""
    searched = set()
    waiting = deque([folder])

    def note(error: OSError) -> None:
        left_out[NOT_OPENED].append(f"{Path(error.filename).name}: {error.strerror}")

    while waiting:
        for parent, folders, files in os.walk(waiting.popleft(), onerror=note):
            status = os.stat(parent)  # noqa: PTH116 - os.walk yields strings
            if (status.st_dev, status.st_ino) in searched:
                left_out[AGAIN].append(Path(parent).name)
                folders.clear()
                continue
            searched.add((status.st_dev, status.st_ino))
            hidden = [name for name in folders if name.startswith(".")]
            left_out[HIDDEN] += [name for name in hidden if _has_pictures(Path(parent, name))]
            shown = [Path(parent, name) for name in sorted(folders) if name not in hidden]
            waiting += (path for path in shown if path.is_symlink())
            folders[:] = [path.name for path in shown if not path.is_symlink()]
            yield from (Path(parent, name) for name in files)


def _has_pictures(folder: Path) -> bool:
    with suppress(OSError):
        return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())
    return False


def _is_image(path: Path, left_out: dict[str, list[str]], also: Collection[str]) -> bool:
    """Whether a file is read as an image; if not, the reason is added to `left_out`."""
    suffix = path.suffix.lower()
    if path.name.startswith("."):
        if suffix in SUFFIXES and not path.name.startswith("._"):  # macOS's metadata files
            left_out[HIDDEN].append(path.name)
        return False
    if path.is_file() and (suffix in SUFFIXES or suffix in also):
        return True
    if not path.is_file():
        left_out[NO_FILE].append(path.name)
    elif suffix not in BESIDE_PICTURES:
        left_out[OTHER].append(suffix or path.name)
    return False


def _counted(left_out: dict[str, list[str]]) -> str:
    """`3 of other kinds (.mov 2, .psd), 1 hidden (.a.jpg)`."""
    parts = []
    for reason, names in filter(itemgetter(1), left_out.items()):
        counts = Counter(names).most_common()
        shown = [f"{name} {count}" if count > 1 else name for name, count in counts[:SHOWN]]
        more = ["…"] if len(counts) > SHOWN else []
        parts.append(f"{len(names)} {reason} ({', '.join(shown + more)})")
    return ", ".join(parts)
