"""Motion between two frames of a clip, and where it can be trusted.

The flow is DIS: Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search", as OpenCV has
it.  It is taken in both directions; where the two do not cancel, something is hidden or lost
(Sundaram et al. 2010, "Dense point trajectories by GPU-accelerated large displacement optical
flow", equations 5 and 6).
"""

from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Field = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)

AREA = 500_000  # pixels; of larger frames the flow is taken smaller
# Of DIS, where its preset `fast` has 8, 4, 2, 16 and 5.  Larger patches side by side are as exact,
# and half the work of the smaller, overlapping ones.
PATCH, STRIDE, FINEST, STEPS, REFINEMENTS = 16, 16, 1, 8, 1
ROOM = 8 * PATCH  # pixels of the longer side; in smaller frames OpenCV has no place for the patches
SLACK, TOLERANCE = 0.01, 0.5  # of the check both ways: share, and squared pixels of half size
FAINT, DIFFERENT = 20.0, 60.0  # of 255: what is trusted in full, and what is not at all
LIKENESS = np.clip((DIFFERENT - np.arange(256, dtype=np.float32)) / (DIFFERENT - FAINT), 0, 1)
CUT = 0.4  # of a frame: with less of it found again, it is another shot
SMALLEST = 32  # pixels of the shorter side, below which there is no flow


@dataclass(frozen=True)
class Motion:
    """Where each pixel of a frame comes from in the one before.

    `back` is (H, W, 2), in pixels right and down; `trust` is (H, W) in 0..1.
    """

    back: Field
    trust: Field

    @property
    def is_cut(self) -> bool:
        """Whether too little of the frame before is found again."""
        return float(self.trust.mean()) < CUT


class Flow:
    """Finds motions between frames of one size.

    The flow back is what frames are moved by; the one forth only checks it, and is a faster one.
    """

    def __init__(self) -> None:
        self._small = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._back = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._back.setFinestScale(FINEST)
        self._back.setPatchSize(PATCH)
        self._back.setPatchStride(STRIDE)
        self._back.setGradientDescentIterations(STEPS)
        self._back.setVariationalRefinementIterations(REFINEMENTS)
        self._forth = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)

    def between(self, before: Rgb, now: Rgb) -> Motion | None:
        """The motion from one frame to the next, (H, W, 3) uint8 both; None if they are tiny."""
        height, width = now.shape[:2]
        if min(height, width) < SMALLEST:
            return None
        scale = min(1.0, (AREA / (height * width)) ** 0.5)
        size = round(width * scale), round(height * scale)
        frames = [_resized(frame, size) for frame in (before, now)]
        grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
        finder = self._back if max(size) >= ROOM else self._small
        back = finder.calc(grey[1], grey[0], None)
        forth = self._forth.calc(grey[0], grey[1], None)
        trust = _trust(frames[0], frames[1], back, forth)
        if scale < 1:
            ratio = np.array([width / back.shape[1], height / back.shape[0]], np.float32)
            back = cv2.resize(back, (width, height), interpolation=cv2.INTER_CUBIC) * ratio
        trust = cv2.resize(trust, (width, height), interpolation=cv2.INTER_LINEAR)
        return Motion(back, trust)


def warped(frame: NDArray[T], back: Field, kernel: int) -> NDArray[T]:
    """A frame moved along a flow: its value at each pixel's place in it, by OpenCV's `kernel`."""
    height, width = back.shape[:2]
    x = back[..., 0] + np.arange(width, dtype=np.float32)
    y = back[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    moved: NDArray[T] = cv2.remap(frame, x, y, kernel, borderMode=cv2.BORDER_REFLECT_101)
    return moved


def _resized(frame: Rgb, size: tuple[int, int]) -> Rgb:
    if size == (frame.shape[1], frame.shape[0]):
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _trust(before: Rgb, now: Rgb, back: Field, forth: Field) -> Field:
    """How far the motion of each pixel can be trusted, 0..1, at half the size of the frames."""
    height, width = now.shape[0] // 2, now.shape[1] // 2
    before, now = _resized(before, (width, height)), _resized(now, (width, height))
    ratio = np.array([width / back.shape[1], height / back.shape[0]], np.float32)
    back, forth = (
        cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) * ratio
        for flow in (back, forth)
    )
    trust = _agreement(back, forth) * _likeness(before, now, back)
    return np.asarray(cv2.blur(trust, (3, 3)), dtype=np.float32)


def _agreement(back: Field, forth: Field) -> Field:
    """1 where going back and forth ends near the start, 0 elsewhere and beyond the borders."""
    there = warped(forth, back, cv2.INTER_LINEAR)
    apart = _squares(cv2.add(back, there))
    length = cv2.add(_squares(back), _squares(there))
    height, width = apart.shape
    x = back[..., 0] + np.arange(width, dtype=np.float32)
    y = back[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return np.asarray((apart < SLACK * length + TOLERANCE) & inside, dtype=np.float32)


def _squares(flow: Field) -> Field:
    """The squared length of each vector: (H, W, 2) -> (H, W)."""
    return np.asarray(cv2.transform(cv2.multiply(flow, flow), np.ones((1, 2))), dtype=np.float32)


def _likeness(before: Rgb, now: Rgb, back: Field) -> Field:
    """1 where the frame before, moved, looks like this one, down to 0 where it does not."""
    apart = cv2.absdiff(now, warped(before, back, cv2.INTER_LINEAR))
    mean = cv2.transform(apart, np.full((1, 3), 1 / 3))
    return np.asarray(cv2.LUT(mean, LIKENESS), dtype=np.float32)
