"""Painted segments of an unfinished clip, in a hidden folder beside the file to write."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from stylepack.errors import ClipError, UsageError
from stylepack.files import NAME, FolderLock, cannot_write, make_folder, write_text
from stylepack.images.formats import unfinished_folder
from stylepack.video.reader import Rgb
from stylepack.video.segment import Segment

STATE, LAST = "state.json", "last-{}.png"
NEXT = "next.part"


class Unfinished:
    """Finished segments, and the last painted frame, of one clip.

    Args:
        target: the file to write.
        signature: of the clip and of all options that its frames depend on.
        resume: continue from the existing segments; if not set, they are removed.

    Raises:
        UsageError: they were painted from another clip or with other options.
        TrainingError: another process is painting the clip.
        ClipError: the state file is damaged.
    """

    def __init__(self, target: Path, signature: str, *, resume: bool) -> None:
        self.folder, self.signature = unfinished_folder(target), signature
        make_folder(self.folder, "choose another -o")
        self._lock = FolderLock(self.folder)
        self.segments: list[Segment] = []
        if resume:
            self._read(target)
        else:
            self._empty()

    @property
    def done(self) -> int:
        """Number of frames that are painted and stored."""
        return sum(len(segment.times) for segment in self.segments)

    @property
    def next_file(self) -> Path:
        """The file to write the next segment to until it is complete."""
        return self.folder / NEXT

    def last(self) -> Rgb | None:
        """The last painted frame, (H, W, 3) uint8, before masks; None at the beginning."""
        path = self.folder / LAST.format(len(self.segments))
        if not path.exists():
            return None
        with Image.open(path, formats=["PNG"]) as image:
            return np.array(image.convert("RGB"))

    def add(self, segment: Segment, last: Rgb) -> None:
        """Keep the segment in `next_file`, and its last painted frame."""
        count = len(self.segments) + 1
        name = f"segment-{count:06d}.nut"
        Image.fromarray(last, "RGB").save(self.folder / LAST.format(count), compress_level=1)
        self.next_file.replace(self.folder / name)
        self.segments.append(Segment(name, segment.times, segment.delay))
        self._write()
        (self.folder / LAST.format(count - 1)).unlink(missing_ok=True)

    def release(self) -> None:
        """Release the clip for other processes."""
        self._lock.release()

    def remove(self) -> None:
        """Remove the folder, once the file is complete."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self) -> None:
        state = {
            "signature": self.signature,
            "segments": [asdict(segment) for segment in self.segments],
        }
        write_text(self.folder / STATE, json.dumps(state))

    def _read(self, target: Path) -> None:
        try:
            state = json.loads((self.folder / STATE).read_text(encoding="utf-8"))
            signature = state["signature"]
            segments = [
                Segment(str(one["file"]), tuple(map(int, one["times"])), int(one["delay"]))
                for one in state["segments"]
            ]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ClipError(
                f"{self.folder / STATE} is damaged; leave out --resume to start over"
            ) from error
        if signature != self.signature:
            self.release()
            raise UsageError(
                f"{target} was begun from another clip or with other options; give the same ones, "
                "or leave out --resume to start over"
            )
        self.segments = segments

    def _empty(self) -> None:
        try:
            for path in self.folder.iterdir():
                if path.name != NAME:
                    path.unlink()
        except OSError as error:
            raise cannot_write(self.folder, error) from error
