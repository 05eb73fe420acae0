"""Painting of a clip's or an animation's frames, in three steps.

The steps may run in three threads: each has its own state.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stylepack.images.color import keep_colors
from stylepack.images.mask import composite, fit_mask
from stylepack.images.photo import Photo, scaled
from stylepack.painting.stylizer import Stylizer
from stylepack.video.ahead import side_by_side
from stylepack.video.masks import over_time
from stylepack.video.options import Film

if TYPE_CHECKING:
    from stylepack.video.flow import Flow, Motion

Rgb = NDArray[np.uint8]
MOST_PAINTERS = 4  # at once; each holds a frame's activations
BATCH = 8  # frames, on a GPU
SWITCH_INTERVAL = 0.0005  # seconds; by default Python's threads wait ten times as long


@dataclass(frozen=True)
class Prepared:
    """A frame at the size of its painting.

    `time` is the caller's.  `motion` is from the previous frame, or None.
    """

    time: int
    photo: Photo
    motion: Motion | None
    mask: Tensor | None
    regions: list[Tensor]


class FramePainter:
    """Paints frames in their order.

    Args:
        stylizer: of the first frame.
        film: options for all frames.
        total: number of frames, over which the style fades.
        begun: number of frames that are painted already.
        last: the last of these, (H, W, 3) uint8.
    """

    def __init__(
        self, stylizer: Stylizer, film: Film, total: int, begun: int = 0, last: Rgb | None = None
    ) -> None:
        self.stylizer, self.film, self.total, self.begun = stylizer, film, total, begun
        residual = stylizer.residual
        given_back = residual is not None and residual.share == 1  # of strength 0: steady by itself
        self._weight = 0.0 if given_back else film.steady
        self.last = last

    def prepare(self, frames: Iterator[tuple[int, Photo]]) -> Iterator[Prepared]:
        """Add motion and masks to unpainted frames; `frames`: (time, picture) from the first on."""
        flow = self._flow()
        masks = over_time(self.film.mask)
        regions = [over_time(one) for one in self.film.regions]
        before = None
        for index, (time, photo) in enumerate(frames):
            mask, areas = next(masks), [next(one) for one in regions]
            if index + 1 < self.begun:
                continue
            if size := self.film.options.reading_size:
                photo = photo.stretched(scaled(photo.size, size))
            now = _rows(photo.pixels)
            if index >= self.begun:
                motion = None
                if flow is not None and before is not None and before.shape == now.shape:
                    motion = flow.between(before, now)
                found = [area for area in areas if area is not None]
                yield Prepared(time, photo, motion, mask, found)
            before = now

    def paint(self, frame: Prepared, index: int) -> Rgb:
        """The network's painting of the frame at `index`: (H, W, 3) uint8."""
        options = replace(
            self.film.options, keep_colors=False, mask=None, region_masks=frame.regions
        )
        return _rows(self._at(index).paint_with(options, frame.photo).pixels)

    def _at(self, index: int) -> Stylizer:
        """The stylizer of a frame, between the first and the ending's."""
        if self.film.ending is None:
            return self.stylizer
        share = min(1.0, index / max(1, self.total - 1))
        return self.stylizer.between(self.film.ending, share)

    def painted(self, frames: Iterable[Prepared]) -> Generator[tuple[Prepared, Rgb]]:
        """Frames, from the first unpainted one on, with the network's painting of each.

        On a CPU several frames are painted at once, each by a share of the threads: for pictures of
        their size that is less work than dividing every convolution.  On other devices they are
        painted in batches.
        """
        numbered = enumerate(frames, self.begun)
        if self.stylizer.device.type != "cpu":
            for first in numbered:
                room = self.stylizer.memory.batch_size(first[1].photo.size)
                yield from self.paint_batch([first, *islice(numbered, min(BATCH, room) - 1)])
            return

        def one(numbered: tuple[int, Prepared]) -> tuple[Prepared, Rgb]:
            index, frame = numbered
            return frame, self.paint(frame, index)

        threads, interval = torch.get_num_threads(), sys.getswitchinterval()
        painters = min(threads, MOST_PAINTERS)
        share = max(1, threads // painters)
        try:
            sys.setswitchinterval(SWITCH_INTERVAL)
            with self._flow_threads(share):
                yield from side_by_side(
                    one, numbered, painters, partial(torch.set_num_threads, share)
                )
        finally:
            sys.setswitchinterval(interval)
            torch.set_num_threads(threads)

    def paint_batch(self, batch: Sequence[tuple[int, Prepared]]) -> Iterator[tuple[Prepared, Rgb]]:
        """The network's paintings of numbered frames, in one batch if they are small."""
        photos = [frame.photo for _, frame in batch]
        stylizers = [self._at(index) for index, _ in batch]
        painted = None
        if not any(frame.regions for _, frame in batch):
            painted = self.stylizer.paint_together(self.film.options, photos, stylizers)
        for place, (index, frame) in enumerate(batch):
            yield frame, self.paint(frame, index) if painted is None else _rows(painted[place])

    def finish(self, frame: Prepared, painted: Rgb) -> Photo:
        """The steadied painting, with the photograph's colours and masked parts if requested."""
        if self._weight:
            from stylepack.video.steady import blend

            painted = blend(painted, self.last, frame.motion, self._weight)
        self.last = painted
        pixels, photo = torch.from_numpy(painted).permute(2, 0, 1), frame.photo
        if self.film.options.keep_colors:
            pixels = keep_colors(pixels, photo.pixels)
        if frame.mask is not None:
            pixels = composite(pixels, photo.pixels, fit_mask(frame.mask, photo.size))
        return replace(photo, pixels=pixels)

    def _flow(self) -> Flow | None:
        if not self._weight:
            return None
        from stylepack.video.flow import Flow

        return Flow()

    def _flow_threads(self, count: int) -> AbstractContextManager[None]:
        if not self._weight:
            return nullcontext()
        from stylepack.video.flow import threads

        return threads(count)


def _rows(pixels: Tensor) -> Rgb:
    """(3, H, W) as (H, W, 3), a copy unless it has that order in memory."""
    rows = pixels.permute(1, 2, 0).numpy()
    if rows.flags.c_contiguous:
        return rows
    return np.stack(list(pixels.numpy()), axis=-1)  # a quarter of the time of ascontiguousarray
