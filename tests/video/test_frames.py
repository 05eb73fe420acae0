"""Frames of a clip, painted one by one, side by side and in batches."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips import pan

from stylepack import Stylizer
from stylepack.images.photo import Photo
from stylepack.painting.stylizer import PaintOptions
from stylepack.video.frames import FramePainter, Prepared
from stylepack.video.options import Film

COUNT = 5


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer.load("starry", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def ending() -> Stylizer:
    """The identity style, which takes the photograph's contrast."""
    return Stylizer.load("photo", device="cpu", precision="float32")


def photos() -> Iterator[tuple[int, Photo]]:
    for index, rgb in enumerate(pan(COUNT)):
        yield index, Photo(torch.from_numpy(rgb).permute(2, 0, 1))


def one_by_one(painter: FramePainter) -> tuple[list[Prepared], list[np.ndarray]]:
    frames = list(painter.prepare(photos()))
    return frames, [painter.paint(frame, index) for index, frame in enumerate(frames)]


def apart(one: np.ndarray, two: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - two).max())


def test_frames_painted_side_by_side_are_the_same(stylizer: Stylizer, ending: Stylizer) -> None:
    painter = FramePainter(stylizer, Film(ending=ending), COUNT)
    _, alone = one_by_one(painter)
    together = list(painter.painted(painter.prepare(photos())))
    assert [frame.time for frame, _ in together] == list(range(COUNT))
    assert max(apart(a, b) for a, (_, b) in zip(alone, together, strict=True)) <= 1


def test_a_batch_of_frames_is_what_they_are_one_by_one(
    stylizer: Stylizer, ending: Stylizer
) -> None:
    painter = FramePainter(stylizer, Film(ending=ending), COUNT)
    frames, alone = one_by_one(painter)
    batch = list(enumerate(frames))
    found = [painter._at(index) for index, _ in batch]
    painted = stylizer.paint_together(PaintOptions(), [one.photo for one in frames], found)
    assert painted is not None
    assert painted.shape == (COUNT, 3, *alone[0].shape[:2])
    together = [rows for _, rows in painter.paint_batch(batch)]
    assert max(map(apart, alone, together)) <= 1
    assert min(apart(alone[0], one) for one in together[1:]) > 8  # each in its own style


@pytest.mark.parametrize(
    ("options", "strength"), [(PaintOptions(size=32), 1.0), (PaintOptions(), 0.5)]
)
def test_what_cannot_be_batched_is_painted_one_by_one(
    stylizer: Stylizer, options: PaintOptions, strength: float
) -> None:
    painter = FramePainter(stylizer.changed(strength=strength), Film(options), COUNT)
    frames, alone = one_by_one(painter)
    found = [frame.photo for frame in frames]
    assert painter.stylizer.paint_together(options, found, [painter.stylizer] * COUNT) is None
    together = [rows for _, rows in painter.paint_batch(list(enumerate(frames)))]
    assert all(map(np.array_equal, alone, together))


def test_more_frames_are_painted_at_once_the_smaller_they_are(stylizer: Stylizer) -> None:
    memory = replace(stylizer.memory, strip=100_000)
    assert [memory.batch_size(size) for size in ((100, 100), (400, 250), (4000, 3000))] == [
        20,
        2,
        1,
    ]
