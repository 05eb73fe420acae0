"""Painting many photographs: files are decoded and encoded while the network paints."""

import io
import logging
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from stylepack.errors import PhotoError, StylepackError
from stylepack.files import make_folder
from stylepack.images.formats import output_format
from stylepack.images.photo import Photo, SaveOptions, check_sides, read_photo, scaled
from stylepack.inference.strips import Advance, ignore_progress
from stylepack.network.device import is_out_of_memory
from stylepack.painting.jobs import STANDARD, Job
from stylepack.painting.stylizer import PaintOptions, Stylizer

AHEAD = 2  # photographs decoded ahead, or the number of threads if larger
_log = logging.getLogger("stylepack")
PIECE = 1 << 20  # bytes
BEHIND = 1  # paintings that wait to be written, or the number of threads minus 1 if larger


@dataclass(frozen=True)
class Outcome:
    """A finished job, or one that failed with an error."""

    job: Job
    error: StylepackError | None = None


class Painter:
    """Reads, paints and writes photographs with the same options."""

    def __init__(
        self,
        stylizer: Stylizer,
        saving: SaveOptions,
        options: PaintOptions = PaintOptions(),  # noqa: B008 - it is frozen
        *,
        background: str = "",
        stdout_format: str = "PNG",
    ) -> None:
        self.stylizer = stylizer
        self.saving = saving
        self.background = background
        self.stdout_format = stdout_format
        self.options = options

    def read(self, job: Job) -> Photo:
        """Decode a photograph at its final size, and check that the output format can hold it."""
        source: Path | io.BytesIO = job.source
        if job.source == STANDARD:
            source = io.BytesIO(_from_standard_input())
            source.name = "standard input"
        photo = read_photo(source, self.options.reading_size, background=self.background)
        size = self.options.size
        if isinstance(size, int) and self.options.upscale and size > max(photo.size):
            scaled(photo.size, size)  # refuses a size that is too large
            _log.warning(
                "--size %d is larger than a photograph: its strokes become finer, its size does "
                "not change; add --no-upscale to get %d pixels",
                size,
                size,
            )
        check_sides(photo.size, self._format(job))
        return photo

    def _format(self, job: Job) -> str:
        return self.stdout_format if job.target == STANDARD else output_format(job.target)

    def _begin_to_read(self, pool: ThreadPoolExecutor, job: Job) -> "Future[Photo]":
        """Read in a thread, except standard input, since a waiting thread cannot be stopped."""
        if job.source != STANDARD:
            return pool.submit(self.read, job)
        read: Future[Photo] = Future()
        try:
            read.set_result(self.read(job))
        except Exception as error:
            read.set_exception(error)
        return read

    def write(self, job: Job, painted: Photo) -> None:
        """Encode a painted photograph."""
        if job.target == STANDARD:
            buffer = io.BytesIO()
            painted.write(buffer, self._format(job), self.saving)
            _to_standard_output(buffer.getvalue())
            return
        make_folder(job.target.parent, "choose another -o")
        painted.save(job.target, self.saving)

    def paint_all(
        self, jobs: Sequence[Job], workers: int, advance: Advance = ignore_progress
    ) -> Iterator[Outcome]:
        """Paint every job in order; errors do not stop other jobs."""
        ahead, behind = max(AHEAD, workers), max(BEHIND, workers - 1)
        with ThreadPoolExecutor(max(1, workers), "photographs") as pool:
            waiting = deque(jobs)
            reading: deque[tuple[Job, Future[Photo]]] = deque()
            writing: deque[tuple[Job, Future[None]]] = deque()
            while waiting or reading:
                while waiting and len(reading) < ahead:
                    job = waiting.popleft()
                    reading.append((job, self._begin_to_read(pool, job)))
                job, photo = reading.popleft()
                written: Future[None] = Future()
                try:
                    painted = self.stylizer.paint_with(self.options, photo.result(), advance)
                    written = pool.submit(self.write, job, painted)
                except Exception as error:
                    written.set_exception(error)
                writing.append((job, written))
                while len(writing) > behind:
                    yield _finished(*writing.popleft())
            while writing:
                yield _finished(*writing.popleft())


def _finished(job: Job, written: Future[None]) -> Outcome:
    try:
        written.result()
    except StylepackError as error:
        return Outcome(job, error)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        message = f"not enough memory for {job.source}; make it or --size smaller"
        return Outcome(job, PhotoError(message))
    return Outcome(job)


def _from_standard_input() -> bytes:
    """All of standard input, read in pieces so that signals are handled in between."""
    try:
        stream = cast(io.BufferedReader, sys.stdin.buffer)
        return b"".join(iter(lambda: stream.read1(PIECE), b""))
    except OSError as error:
        raise PhotoError(f"cannot read standard input: {error.strerror}") from error


def _to_standard_output(encoded: bytes) -> None:
    try:
        sys.stdout.buffer.write(encoded)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise PhotoError(f"cannot write to standard output: {error.strerror}") from error
