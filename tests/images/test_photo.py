"""Reading image files: upright, in RGB whatever their mode, refused when damaged."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image, features

from stylepack.errors import PhotoError, UsageError
from stylepack.images import photo
from stylepack.images.formats import open_image
from stylepack.images.mask import read_mask
from stylepack.images.photo import read_photo

UPRIGHT = torch.arange(2 * 3 * 3, dtype=torch.uint8).view(2, 3, 3).numpy() * 10  # (H, W, RGB)
STORED = {  # how a camera held each way stores the upright picture
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.swapaxes(0, 1),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(UPRIGHT, -1),
}


def first_pixel(path: Path) -> list[int]:
    return read_photo(path).flattened("white").pixels[:, 0, 0].tolist()


@pytest.mark.parametrize("orientation", STORED)
def test_a_photo_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(STORED[orientation])
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    photo = read_photo(tmp_path / "turned.png")
    assert photo.size == (3, 2)
    assert np.array_equal(photo.pixels.permute(1, 2, 0).numpy(), UPRIGHT)


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack(">HHI4s", tag, kind, count, value)


@pytest.mark.parametrize(
    "wrong",
    [entry(0x011A, 2, 4, b"abc\0"), entry(0x0100, 2, 4, b"abc\0"), entry(0x010F, 2, 400, b"abcd")],
    ids=["resolution is text", "width is text", "maker beyond the end"],
)
def test_damaged_exif_does_not_stop_a_photo_from_being_read(tmp_path: Path, wrong: bytes) -> None:
    turned = entry(0x0112, 3, 1, b"\0\6\0\0")
    exif = b"Exif\0\0MM\0*\0\0\0\x08" + struct.pack(">H", 2) + turned + wrong + b"\0" * 4
    picture(8, 4).save(tmp_path / "odd.jpg", exif=exif)
    assert read_photo(tmp_path / "odd.jpg").size == (4, 8)


def palette(transparency: int | None = None) -> tuple[Image.Image, dict[str, object]]:
    image = Image.new("P", (2, 2), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    return image, {} if transparency is None else {"transparency": transparency}


MODES = {
    "grey": (Image.new("L", (2, 2), 77), {}, [77] * 3),
    "grey, one value transparent": (Image.new("L", (2, 2), 7), {"transparency": 7}, [255] * 3),
    "black and white": (Image.new("1", (2, 2), 1), {}, [255] * 3),
    "palette": (*palette(), [10, 20, 30]),
    "palette, opaque pixel": (*palette(0), [10, 20, 30]),
    "palette, transparent pixel": (*palette(1), [255] * 3),
    "RGB": (Image.new("RGB", (2, 2), (1, 2, 3)), {}, [1, 2, 3]),
    "RGBA, opaque": (Image.new("RGBA", (2, 2), (1, 2, 3, 255)), {}, [1, 2, 3]),
    "RGBA, clear": (Image.new("RGBA", (2, 2), (1, 2, 3, 0)), {}, [255] * 3),
    "RGBA, half black": (Image.new("RGBA", (2, 2), (0, 0, 0, 128)), {}, [127] * 3),
    "LA, opaque": (Image.new("LA", (2, 2), (9, 255)), {}, [9] * 3),
    "LA, clear": (Image.new("LA", (2, 2), (9, 0)), {}, [255] * 3),
    "one pixel": (Image.new("RGB", (1, 1), (1, 2, 3)), {}, [1, 2, 3]),
}


@pytest.mark.parametrize(("image", "options", "expected"), MODES.values(), ids=MODES)
def test_every_mode_becomes_rgb_with_transparency_on_white(
    tmp_path: Path, image: Image.Image, options: dict[str, object], expected: list[int]
) -> None:
    image.save(tmp_path / "mode.png", **options)
    assert read_photo(tmp_path / "mode.png").size == image.size
    assert first_pixel(tmp_path / "mode.png") == expected


def test_a_cmyk_jpeg_has_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "print.jpg"
    for ink, expected in (((0, 0, 0, 0), 255), ((0, 0, 0, 255), 0), ((255, 255, 255, 0), 0)):
        Image.new("CMYK", (8, 8), ink).save(path)
        assert first_pixel(path) == pytest.approx([expected] * 3, abs=3)
    Image.new("CMYK", (8, 8), (255, 0, 0, 0)).save(path)
    assert first_pixel(path) == pytest.approx([0, 255, 255], abs=3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_keeps_its_range(tmp_path: Path, suffix: str) -> None:
    ramp = np.arange(256, dtype=np.uint16)[None] * 257
    Image.fromarray(ramp).save(tmp_path / f"deep{suffix}")
    pixels = read_photo(tmp_path / f"deep{suffix}").pixels
    assert pixels[:, 0].tolist() == [list(range(256))] * 3


def half_a_jpeg() -> bytes:
    buffer = io.BytesIO()
    picture(64, 64).save(buffer, "JPEG")
    return buffer.getvalue()[:-200]


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        length, check = len(data), zlib.crc32(kind + data)
        return struct.pack(">I", length) + kind + data + struct.pack(">I", check)

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"\0" * 64))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


DAMAGED = {
    "empty": b"",
    "text": b"a photograph, honestly\n" * 9,
    "half a JPEG": half_a_jpeg(),
    "JPEG start alone": b"\xff\xd8\xff\xe0",
    "PNG of too little data": png_of_size(64, 64),
    "PNG of no width": png_of_size(0, 64),
    "PNG of 3.6 gigapixels": png_of_size(60_000, 60_000),
    "PNG of the largest size": png_of_size(2**31 - 1, 2**31 - 1),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_photo_is_refused_by_name_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(PhotoError) as refused:
        read_photo(path)
    assert str(path) in str(refused.value)
    assert str(refused.value).isprintable()
    assert not str(refused.value).rstrip().endswith(":")


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
def test_a_damaged_avif_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    picture(32, 32).save(buffer, "AVIF")
    (tmp_path / "photo.avif").write_bytes(buffer.getvalue().replace(b"pitm", b"free"))
    with pytest.raises(PhotoError):
        read_photo(tmp_path / "photo.avif")


def test_a_missing_photo_is_a_usage_error_and_a_folder_no_photo(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_photo(tmp_path / "missing.jpg")
    with pytest.raises(PhotoError) as refused:
        read_photo(tmp_path)
    assert str(tmp_path) in str(refused.value)


def test_a_damaged_png_is_refused_although_its_exif_is_looked_for(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    path = tmp_path / "damaged.png"
    Image.fromarray(pixels).save(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(PhotoError, match="damaged"):
        read_photo(path)


def test_sixteen_bit_grey_keeps_its_transparent_value(tmp_path: Path) -> None:
    grey = np.array([[0, 257 * 100, 257 * 200]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "grey.png", transparency=257 * 100)
    photo = read_photo(tmp_path / "grey.png")
    assert photo.pixels[0].tolist() == [[0, 100, 200]]
    assert photo.alpha is not None
    assert photo.alpha.tolist() == [[255, 0, 255]]


@pytest.mark.parametrize(("white", "expected"), [(1.0, [0, 128, 255]), (255.0, [0, 128, 255])])
def test_floats_are_in_0_to_1_if_none_is_above(
    tmp_path: Path, white: float, expected: list[int]
) -> None:
    values = np.array([[0.0, 0.5, 1.0]], dtype=np.float32) * white
    Image.fromarray(values).save(tmp_path / "float.tif")
    assert read_photo(tmp_path / "float.tif").pixels[0].tolist() == [expected]


def test_a_mask_is_black_where_it_is_transparent(tmp_path: Path) -> None:
    mask = Image.new("RGBA", (2, 1), "white")
    mask.putpixel((0, 0), (255, 255, 255, 0))
    mask.save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").tolist() == [[0, 255]]


def test_a_photograph_of_200_megapixels_is_read(tmp_path: Path) -> None:
    Image.new("1", (20_000, 10_000)).save(tmp_path / "large.png")
    with open_image(tmp_path / "large.png") as image:
        assert image.size == (20_000, 10_000)


def test_a_grey_profile_counts_with_transparency_too(tmp_path: Path) -> None:
    # A grey that is linear in light: ICC.1:2010, a header, a tag table and one curve.
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"grey\0" + bytes(79),
        b"wtpt": b"XYZ " + bytes(4) + struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D),
        b"kTRC": b"curv" + bytes(4) + struct.pack(">I", 0),
    }
    table, data = struct.pack(">I", len(tags)), b""
    for name, content in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(data), len(content))
        data += content + bytes(-len(content) % 4)
    size = 128 + len(table) + len(data)
    header = struct.pack(">I4sI4s4s4s", size, bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    header = (header + bytes(12) + b"acsp").ljust(68, b"\0")
    header += struct.pack(">3I", 0xF6D6, 0x10000, 0xD32D)
    profile = header.ljust(128, b"\0") + table + data
    grey = Image.new("L", (8, 8), 64)
    grey.putpixel((0, 0), 7)
    grey.save(tmp_path / "plain.png", icc_profile=profile)
    grey.save(tmp_path / "transparent.png", icc_profile=profile, transparency=7)
    plain, other = read_photo(tmp_path / "plain.png"), read_photo(tmp_path / "transparent.png")
    assert plain.pixels[0, 1, 1] == 137  # 64 / 255 of the light
    assert torch.equal(other.pixels[:, 1], plain.pixels[:, 1])
    assert other.alpha is not None
    assert other.alpha[0].tolist() == [0] + 7 * [255]


@pytest.mark.parametrize("by_torch", [True, False])
@pytest.mark.parametrize("size", [(31, 47), (17, 200), (1, 1), (1, 50), (301, 142)])
def test_resampling_is_pillows(
    size: tuple[int, int], by_torch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(photo, "TORCH_HAS_LANCZOS", by_torch and photo.TORCH_HAS_LANCZOS)
    noise = np.random.default_rng(0).integers(0, 256, (71, 150, 3), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(noise).resize(size, Image.Resampling.LANCZOS))
    interleaved = torch.from_numpy(noise).permute(2, 0, 1)
    for pixels in (interleaved, interleaved.contiguous()):
        found = photo.resampled(pixels, size).permute(1, 2, 0).numpy()
        assert np.abs(found.astype(int) - wanted).max() <= 2
    flat = photo.resampled(interleaved[:1], size)  # as an alpha channel
    assert np.abs(flat[0].numpy().astype(int) - wanted[:, :, 0]).max() <= 2
