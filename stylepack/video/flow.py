"""Motion between two frames of a clip, and where it can be trusted.

The flow is OpenCV's DIS: Kroeger et al. 2016, "Fast Optical Flow using Dense Inverse Search".  It
is computed in both directions; where the two do not cancel, something is occluded or lost (Sundaram
et al. 2010, "Dense point trajectories by GPU-accelerated large displacement optical flow",
equations 5 and 6).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
Field = NDArray[np.float32]
T = TypeVar("T", bound=np.generic)

LARGE = 128  # pixels of the shorter side, from which a quarter of the size is enough for the flow
CHECKED = 4  # the check uses frames at a quarter of their sides
SLACK, TOLERANCE = 0.01, 0.125  # of the two-way check: share, and squared pixels of that size
FAINT, DIFFERENT = 20.0, 60.0  # of 255: differences with full trust, and with none
LIKENESS = np.clip((DIFFERENT - np.arange(256, dtype=np.float32)) / (DIFFERENT - FAINT), 0, 1)
CUT = 0.4  # share of a frame; if less of it is found again, it is a new shot
SMALLEST = 32  # pixels of the shorter side, below which there is no flow


@dataclass(frozen=True)
class Motion:
    """The origin of each pixel of a frame in the previous frame.

    `back` is (H, W, 2), in pixels right and down; `trust` is (H, W) in 0..1.
    """

    back: Field
    trust: Field

    @property
    def is_cut(self) -> bool:
        """Whether too little of the previous frame is found again."""
        return float(self.trust.mean()) < CUT


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Limit OpenCV to `count` threads: more than its share would wait for painting threads."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(count)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


@dataclass(frozen=True)
class _Seen:
    """A frame: itself, in grey at the size of the flow, and in colour at the size of the check.

    The flow is computed at half the frame's size, or at a quarter for large frames.
    """

    frame: Rgb
    grey: NDArray[np.uint8]
    small: Rgb

    @classmethod
    def of(cls, frame: Rgb) -> "_Seen":
        height, width = frame.shape[:2]
        # By halves, because OpenCV is fast at that.
        half = _resized(frame, (width // 2, height // 2))
        small = _resized(half, (width // CHECKED, height // CHECKED))
        grey = cv2.cvtColor(small if min(height, width) >= LARGE else half, cv2.COLOR_RGB2GRAY)
        return cls(frame, np.asarray(grey, dtype=np.uint8), small)


class Flow:
    """Finds motions between frames of one size.

    The backward flow moves frames; the forward flow, which is faster, only checks it.
    """

    def __init__(self) -> None:
        self._back = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._back.setPatchStride(5)  # instead of 4: more overlap is not steadier
        self._back.setGradientDescentIterations(8)  # of 16, likewise
        self._back.setVariationalRefinementIterations(3)  # of 5, likewise
        self._forth = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._forth.setPatchStride(8)  # patches side by side
        for finder in self._back, self._forth:
            finder.setFinestScale(0)  # the size of what it gets
        self._last: _Seen | None = None

    def between(self, before: Rgb, now: Rgb) -> Motion | None:
        """The motion from one frame to the next, (H, W, 3) uint8 both; None if they are tiny.

        A frame must not be changed before the next call, which reuses what it is reduced to.
        """
        height, width = now.shape[:2]
        if min(height, width) < SMALLEST:
            return None
        last = self._last if self._last and self._last.frame is before else _Seen.of(before)
        self._last = seen = _Seen.of(now)
        back = self._back.calc(seen.grey, last.grey, None)
        forth = self._forth.calc(last.grey, seen.grey, None)
        trust = _trust(last.small, seen.small, back, forth)
        back = _flow_resized(back, (width, height))
        trust = cv2.resize(trust, (width, height), interpolation=cv2.INTER_LINEAR)
        return Motion(back, trust)


def warped(frame: NDArray[T], back: Field, kernel: int) -> NDArray[T]:
    """A frame moved along a flow, interpolated with OpenCV's `kernel`."""
    return _at(frame, _places(back), kernel)


def _at(frame: NDArray[T], places: Field, kernel: int) -> NDArray[T]:
    """A frame's values at places, (H, W, 2), in pixels from its left and top."""
    found: NDArray[T] = cv2.remap(frame, places, None, kernel, borderMode=cv2.BORDER_REFLECT_101)
    return found


def _places(back: Field) -> Field:
    """The origin of each pixel, (H, W, 2), in pixels from the left and the top."""
    return np.asarray(cv2.add(back, _grid(*back.shape[:2])), dtype=np.float32)


@lru_cache(maxsize=2)  # a clip's frames at full and at checked size
def _grid(height: int, width: int) -> Field:
    """Each pixel's own position, (H, W, 2)."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x, y], axis=-1, dtype=np.float32)


def _resized(frame: Rgb, size: tuple[int, int]) -> Rgb:
    if size == (frame.shape[1], frame.shape[0]):
        return frame
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _trust(before: Rgb, now: Rgb, back: Field, forth: Field) -> Field:
    """Trust in the motion of each pixel, 0..1, at the size of the check, that of `now`."""
    height, width = now.shape[:2]
    back, forth = (_flow_resized(flow, (width, height)) for flow in (back, forth))
    places = _places(back)
    trust = _likeness(before, now, places)
    trust[~_agreement(back, forth, places)] = 0
    return np.asarray(cv2.blur(trust, (3, 3)), dtype=np.float32)


def _flow_resized(flow: Field, size: tuple[int, int]) -> Field:
    """A flow at another size, (width, height), in pixels of that size."""
    (width, height), (old_height, old_width) = size, flow.shape[:2]
    resized = cv2.resize(flow, size, interpolation=cv2.INTER_LINEAR)
    ratio = np.array([width / old_width, height / old_height], np.float32)
    resized.reshape(height, -1)[:] *= np.tile(ratio, width)  # faster than pairs of numbers
    return np.asarray(resized, dtype=np.float32)


def _agreement(back: Field, forth: Field, places: Field) -> NDArray[np.bool_]:
    """Whether going backward and forward ends near the start, within the borders."""
    there = _at(forth, places, cv2.INTER_LINEAR)
    apart = _squares(back + there)
    length = _squares(back) + _squares(there)
    height, width = apart.shape
    inside = cv2.inRange(places, (0, 0), (width - 1, height - 1))
    return np.asarray((apart < SLACK * length + TOLERANCE) & (inside > 0))


def _squares(flow: Field) -> Field:
    """The squared length of each vector: (H, W, 2) -> (H, W)."""
    x, y = cv2.split(flow)
    return np.asarray(x * x + y * y, dtype=np.float32)


def _likeness(before: Rgb, now: Rgb, places: Field) -> Field:
    """1 where the moved previous frame looks like this one, down to 0 where it does not."""
    apart = cv2.absdiff(now, _at(before, places, cv2.INTER_LINEAR))
    mean = cv2.transform(apart, np.full((1, 3), 1 / 3))
    return np.asarray(cv2.LUT(mean, LIKENESS), dtype=np.float32)
