"""Crops of training photographs: where they lie, at what scale, of any image."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from stylepack.images.photo import read_photo, resized
from stylepack.training.dataset import decoded, random_crop

MIDDLE = (0.5, 0.5, 0.5, 0.5)


@pytest.fixture
def ramp(tmp_path: Path) -> Path:
    """80x60: red grows to the right, green downwards, 2 a pixel."""
    y, x = np.mgrid[0:60, 0:80].astype(np.uint8) * 2
    Image.fromarray(np.stack([x, y, 0 * x], axis=2)).save(tmp_path / "ramp.png")
    return tmp_path / "ramp.png"


def test_a_crop_lies_where_it_is_asked_for(ramp: Path) -> None:
    whole = read_photo(ramp).pixels
    # A short side of 60 at photo_side 60 is the photograph itself.
    for left, top in ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5)):
        x, y = round(left * (80 - 32)), round(top * (60 - 32))
        found = random_crop(decoded(ramp, 60), 32, 60, (1, left, top, 0.9))
        assert found.dtype == torch.uint8
        assert torch.equal(found, whole[:, y : y + 32, x : x + 32]), (left, top)
        assert torch.equal(
            random_crop(decoded(ramp, 60), 32, 60, (1, left, top, 0.1)), found.flip(2)
        )


def test_a_crop_at_the_smallest_scale_takes_the_whole_short_side(ramp: Path) -> None:
    found = random_crop(decoded(ramp, 60), 30, 60, (0, 0, 0, 0.9))[:2].float()
    assert found[1, 0].mean() == pytest.approx(1, abs=1.5)
    assert found[1, -1].mean() == pytest.approx(117, abs=1.5)
    assert found[0, :, -1].mean() == pytest.approx(117, abs=1.5)


def test_a_photo_smaller_than_the_crop_is_enlarged(tmp_path: Path) -> None:
    for size in ((1, 1), (3, 200), (20, 10)):
        Image.new("RGB", size, (10, 200, 90)).save(tmp_path / "small.png")
        for where in ((0, 0, 0, 0), (1, 1, 1, 1), MIDDLE):
            found = random_crop(decoded(tmp_path / "small.png", 64), 48, 64, where)
            assert found.shape == (3, 48, 48)
            assert torch.equal(found, torch.tensor([10, 200, 90]).view(3, 1, 1).expand(3, 48, 48))


def test_photos_of_any_mode_are_upright_rgb(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side
    stored = np.zeros((40, 60), np.uint8)
    stored[:, 30:] = 200
    Image.fromarray(stored).save(tmp_path / "grey.jpg", exif=exif)
    found = random_crop(decoded(tmp_path / "grey.jpg", 40), 40, 40, (0, 0, 0.5, 0.9)).float()
    assert found[:, :15].max() < 20
    assert found[:, -15:].min() > 180
    assert resized(tmp_path / "grey.jpg", 20).shape == (3, 30, 20)
    Image.new("RGBA", (40, 40), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert random_crop(decoded(tmp_path / "clear.png", 40), 32, 40, MIDDLE).min() == 255


def test_resized_keeps_the_whole_picture(ramp: Path) -> None:
    found = resized(ramp, 30)
    assert (found.shape, found.dtype) == ((3, 30, 40), torch.float32)
    assert found[0, :, -1].mean() * 255 == pytest.approx(157, abs=2)
    assert resized(ramp, 60).mul(255).round().byte().equal(read_photo(ramp).pixels)
