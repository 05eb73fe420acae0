"""Images made to harm: a picture, or one printable line, in little time and memory.

Some hundred examples a run; 10,000 of each format with `pytest -m nightly`.
"""

import io
import time
from functools import cache
from pathlib import Path

import pytest
from conftest import picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from stylepack.errors import PhotoError
from stylepack.images import formats as imagefile
from stylepack.images.budget import MOST_MEMORY
from stylepack.images.formats import FORMATS
from stylepack.images.photo import SaveOptions, read_photo

EXAMPLES, NIGHTLY_EXAMPLES = 200, 10_000
MOST_PIXELS = 1 << 22  # of the images here: what is larger takes its time honestly
MOST_SECONDS = 5.0
MOST_GROWTH = 1 << 28  # bytes
LONGEST_LINE = 1000
often = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
nightly = settings(often, max_examples=NIGHTLY_EXAMPLES)

BYTES = st.binary(min_size=1, max_size=8) | st.sampled_from(
    [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\1", b"\xff\xd8"]
)
EDIT = st.tuples(st.floats(0, 1, exclude_max=True), BYTES, st.booleans())
HARM = st.tuples(st.lists(EDIT, min_size=1, max_size=4), st.floats(0.5, 1) | st.just(1.0))


@cache
def good(file_format: str, kind: int) -> bytes:
    """A small file with all that travels; `kind` varies its mode and its layout."""
    exif = Image.Exif()
    exif[0x010E], exif[0x0112] = "words", 6
    image = picture(24, 17).convert(("RGB", "L", "RGBA", "P")[kind % 4])
    if file_format in ("JPEG", "PPM", "JPEG2000") and image.mode in ("P", "RGBA"):
        image = image.convert("RGB")
    options = {
        "JPEG": {"exif": exif, "xmp": b"<x/>", "comment": b"words", "progressive": kind > 1},
        "PNG": {"exif": exif, "dpi": (300, 300)},
        "TIFF": {"compression": ("raw", "tiff_lzw", "tiff_adobe_deflate")[kind % 3]},
        "WEBP": {"exif": exif, "lossless": kind > 1},
        "GIF": {"comment": b"words"},
        "AVIF": {"speed": 10},
    }
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options.get(file_format, {}))
    return buffer.getvalue()


def resident() -> int:
    """Bytes of memory in use; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) << 12
    except OSError:
        return 0


def harm(file_format: str, kind: int, edits: list[tuple[float, bytes, bool]], cut: float) -> None:
    content = good(file_format, kind)
    for place, new, inserted in edits:
        at = int(place * len(content))
        content = content[:at] + new + content[at + (not inserted) * len(new) :]
    content = content[: int(cut * len(content))]
    start, before = time.monotonic(), resident()
    line = "read"
    try:
        photo = read_photo(io.BytesIO(content), 2 if kind == 3 else None)  # at reduced size too
        assert photo.pixels.shape[1] * photo.pixels.shape[2] <= MOST_PIXELS
        photo.write(io.BytesIO(), "JPEG", SaveOptions())  # what travels does no harm either
        photo.write(io.BytesIO(), "PNG", SaveOptions())
    except PhotoError as error:
        line = str(error)
    assert line.isprintable()
    assert len(line) <= LONGEST_LINE
    assert time.monotonic() - start < MOST_SECONDS
    assert resident() - before < MOST_GROWTH


def attack(file_format: str, how_often: settings, monkeypatch: pytest.MonkeyPatch) -> None:
    if file_format in ("WEBP", "AVIF") and not features.check(file_format.lower()):
        pytest.skip(f"this Pillow has no {file_format}")
    monkeypatch.setattr(imagefile.open_image.__wrapped__, "__defaults__", (FORMATS, MOST_PIXELS))

    @given(st.integers(0, 3), HARM)
    def check(kind: int, found: tuple[list[tuple[float, bytes, bool]], float]) -> None:
        harm(file_format, kind, *found)

    how_often(check)()


@pytest.mark.parametrize("file_format", FORMATS)
def test_random_harm(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack(file_format, often, monkeypatch)


@pytest.mark.nightly
@pytest.mark.parametrize("file_format", FORMATS)
def test_random_harm_all_night(file_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack(file_format, nightly, monkeypatch)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_images_that_are_changed_above_are_good(file_format: str) -> None:
    if file_format in ("WEBP", "AVIF") and not features.check(file_format.lower()):
        pytest.skip(f"this Pillow has no {file_format}")
    for kind in range(4):
        assert set(read_photo(io.BytesIO(good(file_format, kind))).size) == {17, 24}
    assert MOST_MEMORY < 1 << 33
