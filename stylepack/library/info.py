"""The list of installed packs in the Python API.  Does not import torch."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from stylepack.errors import StylepackError
from stylepack.library.shelf import shelf
from stylepack.packs.manifest import in_words


@dataclass(frozen=True)
class PackInfo:
    """An installed pack; `name` is its name for `Stylizer.load` and in mixes.

    `origin` is `bundled`, `installed`, or the trunk or Python package that it came with.
    """

    name: str
    title: str
    artist: str
    year: str
    license: str
    origin: str
    path: Path


def packs() -> list[PackInfo]:
    """The installed packs, sorted by name; damaged ones are left out.

    Raises:
        PackError: the list of hidden packs is damaged.
    """
    found = []
    for name, shelved in shelf().items():
        with suppress(StylepackError, OSError):
            manifest = shelved.manifest()
            image = manifest.style_image
            found.append(
                PackInfo(
                    name=name,
                    title=manifest.title,
                    artist=in_words(image.get("artist", "")),
                    year=in_words(image.get("year", "")),
                    license=manifest.license,
                    origin=shelved.came_with,
                    path=shelved.path,
                )
            )
    return found
