"""Clips that are stopped, and go on."""

import resource
import signal
from collections.abc import Callable, Generator, Iterable
from pathlib import Path

import numpy as np
import pytest
from clips import pan, read_clip, sound_of, write_clip

from stylepack.cli.main import run
from stylepack.errors import StylepackError, TrainingError, UsageError
from stylepack.painting.stylizer import Stylizer
from stylepack.video import film as films
from stylepack.video.coding import Coding
from stylepack.video.film import FilmPainter
from stylepack.video.frames import FramePainter, Prepared
from stylepack.video.options import Film

COUNT = 11


@pytest.fixture(autouse=True)
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "SEGMENT", 4)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mkv", pan(COUNT), sound=True)


@pytest.fixture
def stylizer(make_pack: Callable[..., Path], tiny_trunk: tuple[Path, str]) -> Stylizer:
    return Stylizer.load(make_pack(), trunk=tiny_trunk[0], device="cpu", precision="float32")


def begin(
    clip: Path, out: Path, stylizer: Stylizer, *, steady: float = 0.8, resume: bool = False
) -> FilmPainter:
    coding = Coding.of(out, crf=0)
    return FilmPainter(clip, out, stylizer, Film(steady=steady), coding, resume=resume)


def paint(painter: FilmPainter, count: int = COUNT) -> None:
    """Paint `count` frames, write the file, and let go."""
    steps = painter.paint()
    for _ in range(count):
        next(steps)
    if count == COUNT:
        assert next(steps, None) is None
    steps.close()
    painter.finish()
    painter.release()


def test_a_stopped_clip_goes_on_to_the_same_frames(
    tmp_path: Path, clip: Path, stylizer: Stylizer
) -> None:
    whole, parts = tmp_path / "whole.mkv", tmp_path / "parts.mkv"
    paint(begin(clip, whole, stylizer))
    wanted = read_clip(whole)
    assert len(wanted) == COUNT
    for count in (3, 6):  # in the middle of a segment, and at the end of one
        painter = begin(clip, parts, stylizer, resume=True)
        paint(painter, count - painter.begun)
        np.testing.assert_array_equal(read_clip(parts), wanted[:count])  # it plays
        assert 0 < len(sound_of(parts)) < len(sound_of(clip))
    last = begin(clip, parts, stylizer, resume=True)
    assert last.begun == 6
    assert len(list(last.paint())) == COUNT - 6
    last.finish()
    np.testing.assert_array_equal(read_clip(parts), wanted)
    assert sound_of(parts) == sound_of(whole)
    assert not list(tmp_path.glob(".parts*"))


def test_what_is_lost_with_a_process_is_painted_again(
    tmp_path: Path, clip: Path, stylizer: Stylizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out.mkv"
    painter = begin(clip, out, stylizer)
    steps = painter.paint()
    with monkeypatch.context() as patch:
        patch.setattr(FilmPainter, "_close_segment", lambda painter: None)  # as if killed
        for _ in range(2):
            next(steps)
        steps.close()
    painter.release()
    again = begin(clip, out, stylizer, resume=True)
    assert again.begun == 0
    paint(again)
    assert len(read_clip(out)) == COUNT


def test_other_options_or_another_process_are_refused(
    tmp_path: Path, clip: Path, stylizer: Stylizer
) -> None:
    out = tmp_path / "out.mkv"
    painter = begin(clip, out, stylizer)
    with pytest.raises(TrainingError, match="another process"):
        begin(clip, out, stylizer)
    paint(painter, 3)
    with pytest.raises(UsageError, match="was begun from another clip or with other options"):
        begin(clip, out, stylizer, steady=0.5, resume=True)
    anew = begin(clip, out, stylizer, steady=0.5)
    assert anew.begun == 0


def test_ctrl_c_leaves_a_clip_that_plays_and_resume_goes_on(
    tmp_path: Path,
    clip: Path,
    make_pack: Callable[..., Path],
    tiny_trunk: tuple[Path, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.mkv"
    words = ["apply", str(clip), "--style", str(make_pack()), "--trunk", str(tiny_trunk[0])]
    words += ["-o", str(out), "--resume"]
    original = FramePainter.painted

    def interrupted(
        painter: FramePainter, frames: Iterable[Prepared]
    ) -> Generator[tuple[Prepared, np.ndarray]]:
        for count, one in enumerate(original(painter, frames), 1):
            if count == 6:
                signal.raise_signal(signal.SIGINT)
            yield one

    with monkeypatch.context() as patch:
        patch.setattr(FramePainter, "painted", interrupted)
        assert run(words) == 130
    said = capsys.readouterr()
    assert "stopped after 6 frames; --resume continues" in said.err
    assert said.out == f"{out}\n"
    assert len(read_clip(out)) == 6
    assert run([*words, "--skip-existing"]) == 0
    assert "after 6 frames" in capsys.readouterr().err
    assert len(read_clip(out)) == COUNT
    assert run(words) == 0
    assert "nothing to do: every clip is painted" in capsys.readouterr().err


def test_a_full_disk_is_a_line_and_loses_nothing(tmp_path: Path, stylizer: Stylizer) -> None:
    generator = np.random.default_rng(0)
    noise = [generator.integers(0, 256, (48, 64, 3), np.uint8) for _ in range(COUNT)]
    clip, out = write_clip(tmp_path / "noise.mkv", noise), tmp_path / "out.mkv"
    painter = begin(clip, out, stylizer)
    paint(painter, 4)
    size = max(path.stat().st_size for path in painter.unfinished.folder.iterdir())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    painter = begin(clip, out, stylizer, resume=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, before[1]))
    try:
        with pytest.raises(StylepackError, match=r"cannot write .*--resume: 4 frames are safe"):
            list(painter.paint())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    painter.release()
    assert len(read_clip(out)) == 4
    again = begin(clip, out, stylizer, resume=True)
    assert again.begun == 4
    assert len(list(again.paint())) == COUNT - 4
