"""Rare files: planes of their own, JPEG 2000 at reduced size, memory by format, IPTC, folders."""

import io
import os
import struct
import sys
import zlib
from itertools import product
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from conftest import picture
from images.test_decoding import chunk, png, tiff
from PIL import Image, IptcImagePlugin, features

from stylepack.cli.main import run as stylepack
from stylepack.errors import PhotoError, UsageError
from stylepack.files import check_target
from stylepack.images import budget, decoding, formats
from stylepack.images.decoding import decode
from stylepack.images.formats import find_images, open_image
from stylepack.images.photo import Photo, read_photo
from stylepack.painting.jobs import plan_jobs

RGB, CMYK, LAB = 2, 5, 8  # TIFF's photometric interpretations
IPTC = b"\x1c\x02\x05\x00\x05title\x1c\x02\x74\x00\x01R"  # an odd number of bytes


def planes(values: np.ndarray, photometric: int) -> bytes:
    """An uncompressed TIFF of (H, W, bands), each band in a strip of its own."""
    height, width, bands = values.shape
    strips = [np.ascontiguousarray(values[..., band]).tobytes() for band in range(bands)]
    lists = [[8 * values.itemsize] * bands, [0] * bands, [len(strips[0])] * bands]
    short, long = 3, 4
    entries = [
        *((256, long, width), (257, long, height), (258, short, lists[0]), (259, short, 1)),
        *((262, short, photometric), (273, long, lists[1]), (277, short, bands)),
        *((278, long, height), (279, long, lists[2]), (284, short, 2)),
    ]
    at = 8 + 2 + 12 * len(entries) + 4
    data = at + 8 * bands * 3
    lists[1][:] = [data + index * len(strips[0]) for index in range(bands)]
    head, tail = struct.pack("<2sHIH", b"II", 42, 8, len(entries)), b""
    for tag, kind, value in entries:
        many = value if isinstance(value, list) else [value]
        packed = struct.pack(f"<{len(many)}{'H' if kind == short else 'I'}", *many)
        if len(packed) > 4:
            place, tail = at + len(tail), tail + packed
            packed = struct.pack("<I", place)
        head += struct.pack("<HHI", tag, kind, len(many)) + packed.ljust(4, b"\0")
    return (head + bytes(4) + tail).ljust(data, b"\0") + b"".join(strips)


def test_planes_of_eight_bits_are_read_and_others_are_refused() -> None:
    pixels = np.asarray(picture(24, 16))
    assert (
        read_photo(io.BytesIO(planes(pixels, RGB))).pixels.permute(1, 2, 0)
        == Photo.from_image(picture(24, 16)).pixels.permute(1, 2, 0)
    ).all()
    cmyk = np.asarray(picture(24, 16).convert("CMYK"))
    found = read_photo(io.BytesIO(planes(cmyk, CMYK))).pixels.permute(1, 2, 0).numpy()
    assert np.abs(found.astype(int) - pixels).max() <= 1
    for values, kind in ((pixels.astype("<u2") * 257, RGB), (pixels, LAB)):
        with pytest.raises(PhotoError, match="colours are in separate planes; save it interleaved"):
            read_photo(io.BytesIO(planes(values, kind)))


@pytest.mark.parametrize("size", [(800, 608), (803, 603), (801, 601), (640, 330)])
def test_a_jpeg_2000_is_decoded_at_reduced_size(size: tuple[int, int], monkeypatch) -> None:
    buffer = io.BytesIO()
    picture(*size).save(buffer, "JPEG2000")
    loaded = []
    real = Image.Image.crop
    monkeypatch.setattr(
        Image.Image, "crop", lambda image, box: (loaded.append(image.size), real(image, box))[1]
    )
    photo = read_photo(buffer, 40)
    assert photo.size == (40, max(1, round(40 * size[1] / size[0])))
    wanted = picture(*size).resize(photo.size, Image.Resampling.BOX)
    away = np.abs(photo.pixels.permute(1, 2, 0).numpy().astype(int) - np.asarray(wanted))
    assert away.mean() < 3
    assert loaded[0][0] < size[0]


def test_a_jpeg_2000_of_one_resolution_is_read_all_the_same() -> None:
    buffer = io.BytesIO()
    picture(200, 120).save(buffer, "JPEG2000", num_resolutions=1)
    assert read_photo(buffer, 10).size == (10, 6)


KINDS = [
    ("JPEG", {"progressive": True, "subsampling": 0}, 4 + 2 * 3),
    ("JPEG", {"progressive": True, "subsampling": 2}, 4 + 3),
    ("JPEG", {}, 4 + 3),
    ("WEBP", {}, 4 + 8),
    ("AVIF", {"speed": 10}, 4 + 13),
    ("JPEG2000", {}, 4 + 4 * 3 + 4 + 1),
    ("JPEG2000", {"tile_size": (100, 100)}, 4 + 3),
    ("TIFF", {"compression": "tiff_lzw", "tiffinfo": {278: 300}}, 4 + 4),
    ("PNG", {}, 4 + 3),
]


@pytest.mark.parametrize(("file_format", "options", "per_pixel"), KINDS)
def test_what_a_decoder_needs_is_refused_before_it_decodes(
    tmp_path: Path, file_format: str, options, per_pixel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if file_format in ("WEBP", "AVIF") and not features.check(file_format.lower()):
        pytest.skip(f"this Pillow has no {file_format}")
    path = tmp_path / "a.img"
    Image.new("RGB", (400, 300)).save(path, file_format, **options)
    needed = per_pixel * 400 * 300 + budget.CONVERSION
    monkeypatch.setattr(budget, "MOST_MEMORY", needed)
    assert read_photo(path).size == (400, 300)
    monkeypatch.setattr(budget, "MOST_MEMORY", needed - 1)
    with open_image(path) as image:
        monkeypatch.setattr(image, "load", lambda: pytest.fail("it was decoded"))
        monkeypatch.setattr(decoding, "first_frame", lambda _: pytest.fail("it was decoded"))
        with pytest.raises(MemoryError, match="the limit is"):
            decode(image, consume=True)


@pytest.mark.parametrize("file_format", ["WEBP", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_frames_that_are_taken_from_the_decoder_are_those_of_pillow(
    tmp_path: Path, file_format: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not features.check(file_format.lower()):
        pytest.skip(f"this Pillow has no {file_format}")
    monkeypatch.setattr(decoding, "STRIP", 1000)  # pixels, to have several strips
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "words"
    made = picture(70, 50).convert(mode)
    if mode == "RGBA":
        made.putalpha(Image.linear_gradient("L").resize(made.size))
    path = tmp_path / "a.img"
    made.save(path, file_format, exif=exif)
    taken = read_photo(path)
    with Image.open(path) as image:
        loaded = Photo.from_image(image, background="")
        assert image.getpixel((0, 0))  # a caller's image is still whole
    assert taken.metadata.exif[0x010E] == "words"
    assert torch.equal(taken.pixels, loaded.pixels)
    assert (taken.alpha is None) == (mode != "RGBA")
    assert mode != "RGBA" or torch.equal(taken.alpha, loaded.alpha)


def test_a_frame_that_cannot_be_decoded_is_one_line(tmp_path: Path) -> None:
    if not features.check("webp"):
        pytest.skip("this Pillow has no WEBP")
    path = tmp_path / "a.webp"
    picture(200, 200).save(path, lossless=True)
    content = bytearray(path.read_bytes())
    content[60:] = bytes(len(content) - 60)
    path.write_bytes(content)
    with pytest.raises(PhotoError, match=r"cannot read .*a\.webp: failed to read next frame; "):
        read_photo(path)


@pytest.mark.parametrize(("source", "target"), [*product(["jpg", "tif"], repeat=2)])
def test_iptc_travels(tmp_path: Path, source: str, target: str) -> None:
    path, out = tmp_path / f"a.{source}", tmp_path / f"b.{target}"
    picture(40, 30).save(path, tiffinfo={0x83BB: IPTC})
    if source == "jpg":
        resource = struct.pack(">HHI", 0x0404, 0, len(IPTC)) + IPTC + b"\0"
        segment = b"Photoshop 3.0\x008BIM" + resource
        picture(40, 30).save(
            path, extra=b"\xff\xed" + struct.pack(">H", 2 + len(segment)) + segment
        )
    read_photo(path).save(out)
    with Image.open(out) as image:
        if target == "jpg":
            found = IptcImagePlugin.getiptcinfo(image)
            assert found is not None
            assert found[(2, 5)] == b"title"
            assert image.info["photoshop"][0x0404] == IPTC
        else:
            assert image.tag_v2[0x83BB] == IPTC
    assert read_photo(out).metadata.iptc == IPTC


def test_a_text_that_unpacks_to_hundreds_of_megabytes_is_one_line(tmp_path: Path) -> None:
    many = zlib.compress(bytes(1 << 27), 9)
    rows = (b"\0" + bytes(48)) * 16
    for kind, data in ((b"zTXt", b"x\0\0"), (b"iCCP", b"x\0\0"), (b"iTXt", b"x\0\1\0\0\0")):
        path = tmp_path / f"{kind.decode()}.png"
        path.write_bytes(png(16, 16, 8, 2, rows, chunk(kind, data + many)))
        with pytest.raises(PhotoError) as refused:
            read_photo(path)
        assert str(path) in str(refused.value)


INSTEAD = {
    "a text file": b'{"error": "not found"}',
    "an audio file": b"ID3\x03" + bytes(50),
    "an Office document": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(100),
    "a program": b"\x7fELF\x02\x01\x01" + bytes(60),
    "a web page": b"<HTML><body>",
}


@pytest.mark.parametrize("kind", INSTEAD)
def test_other_files_are_named_too(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(INSTEAD[kind])
    with pytest.raises(PhotoError, match=f"is {kind}, not an image"):
        read_photo(path)


def test_a_dib_is_read_by_its_name(tmp_path: Path) -> None:
    for name, file_format in (("a.dib", "DIB"), ("b.dib", "BMP")):
        picture(20, 16).save(tmp_path / name, file_format)
        assert read_photo(tmp_path / name).size == (20, 16)


def test_hidden_folders_with_pictures_are_counted(tmp_path: Path, caplog) -> None:
    for name in ("a.jpg", ".git/config", ".thumbnails/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert len(find_images(tmp_path)) == 1
    [line] = caplog.messages
    assert line.endswith("1 hidden (.thumbnails)")


def test_a_folders_damaged_photograph_leaves_the_others_of_a_gallery(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    picture(48, 40).save(folder / "a.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:200])
    words = ["--style", "wave", "--cell", "32", "--size", "32", "-o", str(tmp_path / "out.png")]
    assert stylepack(["gallery", str(folder), *words]) == 1
    said = capsys.readouterr()
    assert str(folder / "b.png") in said.err
    assert (tmp_path / "out.png").is_file()
    (folder / "a.png").unlink()
    assert stylepack(["gallery", str(folder), *words]) == 1


@pytest.mark.parametrize("name", ["link.png", "a.png/x/y.png"])
def test_a_place_that_cannot_be_is_refused_before_painting(tmp_path: Path, name: str) -> None:
    picture(16, 16).save(tmp_path / "a.png")
    (tmp_path / "link.png").symlink_to("nowhere/x.png")
    with pytest.raises(UsageError, match=r"is not there|is a file, not a folder"):
        plan_jobs([str(tmp_path / "a.png")], str(tmp_path / name), ".wave")


def test_a_folder_that_cannot_be_written_to_is_refused(tmp_path: Path, monkeypatch) -> None:
    picture(16, 16).save(tmp_path / "a.png")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(UsageError, match="cannot be written to; choose another -o"):
        plan_jobs([str(tmp_path / "a.png")], str(tmp_path / "new" / "b.png"), ".wave")


def test_of_a_linked_target_the_folder_that_it_leads_to_counts(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    for name, place in (("good.png", "real/a.png"), ("bad.png", "nowhere/a.png")):
        (tmp_path / name).symlink_to(place)
    check_target(tmp_path / "good.png", "-o")
    with pytest.raises(UsageError, match=r"no such folder: .*nowhere, for -o .*bad\.png"):
        check_target(tmp_path / "bad.png", "-o")


def test_a_tiff_with_odd_tags_needs_no_more_than_it_is_large() -> None:
    with Image.open(io.BytesIO(tiff(picture(40, 30).convert("L")))) as image:
        image.tag_v2[budget.COMPRESSION], image.tag_v2[budget.ROWS_PER_STRIP] = 5, 2**32 - 1
        needed = budget.bytes_needed(image, image.size, image.size, 1)
    assert needed - budget.CONVERSION == 40 * 30 * (1 + 4)


@pytest.mark.parametrize(("version", "used"), [("1.6.0", False), ("1.7.0", True), ("2.0", True)])
def test_a_heic_decoder_with_known_holes_is_not_used(version, used, monkeypatch) -> None:
    registered = []
    fake = ModuleType("pillow_heif")
    fake.__version__, fake.register_heif_opener = version, lambda: registered.append(version)
    monkeypatch.setitem(sys.modules, "pillow_heif", fake)
    assert formats._register_heif() is used
    assert registered == [version] * used


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_that_nobody_writes_to_holds_nothing_up(tmp_path: Path, capsys) -> None:
    for name in ("a.jpg", "a.mp4", "mask.png"):
        os.mkfifo(tmp_path / name)
    picture(8, 8).save(tmp_path / "b.png")
    photo, clip, mask = tmp_path / "a.jpg", tmp_path / "a.mp4", tmp_path / "mask.png"
    words = [[photo], [clip], [tmp_path / "b.png", "--mask", mask]]
    for sources, pipe in zip(words, (photo, clip, mask), strict=True):
        assert stylepack(["apply", *map(str, sources), "--style", "wave"]) == 2
        assert f"{pipe} is a pipe; save it to a file first" in capsys.readouterr().err


def test_greys_of_signed_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    greys = Image.new("L", (8, 8), 200)
    greys.save(path, tiffinfo={339: 2})
    with pytest.raises(PhotoError, match="its greys are signed; save it with unsigned values"):
        read_photo(path)


def test_an_output_that_is_only_a_suffix_is_refused(tmp_path: Path) -> None:
    picture(8, 8).save(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"-o .*\.png is only a suffix; give a name like a\.png"):
        plan_jobs([str(tmp_path / "a.png")], str(tmp_path / ".png"), ".wave")


def test_writing_heic_without_its_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "EXTENSION", {".png": "PNG"})
    with pytest.raises(UsageError, match=r"a\.heic needs pillow-heif 1\.7 or later: pip install"):
        formats.output_format(Path("a.heic"))


def test_a_large_compressed_tiff_is_within_the_limit(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a.tif"
    Image.new("1", (300, 300)).save(path, compression="group4")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setattr(decoding, "CHECKED", 500)
    assert read_photo(path).size == (300, 300)
    assert Image.MAX_IMAGE_PIXELS == 1000


@pytest.mark.parametrize(("pages", "counted"), [(3, "3"), (8, "more than 5"), (1, "")])
def test_pages_are_counted_as_far_as_that_is_fast(
    tmp_path: Path,
    pages: int,
    counted: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(formats, "MOST_COUNTED", 5)
    path = tmp_path / "a.tif"
    page = Image.new("L", (4, 4))
    page.save(path, save_all=True, append_images=[page] * (pages - 1))
    assert read_photo(path).size == (4, 4)
    said = f"{path} has {counted} frames or pages; only the first picture is read"
    assert caplog.messages == [said] * bool(counted)
