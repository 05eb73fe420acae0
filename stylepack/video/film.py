"""A clip painted frame by frame without flicker, and written with its audio.

Threads share the work: one decodes and finds the motion, some run the network, one blends and
encodes.  Painted frames are kept in segments, so that the file can be assembled at any time.
"""

import json
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from dataclasses import astuple
from pathlib import Path

import av
import torch

from stylepack.errors import ClipError, StylepackError
from stylepack.events import Event, Notice, Progress
from stylepack.files import cannot_write, replacing
from stylepack.images.photo import Photo
from stylepack.painting.stylizer import Stylizer
from stylepack.video.ahead import Behind, ahead
from stylepack.video.assembly import assemble
from stylepack.video.coding import Coding
from stylepack.video.frames import FramePainter, Prepared, Rgb
from stylepack.video.masks import mark_of
from stylepack.video.options import Film
from stylepack.video.reader import Clip
from stylepack.video.segment import Segment, SegmentWriter, coded_on_card
from stylepack.video.unfinished import Unfinished

SEGMENT = 120  # frames; the most that are lost if the process is killed
AHEAD, BEHIND = 3, 3  # frames between two threads


class FilmPainter:
    """One clip that is being painted.

    Raises:
        ClipError: it cannot be read, or its painted segments are damaged.
        TrainingError: another process is painting it.
        UsageError: with `resume`, its segments were painted with other options.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        stylizer: Stylizer,
        film: Film,
        coding: Coding,
        *,
        resume: bool = False,
    ) -> None:
        self.source, self.target = source, target
        self.stylizer, self.film, self.coding = stylizer, film, coding
        self.clip = Clip(source)
        if stylizer.device.type == "cuda":
            self.clip = self.clip.on_card()
            if film.options.upscale:  # frames keep their size
                self.coding = coded_on_card(coding, self.clip.facts)
        self.unfinished = Unfinished(target, self._signature(), resume=resume)
        self.total = max(self.clip.facts.frames, self.unfinished.done + 1)
        self.begun = self.unfinished.done
        self._frames = FramePainter(stylizer, film, self.total, self.begun, self.unfinished.last())
        self._writer: SegmentWriter | None = None
        self.complete = False

    def paint(self, stop: object = False) -> Generator[Event]:
        """Paint the remaining frames, or until `stop` becomes true; yield a step for each.

        If it ends early, the painted frames are kept.

        Raises:
            ClipError: nothing can be decoded.
            StylepackError: the disk is full, or there is not enough memory.
        """
        done, told = self.begun, 0
        try:
            prepared = self._frames.prepare(self._decoded())
            frames = ahead(prepared, AHEAD)
            painted = self._frames.painted(frames)
            with closing(frames), closing(painted), Behind(self._encode, BEHIND) as behind:
                for one in painted:
                    behind.put(one)
                    done += 1
                    for message in self.clip.notices[told:]:
                        yield Notice(message)
                    told = len(self.clip.notices)
                    yield Progress(done, self.source.name)
                    if stop:
                        return
            self.complete = True
        except (OSError, av.error.FFmpegError) as error:
            raise self._cannot_write(error) from error
        finally:
            self._close_segment()

    @property
    def damage(self) -> str:
        """A description of damage in the clip, once its frames are painted, or ""."""
        return self.clip.damage

    def finish(self) -> list[str]:
        """Assemble the file; if all frames are painted, remove the segments.

        Returns:
            Sentences about streams that could not be copied from the clip.

        Raises:
            StylepackError: nothing is painted, or the file cannot be written.
        """
        if not self.unfinished.segments:
            raise ClipError(f"no frame of {self.source} is painted yet")
        words = self._provenance() if self.film.metadata else ""
        try:
            with replacing(self.target) as temporary:
                left_out = assemble(
                    temporary,
                    self.coding,
                    self.unfinished.folder,
                    self.unfinished.segments,
                    self.source,
                    self.clip.facts,
                    words,
                )
        except av.error.FFmpegError as error:
            raise self._cannot_write(error) from error
        if self.complete:
            self.unfinished.remove()
        return left_out

    def release(self) -> None:
        """Release the clip for other processes; without painted frames, remove its folder."""
        if not self.unfinished.segments:
            self.unfinished.remove()
        self.unfinished.release()

    def _decoded(self) -> Iterator[tuple[int, Photo]]:
        for frame in self.clip.frames():
            yield frame.pts, Photo(torch.from_numpy(frame.rgb).permute(2, 0, 1))

    def _encode(self, painted: tuple[Prepared, Rgb]) -> None:
        frame, pixels = painted
        photo = self._frames.finish(frame, pixels)
        if self._writer is None:
            path = self.unfinished.next_file
            self._writer = SegmentWriter(path, self.coding, self.clip.facts)
        self._writer.add(photo.pixels.permute(1, 2, 0).contiguous().numpy(), frame.time)
        if len(self._writer.times) == SEGMENT:
            self._close_segment()

    def _close_segment(self) -> None:
        """Finish and keep the current segment, if there is one; drop it if it cannot be written."""
        writer, self._writer = self._writer, None
        if writer is None or not writer.times:
            return
        try:
            segment: Segment = writer.close()
            assert self._frames.last is not None
            self.unfinished.add(segment, self._frames.last)
        except (OSError, av.error.FFmpegError) as error:
            with suppress(OSError, av.error.FFmpegError):
                writer.abandon()
            raise self._cannot_write(error) from error

    def _cannot_write(self, error: OSError | av.error.FFmpegError) -> StylepackError:
        wrong = cannot_write(self.target, OSError(error.errno, error.strerror))
        return StylepackError(f"{wrong}, and add --resume: {self.unfinished.done} frames are safe")

    def _provenance(self) -> str:
        """A record of how the clip was made, as JSON."""
        facts = json.loads(self.stylizer.provenance or "{}")
        if self.film.ending is not None:
            facts["mix_to"] = json.loads(self.film.ending.provenance)["mix"]
        return json.dumps(facts | {"steady": self.film.steady})

    def _signature(self) -> str:
        """Everything that the frames depend on."""
        film, there = self.film, self.source.stat()
        facts = {
            "clip": [there.st_size, there.st_mtime_ns],
            "style": self.stylizer.provenance,
            "ending": film.ending.provenance if film.ending else "",
            "options": [film.options.size, film.options.upscale, film.options.keep_colors],
            "masks": [mark_of(mask) for mask in (film.mask, *film.regions)],
            "steady": film.steady,
            "precision": str(self.stylizer.dtype),
            "coding": astuple(self.coding),
        }
        return json.dumps(facts)
