"""Pictures for the page: quick ones while a slider moves, sharp ones at rest, and exact ones."""

import io
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

import torch
from PIL import Image

from stylepack.errors import UsageError
from stylepack.images.photo import Photo
from stylepack.inference.strips import Advance, Memo
from stylepack.painting.stylizer import FULL, PaintOptions, Stylizer
from stylepack.studio.catalog import Catalog
from stylepack.studio.desk import Desk, Sheet
from stylepack.studio.lanes import Lane, SupersededError, Turn
from stylepack.studio.look import Look
from stylepack.studio.pace import FIRST, Pace

BETTER = 512  # pixels of the long side of the first picture at rest
THUMBNAIL = 176
TILE = 96  # of the pad's grid
LIVE_QUALITY, REST_QUALITY = 86, 93  # of JPEG
MOST_CROP = 1 << 24  # pixels
FRAME, ZOOM, SAVE, THUMBNAILS = "frame", "zoom", "save", "thumbnails"  # tags of work
FIRST_RANK, LATER_RANK = 0, 1
TRIES = 2
MOST_MEMOS = 6


@dataclass(frozen=True)
class Frame:
    """An encoded picture, its size, and the seconds that painting took."""

    content: bytes
    size: tuple[int, int]
    seconds: float = 0.0
    kind: str = "image/jpeg"


class Frames:
    """Paints looks for the page in lanes of decreasing urgency.

    `live` is for frames while something moves, `rest` for sharper ones and thumbnails, `work` for
    long jobs.
    """

    def __init__(self, catalog: Catalog, desk: Desk) -> None:
        self.catalog, self.desk = catalog, desk
        self.threads = torch.get_num_threads()
        self.live = Lane("live", threads=self.threads)
        self.rest = Lane("rest", [self.live], self.threads)
        self.work = Lane("work", [self.live, self.rest], self.threads)
        self.pace = Pace()
        self._memos: dict[tuple[str, str, int], Memo] = {}
        self._thumbnails: dict[tuple[str, str], Frame] = {}
        self._whole: tuple[object, Photo] | None = None
        self._pending: dict[str, tuple[object, Future[Photo]]] = {}

    def begin(self, sheet: Sheet) -> None:
        """Prepare for a photograph: clear the caches and choose the fastest number of threads."""
        self._memos.clear()
        self._thumbnails.clear()
        self._whole = None
        self._drop_other_whole(None)
        self.rest.drop(THUMBNAILS)
        self.rest.drop(FRAME)
        first = next(iter(self.catalog.labels))
        self.live.submit(lambda _: self._choose_threads(sheet, self.catalog.one(first)))

    def refresh(self) -> None:
        """Reload the packs."""
        self.catalog.refresh()
        self._thumbnails.clear()
        self._whole = None

    def quick(self, look: Look, sheet: Sheet, elsewhere: float) -> "Future[Frame]":
        """A frame at the size that this machine can paint in time.

        `elsewhere`: seconds that the last frame took apart from its painting.
        """
        self.rest.drop(FRAME)
        self._drop_other_whole((sheet.id, look))

        def paint(_: Turn) -> Frame:
            side = self.pace.side
            start = time.perf_counter()
            painted = self._at_side(look, sheet, side, "live", lambda share: None)
            frame = _jpeg(painted, LIVE_QUALITY, start)
            self.pace.took(side, frame.seconds, elsewhere)
            return frame

        return self.live.submit(paint, tag=FRAME)

    def sharp(self, look: Look, sheet: Sheet, *, best: bool) -> "Future[Frame]":
        """A frame at rest: at `BETTER` pixels, or with `best` like the full-size picture."""
        self.rest.drop(FRAME)

        def paint(turn: Turn) -> Frame:
            start = time.perf_counter()
            if not best:
                return _jpeg(self._at_side(look, sheet, BETTER, "rest", turn), REST_QUALITY, start)
            if sheet.is_small:
                return _jpeg(self._exact(look, sheet, turn), REST_QUALITY, start)
            side = max(sheet.settled.size)
            if isinstance(look.size, int) and look.size < side:
                options = self._options(look, look.size)
                painted = self.catalog.stylizer(look).paint_with(options, sheet.settled, turn)
            else:
                painted = self._at_side(look, sheet, side, "rest", turn)
            return _jpeg(painted, REST_QUALITY, start)

        return self.rest.submit(paint, tag=FRAME, rank=FIRST_RANK)

    def tile(self, look: Look, sheet: Sheet) -> "Future[Frame]":
        """A small picture of a look for the pad's grid, painted when nothing else waits."""

        def paint(turn: Turn) -> Frame:
            start = time.perf_counter()
            return _jpeg(self._at_side(look, sheet, TILE, "rest", turn), LIVE_QUALITY, start)

        return self.rest.submit(paint, rank=LATER_RANK)

    def thumbnail(self, reference: str, sheet: Sheet) -> "Future[Frame]":
        """A thumbnail of the photograph in a pack's style.

        Raises:
            UsageError: no such pack.
        """
        if reference not in self.catalog.labels:
            raise UsageError("that pack is not there any more; reload the page")
        done: Future[Frame] = Future()
        known = self._thumbnails.get((sheet.id, reference))
        if known is not None:
            done.set_result(known)
            return done

        def paint(turn: Turn) -> Frame:
            start, photo = time.perf_counter(), sheet.at(THUMBNAIL)
            stylizer, memo = self.catalog.one(reference), self._memo(sheet, "thumbnail", THUMBNAIL)
            painted = stylizer.paint_with(PaintOptions(FULL), photo, turn, memo)
            frame = self._thumbnails[sheet.id, reference] = _jpeg(painted, LIVE_QUALITY, start)
            return frame

        return self.rest.submit(paint, rank=LATER_RANK)

    def whole(self, look: Look, sheet: Sheet, purpose: str = ZOOM) -> Photo | float:
        """The full-size picture if it is painted; else start it, and return the share done, 0..1.

        One picture is painted for each purpose at a time: the one that was requested last.

        Raises:
            StylepackError: it cannot be painted.
        """
        key = (sheet.id, look)
        if self._whole is not None and self._whole[0] == key:
            return self._whole[1]
        self._drop_other_whole(key, purpose)
        if purpose not in self._pending:
            job = self.work.submit(lambda turn: self._exact(look, sheet, turn), tag=purpose)
            self._pending[purpose] = (key, job)
        elif self._pending[purpose][1].done():
            _, job = self._pending.pop(purpose)
            with suppress(SupersededError):
                return job.result()
        return self.work.share(purpose)

    def close(self, seconds: float = 5.0) -> None:
        """Stop all work."""
        for lane in (self.live, self.rest, self.work):
            lane.close(seconds)

    def _drop_other_whole(self, key: object, purpose: str = ZOOM) -> None:
        if purpose in self._pending and self._pending[purpose][0] != key:
            del self._pending[purpose]
            self.work.drop(purpose)

    def _exact(self, look: Look, sheet: Sheet, turn: Turn) -> Photo:
        key = (sheet.id, look)
        if self._whole is not None and self._whole[0] == key:
            return self._whole[1]
        painted = self.catalog.stylizer(look).paint_with(
            self._options(look, look.size), sheet.photo, turn
        )
        self._whole = (key, painted)
        return painted

    def _at_side(self, look: Look, sheet: Sheet, side: int, lane: str, advance: Advance) -> Photo:
        """A look painted in one pass on a reduced photograph, smaller still for large strokes."""
        if isinstance(look.size, int):
            side = min(side, look.size)
        photo = sheet.at(side)
        return self.catalog.stylizer(look).paint_with(
            self._options(look, FULL), photo, advance, self._memo(sheet, lane, side)
        )

    def _options(self, look: Look, size: object) -> PaintOptions:
        return PaintOptions(
            size=size if isinstance(size, int) else FULL if size == FULL else None,
            keep_colors=look.keep_colors,
            mask=self.desk.mask(look.mask) if look.mask else None,
            region_masks=[self.desk.mask(region.mask) for region in look.regions],
        )

    def _memo(self, sheet: Sheet, lane: str, side: int) -> Memo:
        memo = self._memos.setdefault((sheet.id, lane, side), Memo())
        for oldest in list(self._memos)[:-MOST_MEMOS]:
            self._memos.pop(oldest, None)
        return memo

    def _choose_threads(self, sheet: Sheet, stylizer: Stylizer) -> None:
        """Use one thread if it is faster than all, as it can be on a busy machine."""

        def seconds() -> float:
            return min(_timed(lambda: stylizer.paint(photo, size=FULL)) for _ in range(TRIES))

        photo = sheet.at(FIRST)
        all_of_them = seconds()
        if self.threads > 1 and stylizer.device.type == "cpu":
            torch.set_num_threads(1)
            if seconds() > all_of_them:
                torch.set_num_threads(self.threads)


def crop(photo: Photo, left: int, top: int, width: int, height: int) -> Frame:
    """A part of a picture at full size, as a PNG.

    Raises:
        UsageError: the part is outside the picture or too large.
    """
    right, bottom = min(left + width, photo.size[0]), min(top + height, photo.size[1])
    if not (
        0 <= left < right and 0 <= top < bottom and (right - left) * (bottom - top) < MOST_CROP
    ):
        raise UsageError(f"no such part of a picture of {photo.size[0]}x{photo.size[1]} pixels")
    part = Photo(photo.pixels[:, top:bottom, left:right])
    if photo.alpha is not None:
        part = Photo(part.pixels, photo.alpha[top:bottom, left:right]).flattened("white")
    encoded = io.BytesIO()
    part.to_image().save(encoded, "PNG", compress_level=1)
    return Frame(encoded.getvalue(), part.size, kind="image/png")


def jpeg(image: Image.Image, quality: int = REST_QUALITY) -> Frame:
    """A picture as a JPEG."""
    encoded = io.BytesIO()
    image.save(encoded, "JPEG", quality=quality)
    return Frame(encoded.getvalue(), image.size)


def _jpeg(painted: Photo, quality: int, start: float) -> Frame:
    frame = jpeg(painted.flattened("white").to_image(), quality)
    return Frame(frame.content, frame.size, time.perf_counter() - start)


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
