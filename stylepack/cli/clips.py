"""The part of `stylepack apply` that paints clips and animations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import typer

from stylepack.cli import console
from stylepack.cli.console import follow
from stylepack.errors import ClipError, StylepackError, UsageError
from stylepack.files import make_folder
from stylepack.images.formats import ANIMATED, is_clip, unfinished_folder
from stylepack.packs.mix import Mix
from stylepack.painting.jobs import Job, is_done
from stylepack.signals import Stop, stop_on_signals
from stylepack.video.coding import Coding
from stylepack.video.needs import has_flow, require

if TYPE_CHECKING:
    from collections.abc import Generator

    from stylepack.events import Event
    from stylepack.painting.batch import Painter
    from stylepack.painting.stylizer import Stylizer
    from stylepack.video.options import Film


class Filming(Protocol):
    """A clip or an animation that is being painted."""

    total: int
    begun: int
    complete: bool

    @property
    def damage(self) -> str: ...  # noqa: D102

    def paint(self, stop: object) -> Generator[Event]: ...  # noqa: D102

    def finish(self) -> list[str]: ...  # noqa: D102

    def release(self) -> None: ...  # noqa: D102


@dataclass(frozen=True)
class FilmOptions:
    """Options of the command line for clips."""

    last_mixes: Sequence[Mix]
    steady: float | None
    codec: str
    crf: int | None
    resume: bool
    mask: Path | None
    regions: Sequence[Path]
    metadata: bool

    def part(self, todo: list[Job]) -> tuple[list[Job], list[Job]]:
        """Split jobs into (photographs, clips and animations); check the options for the latter.

        Raises:
            UsageError: an option is wrong, or it is for clips and there are none.
            ClipError: a package is missing.
        """
        films = [job for job in todo if is_clip(job.source)]
        pictures = [job for job in todo if not is_clip(job.source)]
        films = self._possible(films, pictures)
        moving = self._moving(pictures)
        self._check(bool(films or moving), pictures != moving)
        for job in films:
            Coding.of(job.target, self.codec, self.crf)
        if self.resume:
            films = [
                job for job in films if not is_done(job) or unfinished_folder(job.target).exists()
            ]
        return [job for job in pictures if job not in moving], films + moving

    def _possible(self, films: list[Job], pictures: list[Job]) -> list[Job]:
        """All clips, or none if a package is missing and there are pictures to paint."""
        if not films:
            return []
        try:
            require(films[0].source, steady=self.steady != 0)
        except ClipError as error:
            if not pictures:
                raise
            console.warn(f"{len(films)} clips are left out: {error}")
            return []
        return films

    def _moving(self, pictures: list[Job]) -> list[Job]:
        if not any(job.source.suffix.lower() in ANIMATED for job in pictures):
            return []
        from stylepack.video.animation import is_animation

        return [job for job in pictures if is_animation(job.source, job.target)]

    def _check(self, filming: bool, photographing: bool) -> None:
        from stylepack.video.options import MOST_STEADY

        if self.steady is not None and not 0 <= self.steady <= MOST_STEADY:
            raise UsageError(f"--steady is {self.steady}; it must be from 0 to {MOST_STEADY}")
        if self.steady and not has_flow():
            require(Path("a clip with --steady"), steady=True)
        for file in (self.mask, *self.regions):
            if file is not None and is_clip(file) and (photographing or not filming):
                raise UsageError(f"{file} is a clip; as a mask it is for clips, not photographs")
        named = {
            "--mix-to": self.last_mixes,
            "--steady": self.steady,
            "--codec": self.codec,
            "--crf": self.crf is not None,
            "--resume": self.resume,
        }
        given = [option for option, value in named.items() if value]
        if given and not filming:
            raise UsageError(f"{given[0]} is for clips, and there is none to paint")

    def follow(
        self, jobs: list[Job], painter: Painter, ending: Stylizer | None, *, alone: bool
    ) -> int:
        """Paint every clip with a progress bar; report failures at once and return their number.

        Raises:
            StylepackError: the clip is `alone` and could not be painted completely.
            typer.Exit: a signal stopped the painting.
        """
        if not jobs:
            return 0
        film = self._film(painter, ending)
        failed = 0
        for job in jobs:
            try:
                self._follow_one(job, film, painter)
            except StylepackError as error:
                if alone:
                    raise
                console.fail(str(error))
                failed += 1
        return failed

    def _film(self, painter: Painter, ending: Stylizer | None) -> Film:
        from stylepack.video.masks import read_any_mask
        from stylepack.video.options import STEADY, Film

        usual = STEADY if has_flow() else 0.0
        return Film(
            painter.options,
            usual if self.steady is None else self.steady,
            ending,
            read_any_mask(self.mask) if self.mask else None,
            [read_any_mask(file) for file in self.regions],
            self.metadata,
        )

    def _follow_one(self, job: Job, film: Film, painter: Painter) -> None:
        make_folder(job.target.parent, "choose another -o")
        filming = self._begin(job, film, painter)
        try:
            with stop_on_signals("what is painted is written", console.say) as stop:
                self._paint(job, filming, stop)
        finally:
            filming.release()
        if stop and not filming.complete:
            raise typer.Exit(stop.exit_code)
        if filming.damage:
            raise ClipError(filming.damage)

    def _paint(self, job: Job, filming: Filming, stop: Stop) -> None:
        from stylepack.painting.jobs import is_done

        replaced = is_done(job) and not filming.begun
        if filming.begun:
            console.say(f"continuing {job.target} after {filming.begun} frames")
        title = f"painting {job.source.name}"
        events = filming.paint(stop)
        done = follow(events, title, filming.total, stop=stop, done=filming.begun, speed=True)
        if stop and not done:
            return
        for message in filming.finish():
            console.warn(message)
        console.result(str(job.target))
        if replaced:
            console.say(f"replaced {job.target}")
        if not filming.complete:
            console.say(f"stopped after {done} frames; --resume continues")

    def _begin(self, job: Job, film: Film, painter: Painter) -> Filming:
        if is_clip(job.source):
            from stylepack.video.film import FilmPainter

            coding = Coding.of(job.target, self.codec, self.crf)
            return FilmPainter(
                job.source, job.target, painter.stylizer, film, coding, resume=self.resume
            )
        from stylepack.video.animation import AnimationPainter

        return AnimationPainter(
            job.source,
            job.target,
            painter.stylizer,
            film,
            background=painter.background,
            quality=painter.saving.quality,
        )
