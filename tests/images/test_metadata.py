"""What travels with a photograph: alpha, profiles, EXIF, and how it was painted."""

import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from conftest import picture
from PIL import Image, ImageCms

from stylepack.cli.main import run as stylepack
from stylepack.images.decoding import ORIENTATION
from stylepack.images.metadata import PROCESSING_SOFTWARE
from stylepack.images.photo import Photo, SaveOptions, read_photo
from stylepack.library.shelf import BUNDLED_PACKS

ARTIST, MODEL, GPS, EXIF_IFD, LENS = 0x013B, 0x0110, 0x8825, 0x8769, 0xA434
STARRY = ["--style", "starry"]


def with_exif(path: Path) -> Path:
    exif = Image.Exif()
    exif[ARTIST] = "A. Photographer"
    exif[MODEL] = "Box Camera"
    exif[ORIENTATION] = 6
    exif.get_ifd(EXIF_IFD)[LENS] = "50 mm"
    exif.get_ifd(GPS)[1] = "N"
    picture(60, 44).save(path, exif=exif.tobytes())
    return path


def painted(source: Path, *words: str) -> Path:
    target = source.with_name(f"out{source.suffix}")
    assert stylepack(["apply", str(source), *STARRY, "-o", str(target), *words]) == 0
    return target


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_exif_and_provenance_are_written(tmp_path: Path, suffix: str) -> None:
    with Image.open(painted(with_exif(tmp_path / f"photo{suffix}"))) as image:
        exif = image.getexif()
        assert exif[ARTIST] == "A. Photographer"
        assert ORIENTATION not in exif or exif[ORIENTATION] == 1
        assert exif.get_ifd(EXIF_IFD)[LENS] == "50 mm"
        assert exif.get_ifd(GPS)[1] == "N"
        facts = json.loads(exif[PROCESSING_SOFTWARE])
        assert facts["mix"] == "starry=1"
        assert len(facts["packs"]["starry"]) == 64
        assert len(facts["trunk"]) == 64


def test_no_metadata_writes_none(tmp_path: Path) -> None:
    with Image.open(painted(with_exif(tmp_path / "photo.jpg"), "--no-metadata")) as image:
        assert dict(image.getexif()) == {}


def test_alpha_is_kept_where_the_format_has_it_and_flattened_where_not(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    image = picture(40, 32).convert("RGBA")
    image.paste((255, 0, 0, 0), (0, 0, 20, 32))
    image.save(source)
    with Image.open(painted(source)) as result:
        assert result.mode == "RGBA"
        assert result.getchannel("A").tobytes() == image.getchannel("A").tobytes()
    flat = tmp_path / "flat.jpg"
    assert stylepack(["apply", str(source), *STARRY, "-o", str(flat)]) == 0
    with Image.open(flat) as result:
        assert min(result.getpixel((5, 5))) > 240
    blue = painted(source, "--background", "blue")
    with Image.open(blue) as result:
        assert result.mode == "RGB"


def test_a_size_without_upscaling_resizes_alpha_too(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    image = picture(80, 64)
    image.putalpha(Image.new("L", (80, 64), 99))
    image.save(source)
    with Image.open(painted(source, "--size", "40", "--no-upscale")) as result:
        assert result.size == (40, 32)
        assert result.getchannel("A").getextrema() == (99, 99)


@cache
def swapped_profile() -> bytes:
    """sRGB with its red and blue primaries exchanged: easy to tell from sRGB.

    Made once: it holds the second in which it was made.
    """
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"____").replace(b"bXYZ", b"rXYZ").replace(b"____", b"bXYZ")


def test_an_icc_profile_is_converted_to_srgb_and_back(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    picture(60, 44).save(source, icc_profile=swapped_profile())
    photo = read_photo(source)
    before = Photo.from_image(picture(60, 44)).pixels
    assert (photo.pixels.flip(0).int() - before.int()).abs().max() <= 2
    photo.save(tmp_path / "again.png")
    with Image.open(tmp_path / "again.png") as image:
        assert image.info.pop("icc_profile") == swapped_profile()
        after = Photo.from_image(image).pixels
    assert (after.int() - before.int()).abs().max() <= 3


def test_a_profile_that_leads_only_one_way_is_not_gone_back_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "photo.png"
    picture(20, 20).save(source, icc_profile=swapped_profile())

    def no_way_back(icc: bytes) -> None:
        raise ImageCms.PyCMSError("cannot build transform")

    monkeypatch.setattr("stylepack.images.color_profile.from_srgb", no_way_back)
    photo = read_photo(source)
    assert photo.icc is None
    photo.save(tmp_path / "again.png")


def test_saving_a_painting_leaves_the_photographs_exif_alone(tmp_path: Path) -> None:
    photo = read_photo(with_exif(tmp_path / "photo.jpg"))
    replace(photo, provenance="{}").save(tmp_path / "painted.jpg")
    photo.save(tmp_path / "plain.jpg")
    with Image.open(tmp_path / "plain.jpg") as plain:
        assert PROCESSING_SOFTWARE not in plain.getexif()


def test_the_output_tells_packs_by_name_not_by_path(tmp_path: Path) -> None:
    source = with_exif(tmp_path / "photo.jpg")
    target = tmp_path / "out.jpg"
    pack = BUNDLED_PACKS / "wave.safetensors"
    assert stylepack(["apply", str(source), "--style", str(pack), "-o", str(target)]) == 0
    with Image.open(target) as image:
        made = image.getexif()[PROCESSING_SOFTWARE]
    assert json.loads(made)["mix"] == "wave=1"
    assert str(BUNDLED_PACKS) not in made


def test_a_damaged_profile_is_left_aside(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    picture(40, 32).convert("L").save(source, icc_profile=b"no profile at all")
    photo = read_photo(source)
    assert photo.icc is None
    with Image.open(source) as image:
        assert photo.pixels[0].flatten().tolist() == list(image.tobytes())


def test_quality_and_subsampling_are_the_jpegs(tmp_path: Path) -> None:
    photo = read_photo(with_exif(tmp_path / "photo.jpg"))
    sizes = []
    for options in (SaveOptions(95), SaveOptions(40), SaveOptions(40, "4:2:0")):
        buffer = io.BytesIO()
        photo.write(buffer, "JPEG", options)
        sizes.append(buffer.tell())
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1", "I;16", "LA"])
def test_photographs_of_every_mode_are_painted(tmp_path: Path, mode: str) -> None:
    source = tmp_path / ("photo.tif" if mode == "CMYK" else "photo.png")
    image = picture(40, 32)
    grey = image.convert("L")
    wide = Image.frombytes("I;16", (40, 32), b"".join(bytes((0, v)) for v in grey.tobytes()))
    (wide if mode == "I;16" else grey.convert(mode) if mode == "LA" else image.convert(mode)).save(
        source
    )
    with Image.open(painted(source)) as result:
        assert result.size == (40, 32)


def test_a_palette_is_converted_by_its_profile(tmp_path: Path) -> None:
    image, profile = picture(60, 44), swapped_profile()
    image.save(tmp_path / "rgb.png", icc_profile=profile)
    image.quantize(256).save(tmp_path / "palette.png", icc_profile=profile)
    rgb, palette = (read_photo(tmp_path / f"{name}.png") for name in ("rgb", "palette"))
    assert palette.icc == profile
    assert (rgb.to_float() - palette.to_float()).abs().mean() < 0.02


def test_makers_notes_that_leave_a_jpeg_no_room_are_left_out(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    exif[0x8769] = {0x9003: "2020:02:02 02:02:02", 0x927C: b"x" * 65_300}
    picture(8, 8).save(tmp_path / "in.jpg", exif=exif)
    photo = replace(read_photo(tmp_path / "in.jpg"), provenance="painted " * 40)
    photo.save(tmp_path / "out.jpg")
    with Image.open(tmp_path / "out.jpg") as image:
        found = image.getexif()
        assert found[0x010F] == "Maker"
        assert found[0x000B] == photo.provenance
        assert dict(found.get_ifd(0x8769)) == {0x9003: "2020:02:02 02:02:02"}
    photo.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert len(image.getexif().get_ifd(0x8769)[0x927C]) == 65_300
