"""Steadiness, on clips whose motion is known."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from clips import Rgb
from conftest import picture

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.images.photo import Photo, read_photo
from stylepack.video.flow import Flow, Motion
from stylepack.video.frames import FramePainter
from stylepack.video.options import STEADY, Film
from stylepack.video.steady import blend

HEIGHT, WIDTH = 112, 160
MARGIN = 8  # pixels at the border, where there is no history


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer.load("wave", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def photo() -> Rgb:
    image = read_photo(sorted(BUNDLED_PHOTOS.glob("*.jpg"))[0], 480)
    return image.pixels.permute(1, 2, 0).numpy().copy()


def panned(photo: Rgb, step: float, count: int = 7) -> list[Rgb]:
    """Windows of a photograph, each further right by `step` pixels: the motion is exact."""
    frames = []
    for index in range(count):
        shift = np.float32([[1, 0, -20 - index * step], [0, 1, -20]])
        moved = cv2.warpAffine(photo, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LANCZOS4)
        frames.append(moved)
    return frames


def paint(stylizer: Stylizer, frames: list[Rgb], steady: float) -> list[Rgb]:
    painter = FramePainter(stylizer, Film(steady=steady), len(frames))
    photos = ((0, Photo(torch.from_numpy(frame).permute(2, 0, 1))) for frame in frames)
    return [
        painter.finish(frame, painter.paint(frame, index)).pixels.permute(1, 2, 0).numpy()
        for index, frame in enumerate(painter.prepare(photos))
    ]


def error(painted: list[Rgb], step: float) -> float:
    """Mean distance, 0..255, of each frame but the first from the last one moved exactly."""
    found = []
    for before, now in pairwise(painted):
        shift = np.float32([[1, 0, -step], [0, 1, 0]])
        moved = cv2.warpAffine(before, shift, (WIDTH, HEIGHT), flags=cv2.INTER_LANCZOS4)
        apart = np.abs(moved.astype(float) - now)[MARGIN:-MARGIN, MARGIN : -MARGIN - 4]
        found.append(apart.mean())
    return float(np.mean(found[1:]))


def sharpness(painted: list[Rgb]) -> float:
    """Mean absolute Laplacian of the frames from the third on."""
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32) for frame in painted[2:]]
    return float(np.mean([np.abs(cv2.Laplacian(grey, cv2.CV_32F)).mean() for grey in greys]))


@pytest.mark.parametrize("step", [1.0, 2.5, 3.5])
def test_the_painting_pans_along_with_its_photograph(
    stylizer: Stylizer, photo: Rgb, step: float
) -> None:
    frames = panned(photo, step)
    alone, steady = (paint(stylizer, frames, weight) for weight in (0.0, STEADY))
    bound = 0.5 * error(alone, step)
    assert error(steady, step) < bound < error(alone, step)
    assert sharpness(steady) > 0.75 * sharpness(alone)


def test_a_photograph_that_stays_is_painted_the_same(stylizer: Stylizer, photo: Rgb) -> None:
    first, *others = paint(stylizer, panned(photo, 0.0, 3), STEADY)
    for other in others:
        assert np.abs(first.astype(int) - other).max() <= 2


def test_the_flow_finds_a_pan(photo: Rgb) -> None:
    before, now = panned(photo, 2.5, 2)
    motion = Flow().between(before, now)
    assert motion is not None
    assert not motion.is_cut
    inside = (slice(MARGIN, -MARGIN), slice(MARGIN, -MARGIN))
    assert np.median(motion.back[inside], axis=(0, 1)) == pytest.approx([2.5, 0], abs=0.1)
    assert motion.trust[inside].mean() > 0.9


@pytest.mark.parametrize("size", [(48, 64), (33, 171), (170, 32), (32, 1000), (720, 1280)])
def test_the_flow_finds_a_pan_in_frames_of_any_shape(size: tuple[int, int]) -> None:
    height, width = size
    texture = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    before = cv2.resize(texture, (width, height), interpolation=cv2.INTER_CUBIC)
    motion = Flow().between(before, np.roll(before, 2, axis=1))
    assert motion is not None
    assert motion.back.shape == (height, width, 2)
    assert np.median(motion.back[..., 0]) == pytest.approx(-2, abs=0.1)
    assert not motion.is_cut


def test_a_cut_drops_the_history(stylizer: Stylizer, photo: Rgb) -> None:
    other = np.array(picture(WIDTH, HEIGHT, 9))
    frames = [*panned(photo, 1.0, 2), other]
    alone, steady = (paint(stylizer, frames, weight) for weight in (0.0, STEADY))
    np.testing.assert_array_equal(steady[2], alone[2])
    assert (steady[1] != alone[1]).any()


def test_what_moves_over_a_background_leaves_no_ghost(stylizer: Stylizer, photo: Rgb) -> None:
    (scene,) = panned(photo, 0.0, 1)
    frames = []
    for index in range(4):
        frame = scene.copy()
        left = 20 + 24 * index
        frame[40:72, left : left + 24] = (255, 40, 40)
        frames.append(frame)
    alone, steady = (paint(stylizer, frames, weight) for weight in (0.0, STEADY))
    uncovered = (slice(44, 68), slice(20 + 24 * 2 + 4, 20 + 24 * 3 - 4))  # by the last step
    ghost = np.abs(steady[3][uncovered].astype(float) - alone[3][uncovered]).mean()
    before = np.abs(steady[2][uncovered].astype(float) - alone[3][uncovered]).mean()
    assert ghost < 0.1 * before


def test_weight_and_trust_set_the_share_of_the_history() -> None:
    fresh, last = (np.full((48, 64, 3), level, np.uint8) for level in (100, 200))
    still = Motion(np.zeros((48, 64, 2), np.float32), np.ones((48, 64), np.float32))
    assert (blend(fresh, last, still, 0.75) == 175).all()
    half = replace(
        still, trust=np.where(np.arange(64) < 32, 1, 0.5).astype(np.float32)[None].repeat(48, 0)
    )
    mixed = blend(fresh, last, half, 0.75)
    assert (mixed[:, 8:24] == 175).all()
    assert np.abs(mixed[:, 40:56].astype(int) - 137).max() <= 1
    assert blend(fresh, None, still, 0.75) is fresh
    assert blend(fresh, last, None, 0.75) is fresh


def test_softened_detail_is_given_back_up_to_a_share() -> None:
    generator = np.random.default_rng(0)
    fresh = generator.integers(60, 200, (48, 64, 3), np.uint8)
    last = cv2.GaussianBlur(fresh, (0, 0), 1.5)
    still = Motion(np.zeros((48, 64, 2), np.float32), np.ones((48, 64), np.float32))
    mixed = blend(fresh, last, still, 0.5)
    plain = (fresh.astype(float) + last) / 2

    def detail(frame: np.ndarray) -> float:
        return float(np.abs(cv2.Laplacian(frame.astype(np.float32), cv2.CV_32F)).mean())

    assert detail(plain) < 0.7 * detail(fresh)
    assert 1.15 * detail(plain) < detail(mixed) < 0.95 * detail(fresh)


def test_tiny_frames_have_no_motion(make_pack: Callable[..., object]) -> None:
    assert Flow().between(*[np.zeros((8, 8, 3), np.uint8)] * 2) is None
