"""Galleries: many styles on a few photographs, with labels for sheets and pages."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from stylepack.errors import UsageError, WrongTrunkError, printable
from stylepack.images.contact_sheet import UNKNOWN, contact_sheet, spell
from stylepack.images.photo import Photo, read_photo
from stylepack.inference.strips import Advance, ignore_progress
from stylepack.library.resolve import Loaded
from stylepack.packs.manifest import IDENTITY, SUFFIX, Manifest
from stylepack.packs.mix import Mix
from stylepack.painting.stylizer import Stylizer

JPEG_QUALITY = 88
MOST_COLUMNS = 6  # default of a sheet
LONGEST_WORDS = 120  # characters shown of a title or name
GLUE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Label:
    """Words beside the paintings of a pack, each on one line."""

    name: str
    title: str
    artist: str = ""
    year: str = ""
    painting_licence: str = ""
    pack_licence: str = ""

    @classmethod
    def of(cls, name: str, manifest: Manifest) -> "Label":
        """A label from a manifest, for a pack that is called `name` here."""
        image = manifest.style_image
        return cls(
            name=in_words(name),
            title=in_words(manifest.title) or in_words(name),
            artist=in_words(image.get("artist")),
            year=in_words(image.get("year")),
            painting_licence=in_words(image.get("licence")),
            pack_licence=in_words(manifest.license),
        )

    @property
    def title_and_name(self) -> str:
        """`The Starry Night (starry)`, or only the name if the title is the same."""
        return self.name if self.title == self.name else f"{self.title} ({self.name})"

    @property
    def caption(self) -> str:
        """Title, name and artist for a contact sheet, without those that its font cannot spell."""
        lines = [self.title_and_name if _is_spelt(self.title) else self.name]
        if self.artist and _is_spelt(self.artist):
            lines.append(self.artist)
        return "\n".join(lines)


@dataclass(frozen=True)
class Picture:
    """A picture: small for a sheet, and as a JPEG for a page."""

    small: Image.Image
    jpeg: bytes
    size: tuple[int, int]

    @classmethod
    def of(cls, photo: Photo, cell: int) -> "Picture":
        """A photo fitted into a square of `cell` pixels, and as a JPEG at its own size."""
        image = photo.to_image()
        file = io.BytesIO()
        image.save(file, "JPEG", quality=JPEG_QUALITY, optimize=True)
        return cls(ImageOps.contain(image, (cell, cell)), file.getvalue(), image.size)


@dataclass(frozen=True)
class GalleryRow:
    """A photograph with its paintings, one per label."""

    name: str
    photo: Picture
    paintings: list[Picture]


def labels_of(loaded: Loaded, named: bool) -> dict[str, Label]:
    """Labels by reference, without the identity pack unless packs were `named`.

    Raises:
        UsageError: no pack is left.
    """
    labels = {
        reference: Label.of(Path(reference).stem, pack.manifest)
        for reference, pack in loaded.packs.items()
        if named or reference != IDENTITY
    }
    if not labels:
        raise UsageError(
            f"no installed pack belongs to trunk {loaded.sha256[:12]}; name packs with --style FILE"
        )
    return labels


def warnings_of(loaded: Loaded) -> list[str]:
    """A line for every damaged pack that was left out, and one for all packs of other trunks."""
    errors = {name: error for name, error in loaded.left_out.items() if name != IDENTITY}
    foreign = [name for name, error in errors.items() if isinstance(error, WrongTrunkError)]
    damaged = [f"left out '{name}': {errors[name]}" for name in errors if name not in foreign]
    return damaged + [f"left out packs of another trunk: {', '.join(foreign)}"] * bool(foreign)


def load_each(
    loaded: Loaded, mixes: Sequence[Mix], device: str = "auto", precision: str = "auto"
) -> list[Stylizer]:
    """A stylizer per mix, with a shared trunk; errors as in `Stylizer.on`."""
    whole = Stylizer.on(loaded, mixes, device=device, precision=precision)
    return [
        Stylizer(whole.trunk, whole.style.alone(row), [mix], whole.packs, whole.device, whole.dtype)
        for row, mix in enumerate(whole.mixes)
    ]


def read_small(path: Path, size: int) -> Photo:
    """A photograph on white with a long side of `size` pixels; errors as in `read_photo`."""
    return read_photo(path, size, background="white")


def paint_each(
    stylizers: Sequence[Stylizer],
    photo: Photo,
    cell: int,
    *,
    keep_colors: bool = False,
    advance: Advance = ignore_progress,
) -> Iterator[Picture]:
    """Yield the photograph painted by each stylizer."""
    for stylizer in stylizers:
        yield Picture.of(stylizer.paint(photo, keep_colors=keep_colors, advance=advance), cell)


def gallery_sheet(
    gallery: Sequence[GalleryRow], labels: Sequence[Label], cell: int, columns: int | None = None
) -> Image.Image:
    """A sheet of every photograph and its paintings, in rows of at most `columns`."""
    columns = columns or even_columns(1 + len(labels))
    rows: list[list[Image.Image]] = []
    captions: list[list[str]] = []
    for row in gallery:
        pictures = [row.photo.small, *(painting.small for painting in row.paintings)]
        words = [row.name, *(label.caption for label in labels)]
        for start in range(0, len(pictures), columns):
            rows.append(pictures[start : start + columns])
            captions.append(words[start : start + columns])
    return contact_sheet(rows, captions, cell)


def even_columns(pictures: int) -> int:
    """The number of columns, at most `MOST_COLUMNS`, that fills rows evenly."""
    rows = -(-pictures // MOST_COLUMNS)
    return -(-pictures // rows)


def mix_caption(mix: Mix) -> str:
    """`75 % starry, 25 % scream`, at most two packs per line; one pack is its name alone."""
    names = [in_words(Path(reference).name).removesuffix(SUFFIX) for reference in mix.references]
    if len(names) == 1:
        return names[0].replace(" ", GLUE)
    parts = [
        f"{_percent(weight)} % {name}".replace(" ", GLUE)
        for name, weight in zip(names, mix.weights, strict=True)
    ]
    pairs = [", ".join(parts[start : start + 2]) for start in range(0, len(parts), 2)]
    return ",\n".join(pairs)


def in_words(value: Any) -> str:
    """Untrusted metadata as printable text on one line; "" unless it is text or a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    words = printable(" ".join(str(value).split()))
    return words if len(words) <= LONGEST_WORDS else f"{words[: LONGEST_WORDS - 1]}…"


def _is_spelt(text: str) -> bool:
    return UNKNOWN not in spell(text.replace(UNKNOWN, ""))


def _percent(weight: float) -> str:
    return f"{weight:.0%}"[:-1] if weight >= 0.005 else "<1"
