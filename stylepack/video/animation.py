"""Animated GIF, WebP and PNG, painted frame by frame, with Pillow alone."""

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from stylepack.errors import PhotoError, StylepackError
from stylepack.events import Event, Progress
from stylepack.files import replacing
from stylepack.images.decoding import decode
from stylepack.images.formats import ANIMATED, open_image, output_format
from stylepack.images.metadata import Metadata
from stylepack.images.photo import Photo
from stylepack.painting.stylizer import Stylizer
from stylepack.video.frames import FramePainter
from stylepack.video.options import Film

USUAL_DURATION = 100  # ms, of frames that do not declare one, as in browsers
MOST_FRAMES = 1 << 20  # of a damaged file
CLEARED = {"GIF": 2, "PNG": 1}  # the disposal with which every frame starts empty


def is_animation(source: Path, target: Path) -> bool:
    """Whether a file has several frames, and the output format supports them."""
    if not {source.suffix.lower(), target.suffix.lower()} <= ANIMATED.keys():
        return False
    try:
        with open_image(source, all_frames=True) as image:
            return bool(getattr(image, "is_animated", False))
    except StylepackError:
        return False  # reported when it is painted


def _count(image: Image.Image) -> int:
    """Number of frames; 0 if it is unknown because of damage."""
    try:
        return int(getattr(image, "n_frames", 1))
    except (EOFError, IndexError, OSError, SyntaxError, ValueError):
        return 0


@dataclass(frozen=True)
class _Look:
    """Properties of an animation: `frames` is 0 if unknown, `loop` None if not given."""

    frames: int
    loop: int | None
    metadata: Metadata
    default_image: bool


class AnimationPainter:
    """One animation that is being painted; all of its painted frames are kept in memory.

    Raises:
        PhotoError: it cannot be read.
    """

    begun = 0

    def __init__(
        self,
        source: Path,
        target: Path,
        stylizer: Stylizer,
        film: Film,
        *,
        background: str = "",
        quality: int = 95,
    ) -> None:
        self.source, self.target, self.stylizer, self.film = source, target, stylizer, film
        self.background, self.quality = background, quality
        with open_image(source, all_frames=True) as image:
            self._look = _Look(
                _count(image),
                image.info.get("loop"),
                Metadata.of(image),
                bool(getattr(image, "default_image", False)),
            )
        self.total = max(1, self._look.frames)
        self.damage = ""
        self.complete = False
        self._painted: list[Image.Image] = []
        self._durations: list[int] = []

    def paint(self, stop: object = False) -> Generator[Event]:
        """Paint all frames, or until `stop` becomes true; yield a step for each."""
        frames = FramePainter(self.stylizer, self.film, self.total)
        with closing(frames.painted(frames.prepare(self._decoded()))) as painted:
            for frame, pixels in painted:
                photo = frames.finish(frame, pixels)
                image = photo.to_image()
                if photo.alpha is not None:
                    image.putalpha(Image.fromarray(photo.alpha.numpy(), "L"))
                self._painted.append(image)
                self._durations.append(frame.time)
                yield Progress(len(self._painted), self.source.name)
                if stop:
                    return
        self.complete = True

    def finish(self) -> list[str]:
        """Write the painted frames.

        Raises:
            StylepackError: there are none, or the file cannot be written.
        """
        if not self._painted:
            raise PhotoError(f"no frame of {self.source} is painted yet")
        kind = output_format(self.target)
        words = self.stylizer.provenance
        settings: dict[str, Any] = self._look.metadata.settings(
            kind, self._painted[0].size, words, all_of_it=self.film.metadata
        )
        if self._look.loop is not None:
            settings["loop"] = self._look.loop
        if kind == "PNG":
            settings |= {"blend": 0, "default_image": self._look.default_image}
        if kind == "WEBP":
            settings["quality"] = self.quality
        with_alpha = any(image.mode == "RGBA" for image in self._painted)
        first, *rest = (image.convert("RGBA") if with_alpha else image for image in self._painted)
        if kind in CLEARED and with_alpha:
            settings["disposal"] = CLEARED[kind]
        with replacing(self.target) as temporary:
            first.save(
                temporary,
                format=kind,
                save_all=True,
                append_images=rest,
                duration=self._durations,
                **settings,
            )
        return []

    def release(self) -> None:
        """Do nothing: there is nothing to release."""

    def _decoded(self) -> Iterator[tuple[int, Photo]]:
        """(duration in ms, picture) of every frame; if the file is damaged, up to the damage."""
        count = 0
        try:
            with open_image(self.source, all_frames=True) as image:
                for index in range(self._look.frames or MOST_FRAMES):
                    image.seek(index)
                    image.load()
                    duration = round(float(image.info.get("duration") or USUAL_DURATION))
                    yield duration, self._photo(image)
                    count += 1
        except PhotoError as error:
            if not count:
                raise
            self.damage = f"{error}; {count} frames are painted"

    def _photo(self, image: Image.Image) -> Photo:
        found = decode(image.copy(), background=self.background)
        alpha = None if found.alpha is None else torch.from_numpy(found.alpha)
        photo = Photo(torch.from_numpy(found.rgb).permute(2, 0, 1), alpha)
        return replace(photo, icc=None)
