"""Animated GIF, WebP and PNG, painted frame by frame, by Pillow alone."""

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

USUAL_DURATION = 100  # ms, of frames that do not say; as browsers have it
MOST_FRAMES = 1 << 20  # of a damaged file
CLEARED = {"GIF": 2, "PNG": 1}  # the disposal by which each frame begins with nothing


def is_animation(source: Path, target: Path) -> bool:
    """Whether a file holds several frames, and the one to write can hold them too."""
    if not {source.suffix.lower(), target.suffix.lower()} <= ANIMATED.keys():
        return False
    try:
        with open_image(source, all_frames=True) as image:
            return bool(getattr(image, "is_animated", False))
    except StylepackError:
        return False  # it is said when it is painted


def _count(image: Image.Image) -> int:
    """How many frames there are; 0 if damage hides it."""
    try:
        return int(getattr(image, "n_frames", 1))
    except (EOFError, IndexError, OSError, SyntaxError, ValueError):
        return 0


@dataclass(frozen=True)
class _Look:
    """Properties of an animation: `frames` is 0 if damage hides them, `loop` None if not given."""

    frames: int
    loop: int | None
    metadata: Metadata
    default_image: bool


class AnimationPainter:
    """One animation on its way to a file; all of its painted frames are held in memory.

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
        """Paint all frames, or until `stop` becomes true; a step each."""
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
        """Write the frames that are painted.

        Raises:
            StylepackError: none is, or the file cannot be written.
        """
        if not self._painted:
            raise PhotoError(f"nothing of {self.source} is painted yet")
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
        """Nothing is held."""

    def _decoded(self) -> Iterator[tuple[int, Photo]]:
        """(duration in ms, picture) of every frame; from a damaged file those before the damage."""
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
