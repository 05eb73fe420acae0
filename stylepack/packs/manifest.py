"""A pack's metadata, read from its header without torch."""

import json
import math
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stylepack.errors import PackError, UsageError
from stylepack.packs.header import Header, read_header, shown

ARCHITECTURE = "stylepack-cin-v1"
PACK_ARCHITECTURE = f"{ARCHITECTURE}/style"
IMPLEMENTATION = "https://pypi.org/project/stylepack"
FORMAT_VERSION = "1"
MODELSPEC_VERSION = "1.0.1"
LARGEST_PACK = 4 << 20
LARGEST_TRUNK = 256 << 20
DEEPEST = 16  # levels of nesting of a JSON field
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
RESERVED_NAMES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)
SUFFIX = ".safetensors"
TRUNK_FILE = "trunk.safetensors"  # in a folder beside `packs/`
IDENTITY = "photo"  # name of a trunk's identity style
TEXTS = (  # fields that are keys of the ModelSpec
    *("title", "description", "author", "date", "license", "tags", "thumbnail", "merged_from"),
)
FACTS = ("style_image", "train", "metrics")  # fields that are JSON objects


@dataclass(frozen=True)
class Manifest:
    """A pack's metadata.  Keys follow the Stability ModelSpec 1.0.1."""

    name: str
    trunk_sha256: str = ""
    title: str = ""
    description: str = ""
    author: str = ""
    date: str = ""
    license: str = ""
    tags: str = ""
    thumbnail: str = ""  # data URI
    merged_from: str = ""
    sha256: str = ""  # of all bytes after the header
    own_contrast: float = 0.0  # share of the photograph's contrast in the last norm
    style_image: dict[str, Any] = field(default_factory=dict)  # title, artist, year, ...
    train: dict[str, Any] = field(default_factory=dict)  # recipe, updates, loss network, ...
    metrics: dict[str, Any] = field(default_factory=dict)  # held-out content and style loss

    def to_metadata(self) -> dict[str, str]:
        """The safetensors metadata of this pack, without empty fields."""
        fields = {
            "modelspec.sai_model_spec": MODELSPEC_VERSION,
            "modelspec.architecture": PACK_ARCHITECTURE,
            "modelspec.implementation": IMPLEMENTATION,
            **{f"modelspec.{key}": getattr(self, key) for key in TEXTS},
            "modelspec.title": self.title or self.name,
            "stylepack.format_version": FORMAT_VERSION,
            "stylepack.name": self.name,
            "stylepack.trunk_sha256": self.trunk_sha256,
            "stylepack.own_contrast": f"{self.own_contrast:.9g}" if self.own_contrast else "",
            **{f"stylepack.{key}": _dump(getattr(self, key)) for key in FACTS},
        }
        return {key: value for key, value in fields.items() if value}

    @classmethod
    def from_header(cls, header: Header, path: object) -> "Manifest":
        """Check the metadata of a pack file.

        Raises:
            PackError: not a pack, a later format, or invalid metadata.
        """
        data = header.metadata
        architecture = data.get("modelspec.architecture")
        if architecture != PACK_ARCHITECTURE:
            raise PackError(
                f"{path} is not a style pack: architecture {_quoted(architecture)}, "
                f"expected '{PACK_ARCHITECTURE}'"
            )
        check_version(header, path)
        texts: dict[str, Any] = {key: data.get(f"modelspec.{key}", "") for key in TEXTS}
        facts: dict[str, Any] = {key: _load(data, f"stylepack.{key}", path) for key in FACTS}
        return cls(
            name=checked_name(data.get("stylepack.name", ""), path),
            trunk_sha256=data.get("stylepack.trunk_sha256", ""),
            sha256=data.get("modelspec.hash_sha256", "").removeprefix("0x"),
            own_contrast=_share(data, "stylepack.own_contrast", path),
            **texts,
            **facts,
        )


def read_manifest(path: Path) -> Manifest:
    """Read a pack's metadata from the header of `path`, without reading its tensors."""
    return Manifest.from_header(read_header(path, LARGEST_PACK), path)


def check_version(header: Header, path: object) -> None:
    """Refuse a pack or trunk in another version of the format."""
    version = header.metadata.get("stylepack.format_version")
    if version != FORMAT_VERSION:
        raise PackError(
            f"{path} has format version {_quoted(version)}, this stylepack reads "
            f"'{FORMAT_VERSION}'; upgrade with: pip install -U stylepack"
        )


def checked_name(name: str, source: object, whose: str = "a pack's") -> str:
    """Return `name` if it can be a pack's or a trunk's name, which is part of a file name.

    Raises:
        PackError: anything but at most 64 lower-case letters, digits, '-' and '_'.
    """
    if name in RESERVED_NAMES:
        raise PackError(
            f"{source}: '{name}' cannot be {whose} name, it is reserved on Windows; choose another"
        )
    if not NAME_PATTERN.fullmatch(name):
        raise PackError(
            f"{source}: {_quoted(name)} cannot be {whose} name; use lower-case letters, digits, "
            "'-' and '_', at most 64"
        )
    return name


def typed_name(name: str, source: object) -> str:
    """`checked_name` for a name from the command line.

    Raises:
        UsageError: it is invalid.
    """
    try:
        return checked_name(name, source)
    except PackError as error:
        raise UsageError(str(error)) from error


def common_license(manifests: Iterable[Manifest]) -> str:
    """The licence that all packs share, else ""."""
    licenses = {manifest.license for manifest in manifests}
    return licenses.pop() if len(licenses) == 1 else ""


def plain(text: str) -> str:
    """Text for searching: without case and accents."""
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c)).casefold()


def in_words(value: Any) -> str:
    """A metadata value, even a nested one, as text on one line."""
    if isinstance(value, dict):
        return " ".join(f"{key} {in_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        nested = any(isinstance(item, dict | list) for item in value)
        return ("; " if nested else ", ").join(map(in_words, value))
    return str(value)


def _quoted(text: str | None) -> str:
    return repr(text if text is None else shown(text))


def _share(data: dict[str, str], key: str, path: object) -> float:
    try:
        share = float(data.get(key) or 0.0)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise PackError(
            f"{path}: metadata '{key}' is {_quoted(data[key])}, expected a number in 0..1"
        )
    return share


def _dump(fields: dict[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, sort_keys=True) if fields else ""


def _load(data: dict[str, str], key: str, path: object) -> dict[str, Any]:
    text = data.get(key) or "{}"
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict) or (
        text.count("[") + text.count("{") > DEEPEST and _is_deeper(fields, DEEPEST)
    ):
        raise PackError(
            f"{path}: metadata '{key}' is not a JSON object of at most {DEEPEST} levels"
        )
    return fields


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested more than `levels` deep."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)
