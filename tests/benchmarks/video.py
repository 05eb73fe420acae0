"""Steadiness, speed and memory of painted clips.

python tests/benchmarks/video.py steady [--style A] [--sheet OUT.png] CLIP[@FIRST[@WIDTH]]...
python tests/benchmarks/video.py speed [--style A] CLIP[@FIRST[@WIDTH]]...
python tests/benchmarks/video.py memory

`steady` paints 24 frames of every clip, from frame FIRST on, made WIDTH pixels wide.  The warping
error is the mean difference, in 0..1, of each frame from the last one moved along a flow, where
that agrees forwards and backwards.  The painting uses DIS; the error is measured with the pyramid
of Lucas and Kanade on a grid, and with Farneback's flow.  Sharpness is the mean absolute Laplacian
over that of frame by frame, and the same of its variance.  `speed` paints 96 frames and compares
the command, in one process and without its start, with the network alone, in seconds and in
processor seconds: medians of several rounds, and of each round's ratios.
`memory` is of a clip of 854x480 pixels of 10 and of 600 seconds, with a network that gives back
what it gets, and of 10 and 60 seconds with flow and blending too.
"""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from stylepack import Stylizer
from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.images.photo import Photo
from stylepack.painting.stylizer import PaintOptions
from stylepack.video.assembly import assemble
from stylepack.video.coding import Coding
from stylepack.video.film import FilmPainter
from stylepack.video.flow import Field, warped
from stylepack.video.frames import FramePainter
from stylepack.video.options import STEADY, Film
from stylepack.video.reader import Clip, Facts
from stylepack.video.segment import SegmentWriter

COUNT = 24
LONGER = 96  # frames whose speed is measured: the first and the last ones wait for each other
ROUNDS = 9
FARNEBACK = (0.5, 5, 15, 3, 5, 1.1, 0)  # the scales, window, iterations and polynomial
GRID, WINDOW, LEVELS = 4, (21, 21), 5  # of Lucas and Kanade, pixels and halvings
STOP = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 30, 0.01)
SHOWN = (11, 12, 13)
Rgb = NDArray[np.uint8]


def frames_of(text: str, count: int = COUNT) -> tuple[str, list[Rgb]]:
    """The name and frames of CLIP[@FIRST[@WIDTH]]."""
    path, first, width = (*text.split("@"), "", "")[:3]
    start = int(first or 0)
    found = [frame.rgb for frame in islice(Clip(Path(path)).frames(), start, start + count)]
    if width:
        height = round(found[0].shape[0] * int(width) / found[0].shape[1])
        size = (int(width), height)
        found = [np.array(Image.fromarray(rgb).resize(size, Image.LANCZOS)) for rgb in found]
    return f"{Path(path).stem} {start}", found


def photos(frames: list[Rgb]) -> Iterator[tuple[int, Photo]]:
    for index, rgb in enumerate(frames):
        yield index, Photo(torch.from_numpy(rgb).permute(2, 0, 1))


def paint(stylizer: Stylizer, frames: list[Rgb]) -> tuple[list[Rgb], list[Rgb]]:
    """The frames painted by themselves, and steady."""
    alone = FramePainter(stylizer, Film(), len(frames))
    steady = FramePainter(stylizer, Film(steady=STEADY), len(frames))
    both: list[tuple[Rgb, Rgb]] = []
    for index, one in enumerate(steady.prepare(photos(frames))):
        painted = steady.paint(one, index)
        done = (painter.finish(one, painted).pixels for painter in (alone, steady))
        first, second = (pixels.permute(1, 2, 0).numpy().copy() for pixels in done)
        both.append((first, second))
    return [one for one, _ in both], [one for _, one in both]


def steadiness(stylizer: Stylizer, texts: list[str], sheet: Path | None) -> None:
    rows, captions = [], []
    for text in texts:
        name, frames = frames_of(text)
        alone, steady = paint(stylizer, frames)
        line = [f"{name:16}"]
        for flow in (lucas_kanade, farneback):
            truth = [flow(before, now) for before, now in pairwise(_greys(frames))]
            given, free, held = (_error(some, truth) for some in (frames, alone, steady))
            share = np.mean([one.held.mean() for one in truth])
            line.append(
                f"{flow.__name__} ({share:.0%} of pixels): clip {given:.4f}, alone {free:.4f}, "
                f"steady {held:.4f}, {held / free:.2f} of it;"
            )
        loss = [b / a for a, b in zip(_sharpness(alone), _sharpness(steady), strict=True)]
        print(*line, f"sharpness {loss[0]:.2f}, variance {loss[1]:.2f}", flush=True)
        for kind, some in (("clip", frames), ("frame by frame", alone), ("steady", steady)):
            shown = [some[index] for index in SHOWN]
            apart = np.clip(np.abs(shown[2].astype(int) - shown[1]) * 2, 0, 255).astype(np.uint8)
            rows.append([Image.fromarray(one) for one in (*shown, apart)])
            captions.append([f"{name}, {kind}", "next", "next", "difference x 2"])
    if sheet:
        save_png(contact_sheet(rows, captions, 320), sheet)


@dataclass(frozen=True)
class Truth:
    """A flow back, (H, W, 2), and where it agrees with the flow forth, (H, W)."""

    back: Field
    held: NDArray[np.bool_]


def lucas_kanade(before: Rgb, now: Rgb) -> Truth:
    """Motions of the points of a grid between grey frames, interpolated between them."""
    height, width = now.shape
    y, x = np.mgrid[0:height:GRID, 0:width:GRID].astype(np.float32)
    points = np.stack([x.ravel(), y.ravel()], 1)[:, None]
    track = partial(
        cv2.calcOpticalFlowPyrLK, nextPts=None, winSize=WINDOW, maxLevel=LEVELS, criteria=STOP
    )
    there, found, _ = track(now, before, points)
    again, found_again, _ = track(before, now, there)
    held = (found & found_again).astype(bool) & (np.abs(again - points).max(-1) < 0.5)
    back = (there - points).reshape(*x.shape, 2)
    size = width, height
    share = cv2.resize(held.reshape(x.shape).astype(np.float32), size)
    return Truth(cv2.resize(back, size), share > 0.99)


def farneback(before: Rgb, now: Rgb) -> Truth:
    """Farneback's flow between grey frames."""
    back = cv2.calcOpticalFlowFarneback(now, before, None, *FARNEBACK)
    forth = cv2.calcOpticalFlowFarneback(before, now, None, *FARNEBACK)
    there = warped(forth, back, cv2.INTER_LINEAR)
    squares = ((back + there) ** 2).sum(-1)
    held = squares < 0.01 * ((back**2).sum(-1) + (there**2).sum(-1)) + 0.5
    return Truth(back, held)


def _error(frames: list[Rgb], truths: list[Truth]) -> float:
    """The warping error of frames, 0..1."""
    found = []
    for (before, now), truth in zip(pairwise(frames), truths, strict=True):
        moved = warped(before, truth.back, cv2.INTER_CUBIC).astype(float)
        found.append((np.abs(now - moved).mean(-1) / 255)[truth.held].mean())
    return float(np.mean(found))


def _greys(frames: list[Rgb]) -> list[Rgb]:
    return [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]


def _sharpness(frames: list[Rgb]) -> tuple[float, float]:
    edges = [cv2.Laplacian(grey.astype(np.float32), cv2.CV_32F) for grey in _greys(frames[1:])]
    return float(np.mean([np.abs(e).mean() for e in edges])), float(
        np.mean([e.var() for e in edges])
    )


def speed(stylizer: Stylizer, texts: list[str]) -> None:
    for text in texts:
        name, frames = frames_of(text, LONGER)
        with tempfile.TemporaryDirectory() as folder:
            clip, out = Path(folder, "clip.nut"), Path(folder, "out.mp4")
            facts = Facts(len(frames), Fraction(25), Fraction(1, 25), Fraction(1), None)
            writer = SegmentWriter(clip, Coding("h264", 10, "mp4"), facts)
            for index, rgb in enumerate(frames):
                writer.add(rgb, index)
            writer.close()
            taken: dict[str, list[tuple[float, float]]] = {"alone": [], "0.0": [], str(STEADY): []}
            for _ in range(ROUNDS):
                with timed(taken["alone"]):
                    for _, photo in photos(frames):
                        stylizer.paint_with(PaintOptions(), photo)
                for steady in (0.0, STEADY):
                    with timed(taken[str(steady)]):
                        film = FilmPainter(clip, out, stylizer, Film(steady=steady), Coding.of(out))
                        list(film.paint())
                        film.finish()
                        film.release()
        for unit, kind in enumerate(("seconds", "processor")):
            rounds = np.array([[one[unit] for one in some] for some in taken.values()])
            alone, free, held = np.median(rounds, axis=1) / len(frames)
            shares = np.median(rounds[0] / rounds[1:], axis=1)
            cost = np.median(rounds[2] / rounds[1]) - 1
            print(
                f"{name:16} {kind:9} a frame: network {alone:.3f}  "
                f"--steady 0 {free:.3f} ({shares[0]:.2f})  "
                f"steady {held:.3f} ({shares[1]:.2f})  steadiness costs {cost:.0%}",
                flush=True,
            )


@contextmanager
def timed(into: list[tuple[float, float]]) -> Iterator[None]:
    """Add the seconds, and the processor seconds of all threads, that the block takes."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    into.append((time.perf_counter() - wall, time.process_time() - processor))


class Mirror(Stylizer):
    """Gives back what it gets, at once."""

    def paint_with(self, options: PaintOptions, photo: Photo, advance: object = None) -> Photo:
        return replace(photo, pixels=photo.pixels.clone())


def _write_long(path: Path, facts: Facts) -> None:
    """A clip of 854x480 pixels: ten seconds, again and again."""
    once = path.with_name("once.nut")
    writer = SegmentWriter(once, Coding("h264", 30, "mp4"), facts)
    picture = np.random.default_rng(0).integers(0, 256, (30, 80, 3), np.uint8)
    wide = np.array(Image.fromarray(picture).resize((1254, 480), Image.BICUBIC))
    for index in range(250):
        writer.add(np.ascontiguousarray(wide[:, index : index + 854]), index)
    one = writer.close()
    turns = range(facts.frames // 250)
    segments = [
        replace(one, times=tuple(turn * 250 + time for time in one.times)) for turn in turns
    ]
    assemble(path, Coding("h264", 30, "mp4"), path.parent, segments, once, facts)


def memory_of(seconds: int, steady: float) -> None:
    """Print the peak of this process above what it has before it paints, in MB."""
    stylizer = Stylizer.load("wave", device="cpu")
    stylizer.__class__ = Mirror
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder, "clip.mp4"), Path(folder, "out.mp4")
        facts = Facts(25 * seconds, Fraction(25), Fraction(1, 25), Fraction(1), None)
        _write_long(clip, facts)
        bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        film = FilmPainter(clip, out, stylizer, Film(steady=steady), Coding.of(out))
        for _ in film.paint():
            pass
        film.finish()
        film.release()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{seconds} s, steady {steady}: {peak / 1000:.0f} MB, {(peak - bare) / 1000:.0f} of it new"
    )


def main() -> None:
    kind, *words = sys.argv[1:]
    if kind == "memory":
        for seconds, steady in ((10, 0.0), (600, 0.0), (10, STEADY), (60, STEADY)):
            command = [sys.executable, __file__, "one", str(seconds), str(steady)]
            subprocess.run(command, check=True)
        return
    if kind == "one":
        memory_of(int(words[0]), float(words[1]))
        return
    named = {"--style": "wave", "--sheet": ""}
    while words[0] in named:
        named[words[0]] = words[1]
        words = words[2:]
    stylizer = Stylizer.load({named["--style"]: 1.0})
    if kind == "steady":
        steadiness(stylizer, words, Path(named["--sheet"]) if named["--sheet"] else None)
    else:
        speed(stylizer, words)


if __name__ == "__main__":
    main()
