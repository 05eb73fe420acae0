"""Right pixels of rare kinds of image, files that are something else, memory, and what travels."""

import base64
import io
import logging
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import picture
from images.test_metadata import swapped_profile
from PIL import Image, ImageCms, PngImagePlugin, features

from stylepack.cli.main import run as stylepack
from stylepack.cli.packs.thumbnails import decoded as thumbnail
from stylepack.errors import PhotoError, UsageError
from stylepack.files import replacing
from stylepack.images import budget
from stylepack.images.formats import FORMATS, find_images
from stylepack.images.photo import Photo, SaveOptions, check_sides, read_photo, resized
from stylepack.training.dataset import decoded, read_painting

GREY = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (8, 1))
ELSE = {
    "git-lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n",
    "web page": b"\n<!DOCTYPE html><html><body>404</body></html>",
    "gzip": b"\x1f\x8b\x08\0\0\0\0\0",
    "tar archive": b"a.jpg".ljust(257, b"\0") + b"ustar\x0000" + bytes(300),
    "LoRA": struct.pack("<Q", 64) + b'{"__metadata__":{}}',
    "pip install pillow-heif": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n",
    "Photoshop": b"8BPS\0\1" + bytes(30),
    "FLI": struct.pack("<IHHHHHHI", 140, 0xAF12, 1, 8, 8, 8, 0, 1).ljust(140, b"\0"),
    "empty": b"",
    "zeros": bytes(4096),
    "a video": b"\0\0\0\x18ftypisom\0\0\2\0",
}


def chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(width: int, height: int, bits: int, colours: int, rows: bytes, *chunks: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows, 9))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + data + chunk(b"IEND", b"")


def read(content: bytes) -> Photo:
    return read_photo(io.BytesIO(content))


@pytest.mark.parametrize(("bits", "key"), [(1, 1), (2, 2), (4, 5), (8, 99)])
def test_a_png_of_few_bits_keeps_its_transparent_grey(bits: int, key: int) -> None:
    per_byte = 8 // bits
    values = (
        np.arange(16 * per_byte, dtype=np.uint8) * 3 % 2**bits if bits < 8 else np.arange(99, 115)
    )
    packed = np.zeros(16, np.uint8)
    for place in range(per_byte):
        packed |= (values[place::per_byte] << (8 - bits * (place + 1))).astype(np.uint8)
    transparent = chunk(b"tRNS", struct.pack(">H", key))
    photo = read(png(len(values), 1, bits, 0, b"\0" + packed.tobytes(), transparent))
    assert photo.pixels[0, 0].tolist() == (values.astype(int) * 255 // (2**bits - 1)).tolist()
    assert photo.alpha is not None
    assert photo.alpha[0].tolist() == np.where(values == key, 0, 255).tolist()


def test_a_png_of_48_bits_keeps_its_transparent_colour() -> None:
    rows = b"\0" + struct.pack(">6H", 0x1010, 0x2020, 0x3030, 0x4040, 0x5050, 0x6060)
    key = chunk(b"tRNS", struct.pack(">3H", 0x1010, 0x2020, 0x3030))
    photo = read(png(2, 1, 16, 2, rows, key))
    assert photo.pixels[:, 0, 1].tolist() == [0x40, 0x50, 0x60]
    assert photo.alpha is not None
    assert photo.alpha[0].tolist() == [0, 255]


def tiff(image: Image.Image, *tags: tuple[int, int]) -> bytes:
    """A TIFF whose short tags are other than Pillow writes them."""
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    content = bytearray(buffer.getvalue())
    for tag, value in tags:
        at = content.index(struct.pack("<HHI", tag, 3, 1))
        content[at + 8 : at + 10] = struct.pack("<H", value)
    return bytes(content)


DEEP = {
    "16 bits, white is zero": tiff(Image.fromarray(65535 - GREY.astype(np.uint16) * 257), (262, 0)),
    "32 bits, signed": tiff(Image.fromarray(GREY.astype(np.int32) * 8421504)),
    "32 bits, unsigned": tiff(
        Image.fromarray((GREY.astype(np.uint32) * 0x1010101).view(np.int32)), (339, 1)
    ),
    "32 bits up to 65,535": tiff(Image.fromarray(GREY.astype(np.int32) * 257)),
    "32 bits up to 255": tiff(Image.fromarray(GREY.astype(np.int32))),
    "floats": tiff(Image.fromarray((GREY / 255).astype(np.float32))),
    "floats, white is zero": tiff(Image.fromarray((1 - GREY / 255).astype(np.float32)), (262, 0)),
    "floats up to 65,535": tiff(Image.fromarray(GREY.astype(np.float32) * 257)),
}


@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
def test_deep_greys_become_eight_bits(content: bytes) -> None:
    found = read(content).pixels
    assert found.shape == (3, *GREY.shape)
    assert np.abs(found.int().numpy() - GREY).max() <= 2


@pytest.mark.parametrize("odd", [np.inf, -np.inf, np.nan, 1.2])
def test_one_odd_float_changes_no_other(odd: float) -> None:
    values = (GREY / 255).astype(np.float32)
    values[0, 0] = odd
    found = read(tiff(Image.fromarray(values))).pixels[0].numpy()
    assert found[0, 0] == (255 if odd > 1 else 0)
    assert np.abs(found[1:].astype(int) - GREY[1:]).max() <= 1


def test_floats_of_an_unknown_white_are_refused() -> None:
    values = (GREY / 255).astype(np.float32)
    values[0, 0] = 1e30
    with pytest.raises(PhotoError, match="greys go up to 1e"):
        read(tiff(Image.fromarray(values)))


@pytest.mark.parametrize("content", ELSE.values(), ids=ELSE)
def test_what_a_file_is_instead_is_named(tmp_path: Path, content: bytes, request) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError) as refused:
        read_photo(path)
    assert request.node.callspec.id in str(refused.value)
    assert str(path) in str(refused.value)


def test_no_other_decoder_of_pillow_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.init()

    def never(*_: object) -> None:
        pytest.fail("a decoder that is not meant to be run")

    others = {name: (never, accept) for name, (_, accept) in Image.OPEN.items()}
    others = {name: found for name, found in others.items() if name not in FORMATS}
    monkeypatch.setattr(Image, "OPEN", {**Image.OPEN, **others})
    for name, content in ELSE.items():
        path = tmp_path / f"{len(name)}.jpg"
        path.write_bytes(content)
        with pytest.raises(PhotoError):
            read_photo(path)


def test_a_palette_without_colours_is_one_line_and_the_rest_is_painted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = png(16, 16, 8, 3, (b"\0" + bytes(16)) * 16)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "b.png").write_bytes(bad)
    for name in ("a", "c"):
        picture(16, 16).save(tmp_path / "in" / f"{name}.png")
    words = ["apply", str(tmp_path / "in"), "--style", "wave", "-o", str(tmp_path / "out")]
    assert stylepack(words) == 1
    assert {path.name[0] for path in (tmp_path / "out").iterdir()} == {"a", "c"}
    assert "b.png" in capsys.readouterr().err
    assert thumbnail(f"data:image/png;base64,{base64.b64encode(bad).decode()}") is None


def test_training_sees_what_apply_paints(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = picture(400, 300)
    image.save(tmp_path / "a.jpg", icc_profile=swapped_profile(), exif=exif, quality=95)
    photo = read_photo(tmp_path / "a.jpg")
    assert torch.equal(resized(tmp_path / "a.jpg", 300).mul(255).round().byte(), photo.pixels)
    assert torch.equal(read_painting(tmp_path / "a.jpg", 300).mul(255).round().byte(), photo.pixels)
    small = decoded(tmp_path / "a.jpg", 75)
    assert small.size == (75, 100)
    wanted = photo.to_image().resize(small.size, Image.Resampling.BOX)
    away = np.abs(np.asarray(small).astype(int) - np.asarray(wanted))
    assert away.mean() < 2


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "LAB"])
def test_every_mode_is_trained_on_as_it_is_painted(tmp_path: Path, mode: str) -> None:
    image = picture(60, 40)
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        srgb = ImageCms.createProfile("sRGB")
        deep = ImageCms.profileToProfile(image, srgb, lab, outputMode="LAB")
    else:
        deep = image.convert("L").convert("LA") if mode == "LA" else image.convert(mode)
    path = tmp_path / ("a.png" if mode in ("L", "LA", "P") else "a.tif")
    deep.save(path)
    photo = read_photo(path, background="white")
    assert torch.equal(resized(path, 40).mul(255).round().byte(), photo.pixels)
    if mode == "LAB":
        assert (photo.to_float() - Photo.from_image(image).to_float()).abs().mean() < 0.03


def test_a_grey_photograph_with_a_colour_profile_is_read_by_it(tmp_path: Path) -> None:
    picture(60, 40).convert("L").save(tmp_path / "a.png", icc_profile=swapped_profile())
    assert read_photo(tmp_path / "a.png").icc == swapped_profile()


def test_formats_without_profiles_are_written_in_srgb(tmp_path: Path) -> None:
    picture(60, 40).save(tmp_path / "a.png", icc_profile=swapped_profile())
    photo = read_photo(tmp_path / "a.png")
    photo.save(tmp_path / "b.bmp")
    assert torch.equal(read_photo(tmp_path / "b.bmp").pixels, photo.pixels)


def test_what_travels_goes_into_the_same_format(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6" dc:rights="R"/>'
    image = picture(60, 40)
    image.save(tmp_path / "a.jpg", dpi=(300, 300), xmp=xmp, comment=b"by R")
    text = PngImagePlugin.PngInfo()
    text.add_text("Copyright", "R")
    text.add_itxt("Title", "\u00e9t\u00e9 \u2013")
    image.save(tmp_path / "a.png", dpi=(300, 300), pnginfo=text)
    for name in ("a.jpg", "a.png"):
        read_photo(tmp_path / name).save(tmp_path / f"out-{name}")
    read_photo(tmp_path / "a.jpg").save(tmp_path / "b.png")
    read_photo(tmp_path / "a.jpg").save(tmp_path / "b.tif")
    with Image.open(tmp_path / "out-a.jpg") as jpeg:
        assert jpeg.info["dpi"] == (300, 300)
        assert jpeg.info["xmp"] == xmp.replace(b'"6"', b'"1"')
        assert jpeg.info["comment"] == b"by R"
    with Image.open(tmp_path / "out-a.png") as found:
        assert found.info["dpi"] == pytest.approx((300, 300), abs=0.1)
        assert (found.text["Copyright"], found.text["Title"]) == ("R", "\u00e9t\u00e9 \u2013")
    for name in ("b.png", "b.tif"):
        with Image.open(tmp_path / name) as found:
            assert b"rights" in found.info["xmp"]
            assert found.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    bare = io.BytesIO()
    read_photo(tmp_path / "a.jpg").write(bare, "JPEG", SaveOptions(metadata=False))
    with Image.open(bare) as found:
        assert not found.info.keys() & {"xmp", "comment", "exif"}


def test_a_gif_keeps_its_transparency(tmp_path: Path) -> None:
    image = picture(60, 40).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 30, 40))
    image.save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    photo.save(tmp_path / "a.gif")
    found = read_photo(tmp_path / "a.gif")
    assert found.alpha is not None
    assert torch.equal(found.alpha, photo.alpha)
    away = (found.pixels.int() - photo.pixels.int()).abs()[:, :, 30:].float().mean()
    assert away < 12


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png", ".webp"])
def test_frames_that_are_left_aside_are_told(
    tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / f"a{suffix}"
    first, *rest = (picture(40, 32, seed) for seed in range(3))
    first.save(path, save_all=True, append_images=rest)
    with caplog.at_level(logging.WARNING, "stylepack"):
        read_photo(path)
    [line] = caplog.messages
    assert str(path) in line
    assert "3 frames or pages" in line


def test_a_line_of_warning_is_shown_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = [picture(40, 32, seed) for seed in range(2)]
    (tmp_path / "in").mkdir()
    frames[0].save(tmp_path / "in" / "a.tif", save_all=True, append_images=frames[1:])
    (tmp_path / "in" / "notes.doc").touch()
    words = ["apply", str(tmp_path / "in"), "--style", "wave", "-o", str(tmp_path / "out")]
    assert stylepack(words) == 0
    err = capsys.readouterr().err
    assert err.count("2 frames or pages") == err.count("1 of other kinds (.doc)") == 1


@pytest.mark.parametrize(("file_format", "most"), [("JPEG", 65_500), ("WEBP", 16_383)])
def test_sides_that_are_too_long_are_refused(file_format: str, most: int) -> None:
    check_sides((most, 1), file_format)
    with pytest.raises(PhotoError, match=f"only {most} a side"):
        check_sides((1, most + 1), file_format)


def test_they_are_refused_before_the_painting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (16_384, 1)).save(tmp_path / "long.png")
    painted = "stylepack.painting.stylizer.Stylizer.paint"
    monkeypatch.setattr(painted, lambda *_, **__: pytest.fail("it was painted"))
    target = str(tmp_path / "long.webp")
    assert stylepack(["apply", str(tmp_path / "long.png"), "--style", "wave", "-o", target]) == 1
    assert "WEBP cannot hold 16384x1 pixels" in capsys.readouterr().err


def test_what_does_not_fit_into_the_memory_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("1", (6000, 5000)).save(tmp_path / "large.png")
    monkeypatch.setattr(budget, "available_memory", lambda: 80_000_000)
    with pytest.raises(PhotoError, match=r"it takes 0\.2 GB, and 0\.1 are free"):
        read_photo(tmp_path / "large.png")
    assert read_photo(tmp_path / "large.png", 100).size == (100, 83)
    monkeypatch.setattr(budget, "MOST_MEMORY", 100_000_000)
    with pytest.raises(PhotoError, match=r"the limit is 0\.1 GB"):
        read_photo(tmp_path / "large.png")


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted otherwise")
def test_reading_takes_eight_bytes_a_pixel_at_most(tmp_path: Path) -> None:
    side = 5000
    packed = (b"\0" + bytes(side // 8)) * side
    (tmp_path / "bits.png").write_bytes(png(side, side, 1, 0, packed))
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.new("RGBA", (side, side), (9, 9, 9, 9))
    wide.save(tmp_path / "alpha.png", exif=exif, compress_level=1)
    wide.convert("RGB").save(tmp_path / "a.jpg", icc_profile=swapped_profile(), exif=exif)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from stylepack.images.decoding import decode\n"
        "from stylepack.images.formats import open_image\n"
        "def read(name):\n"
        "    with open_image(Path(name)) as image: decode(image, consume=True)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10\n"
        "print(-read(sys.argv[2]) + read(sys.argv[1]))"
    )
    picture(64, 64).save(tmp_path / "small.jpg", icc_profile=swapped_profile())
    found = [("bits.png", 5), ("alpha.png", 9.5), ("a.jpg", 9.5)]
    if features.check("webp"):
        wide.save(tmp_path / "a.webp", method=0)
        found.append(("a.webp", 13.5))  # its decoder alone takes 12
    for name, most in found:
        command = [sys.executable, "-c", program, tmp_path / name, tmp_path / "small.jpg"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert int(done.stdout) < most * side * side


def test_links_are_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"old")
    link = tmp_path / "link.png"
    link.symlink_to("real/a.png")
    Photo.from_image(picture(8, 8)).save(link)
    assert link.is_symlink()
    assert read_photo(tmp_path / "real" / "a.png").size == (8, 8)
    nowhere = tmp_path / "new.txt"
    nowhere.symlink_to("real/new.txt")
    with replacing(nowhere) as temporary:
        temporary.write_text("words")
    assert (tmp_path / "real" / "new.txt").read_text() == "words"


def test_linked_folders_are_searched_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("set/a.png", "store/b.png"):
        (tmp_path / name).parent.mkdir()
        picture(8, 8).save(tmp_path / name)
    folder = tmp_path / "set"
    (folder / "linked").symlink_to("../store")
    (folder / "loop").symlink_to("..")
    (folder / "twice").symlink_to("../store")
    (folder / "gone").symlink_to("nowhere")
    found = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    assert found == ["a.png", "linked/b.png"]
    assert "linked more than once" in caplog.text
    assert "1 broken links or devices (gone)" in caplog.text


def test_what_is_left_out_of_a_folder_is_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("1.jpg", "2.jfif", "3.jpe", "4.pgm", "5.tga", "6.mpo", "paintings.csv"):
        (tmp_path / name).touch()
    for name in ("clip.MOV", "b.mov", "c.psd", ".d.jpg", "._1.jpg", "photo"):
        (tmp_path / name).touch()
    assert [path.name[0] for path in find_images(tmp_path)] == list("123456")
    [line] = caplog.messages
    assert "4 of other kinds (.mov 2, .psd, photo)" in line.replace("photo, .psd", ".psd, photo")
    assert "1 hidden (.d.jpg)" in line


def test_a_folder_that_cannot_be_opened_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("private"):
            raise PermissionError(13, "Permission denied", str(path))
        return whole(path)

    (tmp_path / "private").mkdir()
    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UsageError, match=r"no images that can be read in .*private: Permission"):
        find_images(tmp_path)
    (tmp_path / "a.jpg").touch()
    assert len(find_images(tmp_path)) == 1
    assert "1 that cannot be opened (private: Permission denied)" in caplog.text
