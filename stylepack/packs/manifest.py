"""What a pack says about itself, read from its header without torch."""

import json
import math
import re
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
DEEPEST = 16  # levels of a JSON field
NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
RESERVED_NAMES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))]
)
SUFFIX = ".safetensors"
TRUNK_FILE = "trunk.safetensors"  # in a folder beside `packs/`
IDENTITY = "photo"  # the name of a trunk's identity style


@dataclass(frozen=True)
class Manifest:
    """One pack's metadata.  Text keys follow the Stability ModelSpec 1.0.1."""

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
    own_contrast: float = 0.0  # share of the photograph's own contrast in the last norm
    style_image: dict[str, Any] = field(default_factory=dict)  # title, artist, year, ...
    train: dict[str, Any] = field(default_factory=dict)  # recipe, updates, loss network, ...
    metrics: dict[str, Any] = field(default_factory=dict)  # held-out content and style loss

    def to_metadata(self) -> dict[str, str]:
        """The safetensors metadata of this pack; empty fields are left out."""
        fields = {
            "modelspec.sai_model_spec": MODELSPEC_VERSION,
            "modelspec.architecture": PACK_ARCHITECTURE,
            "modelspec.implementation": IMPLEMENTATION,
            "modelspec.title": self.title or self.name,
            "modelspec.description": self.description,
            "modelspec.author": self.author,
            "modelspec.date": self.date,
            "modelspec.license": self.license,
            "modelspec.tags": self.tags,
            "modelspec.thumbnail": self.thumbnail,
            "modelspec.merged_from": self.merged_from,
            "stylepack.format_version": FORMAT_VERSION,
            "stylepack.name": self.name,
            "stylepack.trunk_sha256": self.trunk_sha256,
            "stylepack.own_contrast": f"{self.own_contrast:.9g}" if self.own_contrast else "",
            "stylepack.style_image": _dump(self.style_image),
            "stylepack.train": _dump(self.train),
            "stylepack.metrics": _dump(self.metrics),
        }
        return {key: value for key, value in fields.items() if value}

    @classmethod
    def from_header(cls, header: Header, path: object) -> "Manifest":
        """Check the metadata of a pack file and give it names.

        Raises:
            PackError: not a pack, a later format, or metadata that contradicts the format.
        """
        data = header.metadata
        architecture = data.get("modelspec.architecture")
        if architecture != PACK_ARCHITECTURE:
            raise PackError(
                f"{path} is not a style pack: architecture {_quoted(architecture)}, "
                f"expected '{PACK_ARCHITECTURE}'"
            )
        check_version(header, path)
        return cls(
            name=checked_name(data.get("stylepack.name", ""), path),
            trunk_sha256=data.get("stylepack.trunk_sha256", ""),
            title=data.get("modelspec.title", ""),
            description=data.get("modelspec.description", ""),
            author=data.get("modelspec.author", ""),
            date=data.get("modelspec.date", ""),
            license=data.get("modelspec.license", ""),
            tags=data.get("modelspec.tags", ""),
            thumbnail=data.get("modelspec.thumbnail", ""),
            merged_from=data.get("modelspec.merged_from", ""),
            sha256=data.get("modelspec.hash_sha256", "").removeprefix("0x"),
            own_contrast=_share(data, "stylepack.own_contrast", path),
            style_image=_load(data, "stylepack.style_image", path),
            train=_load(data, "stylepack.train", path),
            metrics=_load(data, "stylepack.metrics", path),
        )


def read_manifest(path: Path) -> Manifest:
    """Read a pack's metadata, and only its header, from `path`."""
    return Manifest.from_header(read_header(path, LARGEST_PACK), path)


def check_version(header: Header, path: object) -> None:
    """Refuse a pack or trunk of a format that this version does not know."""
    version = header.metadata.get("stylepack.format_version")
    if version != FORMAT_VERSION:
        raise PackError(
            f"{path} has format version {_quoted(version)}, this stylepack reads "
            f"'{FORMAT_VERSION}'; upgrade with: pip install -U stylepack"
        )


def checked_name(name: str, source: object, whose: str = "a pack's") -> str:
    """Return `name` if it can be a pack's or a trunk's name: it will be part of a file name.

    Raises:
        PackError: anything but lower-case letters, digits, '-' and '_', 64 at most.
    """
    if name in RESERVED_NAMES:
        raise PackError(
            f"{source}: '{name}' cannot be {whose} name, Windows has it for a device; "
            "choose another"
        )
    if not NAME_PATTERN.fullmatch(name):
        raise PackError(
            f"{source}: {_quoted(name)} cannot be {whose} name; use lower-case letters, digits, "
            "'-' and '_', at most 64"
        )
    return name


def typed_name(name: str, source: object) -> str:
    """`checked_name` of a name that somebody has typed.

    Raises:
        UsageError: it cannot be one.
    """
    try:
        return checked_name(name, source)
    except PackError as error:
        raise UsageError(str(error)) from error


def common_license(manifests: Iterable[Manifest]) -> str:
    """The licence that all packs have; empty if they differ or one has none."""
    licenses = {manifest.license for manifest in manifests}
    return licenses.pop() if len(licenses) == 1 else ""


def in_words(value: Any) -> str:
    """A metadata value on one line, nested ones too."""
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
    """Whether lists and objects lie within each other more than `levels` deep."""
    inner = value.values() if isinstance(value, dict) else value
    if not isinstance(value, dict | list):
        return False
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in inner)
