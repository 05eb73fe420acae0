"""Writing image files: exact where the format is, and whole or not at all."""

from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from conftest import picture
from PIL import Image, features

from stylepack.errors import StylepackError, UsageError
from stylepack.images.formats import output_format
from stylepack.images.photo import Photo, read_photo


def random_photo(width: int = 7, height: int = 5) -> Photo:
    generator = torch.Generator().manual_seed(0)
    shape = (3, height, width)
    return Photo(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator))


def test_floats_round_to_the_nearest_of_256() -> None:
    values = torch.tensor([-1.0, 0.0, 0.49 / 255, 0.51 / 255, 0.5, 254.6 / 255, 1.0, 7.0])
    photo = Photo.from_float(values.expand(3, 1, 8))
    assert photo.pixels[0, 0].tolist() == [0, 0, 0, 1, 128, 255, 255, 255]
    every = Photo(torch.arange(256, dtype=torch.uint8).expand(3, 1, 256))
    assert torch.equal(Photo.from_float(every.to_float()).pixels, every.pixels)


@pytest.mark.parametrize("suffix", [".png", ".PNG", ".tif", ".bmp", ".ppm"])
def test_lossless_formats_give_back_every_pixel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    random_photo().save(path)
    assert torch.equal(read_photo(path).pixels, random_photo().pixels)
    assert list(tmp_path.iterdir()) == [path]


def test_a_jpeg_is_close_and_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "out.jpg"
    path.write_text("old")
    photo = Photo.from_image(picture(40, 30))
    photo.save(path)
    difference = read_photo(path).to_float() - photo.to_float()
    assert difference.abs().mean() < 0.02


@pytest.mark.parametrize("name", ["out", "out.", "out.xyz", "out.jpg.part", "out.txt", ".jpg"])
def test_an_unknown_suffix_is_refused_before_anything_is_written(tmp_path, name: str) -> None:
    with pytest.raises(UsageError, match=r"name it \.jpg, \.png") as refused:
        random_photo().save(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".h5", ".xbm"])
def test_a_format_that_cannot_hold_a_photo_counts_as_unknown(suffix: str) -> None:
    with pytest.raises(UsageError, match=r"name it \.jpg, \.png"):
        output_format(Path(f"out{suffix}"))


UNWRITABLE = ["missing/out.png", "file/out.png", "folder.png", "x" * 300 + ".png"]


@pytest.mark.parametrize("name", UNWRITABLE, ids=[name[:16] for name in UNWRITABLE])
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "folder.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(StylepackError, match="cannot write") as refused:
        random_photo().save(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_name_as_long_as_the_disk_allows_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".png")
    path.write_bytes(b"")
    random_photo().save(path)
    assert torch.equal(read_photo(path).pixels, random_photo().pixels)


SIDES = {".webp": 16_384, ".gif": 65_536, ".jpg": 65_536, ".avif": 65_537}


@pytest.mark.parametrize("suffix", SIDES)
def test_a_photo_too_large_for_its_format_is_refused(tmp_path: Path, suffix: str) -> None:
    if suffix in (".webp", ".avif") and not features.check(suffix[1:]):
        pytest.skip(f"this Pillow writes no {suffix}")
    with pytest.raises(StylepackError, match=r"cannot (write|hold)"):
        random_photo(SIDES[suffix], 1).save(tmp_path / f"wide{suffix}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("broken", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_while_saving_keeps_the_old_file(tmp_path, monkeypatch, broken) -> None:
    path = tmp_path / "out.png"
    random_photo().save(path)
    before = path.read_bytes()

    def half(image: Image.Image, target: BinaryIO, **options: object) -> None:
        target.write(b"half")
        raise broken

    monkeypatch.setattr(Image.Image, "save", half)
    expected = StylepackError if isinstance(broken, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        random_photo(3, 3).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_written_anew_keeps_its_permissions(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    path.touch(mode=0o600)
    random_photo().save(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert torch.equal(read_photo(path).pixels, random_photo().pixels)


def test_exif_tells_the_size_of_the_picture_that_it_is_in(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    exif.get_ifd(0x8769).update({0xA002: 60, 0xA003: 40, 0x9003: "2026:01:01 00:00:00"})
    picture(60, 40).save(tmp_path / "in.jpg", exif=exif)
    photo = read_photo(tmp_path / "in.jpg")
    photo.save(tmp_path / "turned.jpg")
    photo.resized(30).save(tmp_path / "small.jpg")
    for name, size in (("turned", (40, 60)), ("small", (20, 30))):
        with Image.open(tmp_path / f"{name}.jpg") as image:
            ifd = image.getexif().get_ifd(0x8769)
            assert (ifd[0xA002], ifd[0xA003]) == image.size == size
            assert ifd[0x9003] == "2026:01:01 00:00:00"


def test_exif_without_a_second_ifd_gets_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    picture(60, 40).save(tmp_path / "in.jpg", exif=exif)
    read_photo(tmp_path / "in.jpg").save(tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        assert dict(image.getexif()) == {0x010F: "Maker"}


def test_permissions_that_cannot_be_set_are_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    for _ in range(2):
        random_photo().save(tmp_path / "out.png")


@pytest.mark.parametrize("name", ["rgb(300,0,0)", "hsl(0,100%,150%)", "no colour", ""])
def test_what_is_no_colour_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no colour"):
        random_photo().flattened(name)
