"""Names of film clips: known without PyAV, so that folders can be listed without it."""

from pathlib import Path

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
DEFAULT_SUFFIX = ".mp4"  # of what is painted from containers that are only read
ANIMATED = {".gif": "GIF", ".webp": "WEBP", ".png": "PNG", ".apng": "PNG"}


def is_clip(path: Path) -> bool:
    """Whether a file is named like a clip."""
    return path.suffix.lower() in CLIP_SUFFIXES


def unfinished_folder(target: Path) -> Path:
    """Where what is painted of a clip is kept until it is whole."""
    return target.with_name(f".{target.name}.unfinished")


def clip_suffix(source: Path) -> str:
    """The suffix that the painting of a clip has: the clip's own where that can be written."""
    return source.suffix if source.suffix.lower() in CONTAINERS else DEFAULT_SUFFIX
