"""Colours without an ICC profile: PNG's chunks, AVIF's code points, EXIF's Adobe RGB."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import picture
from images.test_decoding import chunk
from PIL import Image, ImageCms, features

from stylepack.errors import PhotoError
from stylepack.images.mask import read_mask
from stylepack.images.photo import read_photo

P3_D65 = (0.3127, 0.3290, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
SRGB = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
# Linear colours to linear sRGB, of CSS Color 4 and of Adobe RGB (1998).
P3_TO_SRGB = np.array(
    [[1.22494, -0.22494, 0], [-0.042057, 1.042057, 0], [-0.0196376, -0.078636, 1.0982736]]
)
ADOBE_TO_SRGB = np.array([[1.3983557, -0.3983557, 0], [0, 1, 0], [0, -0.042929, 1.042929]])


def gama(exponent: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(100_000 / exponent)))


def chrm(numbers: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * number) for number in numbers)))


def cicp(primaries: int, curve: int) -> bytes:
    return chunk(b"cICP", bytes([primaries, curve, 0, 1]))


def declaring(image: Image.Image, *chunks: bytes) -> io.BytesIO:
    """A PNG with more chunks after its header."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    content = buffer.getvalue()
    return io.BytesIO(content[:33] + b"".join(chunks) + content[33:])


def pixels(source: io.BytesIO | Path) -> np.ndarray:
    return read_photo(source).pixels.permute(1, 2, 0).numpy().astype(int)


def light(coded: tuple[int, ...]) -> np.ndarray:
    values = np.array(coded) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(light: np.ndarray) -> np.ndarray:
    low, high = 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    return np.where(light <= 0.0031308, low, high) * 255


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (gama(2.2),),
        (gama(2.2), chrm(SRGB)),
        (gama(1.0), chunk(b"sRGB", b"\0")),
        (cicp(1, 13),),
        (cicp(1, 1), gama(1.0)),
        (gama(1e9), chrm((0,) * 8)),
    ],
)
def test_what_means_srgb_is_left_as_it_is(chunks: tuple[bytes, ...]) -> None:
    image = picture(30, 20)
    assert (pixels(declaring(image, *chunks)) == np.asarray(image)).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize(
    ("exponent", "chunks"), [(1.0, (gama(1.0),)), (1.8, (gama(1.8),)), (1.0, (cicp(1, 8),))]
)
def test_other_curves_are_followed(exponent: float, chunks: tuple[bytes, ...], mode: str) -> None:
    image = picture(30, 20).convert(mode)
    found = pixels(declaring(image, *chunks))
    wanted = encoded((np.asarray(image.convert("RGB")) / 255) ** exponent)
    assert np.abs(found - wanted).max() <= 0.6


@pytest.mark.parametrize("chunks", [(cicp(12, 13),), (gama(2.2), chrm(P3_D65))])
def test_display_p3_is_followed(chunks: tuple[bytes, ...]) -> None:
    image = Image.new("RGB", (2, 1), (255, 0, 0))
    image.putpixel((1, 0), (150, 120, 90))
    found = pixels(declaring(image, *chunks))[0]
    assert found[0].tolist() == [255, 0, 0]  # out of sRGB
    assert np.abs(found[1] - encoded(P3_TO_SRGB @ light((150, 120, 90)))).max() <= 0.6


def test_adobe_rgb_in_exif_is_followed_and_no_longer_declared(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA001: 65535, 0xA005: {1: "R03"}})
    marked, out = tmp_path / "a.jpg", tmp_path / "b.jpg"
    image = Image.new("RGB", (16, 16), (100, 150, 90))
    image.save(marked, exif=exif, quality=100, subsampling=0)
    photo = read_photo(marked)
    wanted = encoded(ADOBE_TO_SRGB @ (np.array((100, 150, 90)) / 255) ** (563 / 256))
    assert np.abs(pixels(marked)[8, 8] - wanted).max() <= 2
    photo.save(out)
    assert np.abs(pixels(out) - pixels(marked)).max() <= 3
    with Image.open(out) as image:
        its = image.getexif().get_ifd(0x8769)
    assert its[0xA001] == 1
    assert 0xA005 not in its


@pytest.mark.parametrize(("curve", "name"), [(16, "PQ"), (18, "HLG")])
def test_hdr_is_refused_in_one_line(tmp_path: Path, curve: int, name: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(declaring(picture(8, 8), cicp(9, curve)).getvalue())
    with pytest.raises(
        PhotoError, match=rf"a\.png: its colours are HDR \({name}\); save it in sRGB"
    ):
        read_photo(path)


def test_an_avif_in_display_p3_is_followed() -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    buffer = io.BytesIO()
    image = Image.new("RGB", (16, 16), (150, 120, 90))
    image.save(buffer, "AVIF", quality=100, subsampling="4:4:4")
    content = buffer.getvalue()
    at = content.index(b"colrnclx") + 8
    changed = io.BytesIO(content[:at] + struct.pack(">H", 12) + content[at + 2 :])
    wanted = encoded(P3_TO_SRGB @ light((150, 120, 90)))
    assert np.abs(pixels(changed)[8, 8] - wanted).max() <= 2


def test_an_icc_profile_comes_first_and_masks_have_no_colours(tmp_path: Path) -> None:
    image = picture(30, 20)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    packed = b"icc\0\0" + zlib.compress(profile)
    found = pixels(declaring(image, gama(1.0), chunk(b"iCCP", packed)))
    assert np.abs(found - np.asarray(image)).max() <= 1
    path = tmp_path / "mask.png"
    grey = picture(30, 20).convert("L")
    path.write_bytes(declaring(grey, gama(1.0)).getvalue())
    assert (read_mask(path).numpy() == np.asarray(grey)).all()
