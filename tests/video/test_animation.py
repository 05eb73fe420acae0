"""Animated GIF, WebP and PNG."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clips import pan
from PIL import Image, ImageSequence

from stylepack.cli.main import run

DURATIONS = [40, 200, 90]


@pytest.fixture
def paint(make_pack: Callable[..., Path], tiny_trunk: tuple[Path, str]) -> Callable[..., int]:
    dots = make_pack("dots")

    def apply(*words: object) -> int:
        return run(["apply", *map(str, words), "--style", str(dots), "--trunk", str(tiny_trunk[0])])

    return apply


def animation(path: Path, *, holes: bool = False, loop: int = 3) -> Path:
    frames = [Image.fromarray(rgb) for rgb in pan(3)]
    if holes:
        alpha = Image.new("L", frames[0].size, 255)
        alpha.paste(0, (0, 0, 20, 20))
        for frame in frames:
            frame.putalpha(alpha)
    settings = {"disposal": 2} if path.suffix == ".gif" else {}
    frames[0].save(
        path, save_all=True, append_images=frames[1:], duration=DURATIONS, loop=loop, **settings
    )
    return path


def frames_of(path: Path) -> tuple[list[np.ndarray], list[float], int | None]:
    """(H, W, 4) frames, their durations in ms, and how often they are shown."""
    with Image.open(path) as image:
        found = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            found.append((np.array(frame.convert("RGBA")), frame.info["duration"]))
        return [rgba for rgba, _ in found], [time for _, time in found], image.info.get("loop")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".apng"])
def test_durations_loops_and_transparency_stay(
    tmp_path: Path, paint: Callable[..., int], suffix: str
) -> None:
    source = animation(tmp_path / f"turn{suffix}", holes=True)
    assert paint(source) == 0
    before, durations, loop = frames_of(source)
    written = suffix.replace("apng", "png")
    after, kept, again = frames_of(tmp_path / f"turn.dots{written}")
    assert (kept, again) == (durations, loop) == (DURATIONS, 3)
    for old, new in zip(before, after, strict=True):
        assert new[:20, :20, 3].max() == 0
        assert new[24:, 24:, 3].min() == 255
        assert np.abs(old[24:, 24:, :3].astype(int) - new[24:, 24:, :3]).mean() > 10
    assert np.abs(after[0].astype(int) - after[2]).mean() > 1


def test_a_replaced_animation_is_named(
    tmp_path: Path, paint: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    source = animation(tmp_path / "turn.gif")
    said = f"replaced {tmp_path / 'turn.dots.gif'}"
    for replaced in (False, True):
        assert paint(source) == 0
        assert (said in capsys.readouterr().err) is replaced


def test_other_formats_of_animations_can_be_written(
    tmp_path: Path, paint: Callable[..., int]
) -> None:
    source = animation(tmp_path / "turn.gif")
    assert paint(source, "--format", "webp") == 0
    assert frames_of(tmp_path / "turn.dots.webp")[1] == DURATIONS


def test_a_photograph_can_be_made_of_the_first_frame(
    tmp_path: Path, paint: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    source = animation(tmp_path / "turn.gif")
    assert paint(source, "--format", "jpg") == 0
    assert "only the first picture is read" in capsys.readouterr().err
    with Image.open(tmp_path / "turn.dots.jpg") as image:
        assert image.size == (64, 48)


def test_of_a_cut_off_animation_what_is_there_is_painted(
    tmp_path: Path, paint: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    source = animation(tmp_path / "turn.gif")
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) * 3 // 4])
    assert paint(source) == 1
    assert "2 frames are painted" in capsys.readouterr().err
    assert len(frames_of(tmp_path / "turn.dots.gif")[0]) == 2


def test_animations_need_no_packages_of_clips(
    tmp_path: Path, paint: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylepack.video import needs

    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    assert paint(animation(tmp_path / "turn.png", loop=0)) == 0
    assert frames_of(tmp_path / "turn.dots.png")[2] == 0
    assert paint(tmp_path / "turn.png", "--steady", "0.5") == 1
