"""Clips of every kind, painted by the command."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import STEP, pan, read_clip, sound_of, times_of, write_clip
from PIL import Image

from stylepack.cli.main import run
from stylepack.video import needs
from stylepack.video.reader import Clip

Paint = Callable[..., int]


@pytest.fixture
def paint(make_pack: Callable[..., Path], tiny_trunk: tuple[Path, str]) -> Paint:
    """Run `apply` with a tiny trunk; the result is the exit code."""
    dots = make_pack("dots")

    def apply(*words: object) -> int:
        return run(["apply", *map(str, words), "--style", str(dots), "--trunk", str(tiny_trunk[0])])

    return apply


def mean_apart(one: np.ndarray, two: np.ndarray) -> float:
    """Mean absolute difference in 0..255."""
    return float(np.abs(one.astype(float) - two).mean())


def test_times_sound_and_name_of_a_clip_stay(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
) -> None:
    times = [0, 512, 700, 2000, 2100, 5000]
    clip = write_clip(tmp_path / "clip.mp4", pan(6), times=times, sound=True)
    assert paint(clip) == 0
    painted = tmp_path / "clip.dots.mp4"
    assert capsys.readouterr().out == f"{painted}\n"
    assert times_of(painted) == times_of(clip)
    assert len(sound_of(clip)) > 5
    kept = sound_of(painted)
    assert kept == sound_of(clip)[: len(kept)]
    assert len(kept) >= len(sound_of(clip)) - 2
    assert not list(tmp_path.glob(".*"))
    content = painted.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(painted)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert "dots" in container.metadata["comment"]
    assert mean_apart(read_clip(painted)[0], read_clip(clip)[0]) > 10


def test_strength_0_gives_the_clip_back(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pan(4))
    out = tmp_path / "out.mkv"
    words = ["--style", "wave", "--strength", "0", "--crf", "0", "-o", str(out)]
    assert run(["apply", str(clip), *words]) == 0
    for given, back in zip(read_clip(clip), read_clip(out), strict=True):
        assert mean_apart(given, back) < 2


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".webm"])
def test_containers_are_kept(tmp_path: Path, paint: Paint, suffix: str) -> None:
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    clip = write_clip(tmp_path / f"clip{suffix}", pan(3), codec=codec)
    assert paint(clip) == 0
    assert len(read_clip(tmp_path / f"clip.dots{suffix}")) == 3


@pytest.mark.parametrize("codec", ["hevc", "vp9", "av1"])
def test_other_codecs(tmp_path: Path, paint: Paint, codec: str) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pan(3))
    assert paint(clip, "--codec", codec) == 0
    painted = tmp_path / "clip.dots.mp4"
    with av.open(str(painted)) as container:
        assert container.streams.video[0].codec_context.name in (codec, f"lib{codec}", "libdav1d")
    assert len(read_clip(painted)) == 3


def test_old_containers_become_mp4(tmp_path: Path, paint: Paint) -> None:
    clip = write_clip(tmp_path / "clip.avi", pan(3), codec="mpeg4")
    assert paint(clip) == 0
    assert len(read_clip(tmp_path / "clip.dots.mp4")) == 3


def test_turned_clips_are_painted_upright(tmp_path: Path, paint: Paint) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pan(2), rotation=90, aspect=Fraction(4, 3))
    upright = next(Clip(clip).frames()).rgb
    assert upright.shape == (64, 48, 3)
    assert mean_apart(upright, np.rot90(read_clip(clip)[0])) < 3
    assert paint(clip) == 0
    with av.open(str(tmp_path / "clip.dots.mp4")) as container:
        video = container.streams.video[0]
        assert (video.width, video.height) == (48, 64)
        assert video.sample_aspect_ratio == Fraction(3, 4)
        assert next(container.decode(video=0)).rotation == 0


def test_odd_sides_are_made_even(tmp_path: Path, paint: Paint) -> None:
    clip = write_clip(tmp_path / "clip.mkv", pan(2, 63, 47), codec="ffv1", pixels="yuv444p")
    assert paint(clip) == 0
    assert read_clip(tmp_path / "clip.dots.mkv")[0].shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ({"pixels": "yuv420p10le"}, "has 10 bits per colour; it is painted in 8"),
        ({"pixels": "yuv420p10le", "transfer": 16}, "is HDR; it is painted in SDR"),
        ({"pixels": "yuv420p10le", "transfer": 18}, "is HDR; it is painted in SDR"),
        ({"options": {"x264-params": "tff=1"}}, "is interlaced"),
    ],
)
def test_what_is_lost_is_said(
    tmp_path: Path,
    paint: Paint,
    capsys: pytest.CaptureFixture[str],
    made: dict[str, object],
    said: str,
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", pan(2), **made)  # type: ignore[arg-type]
    assert paint(clip) == 0
    assert said in capsys.readouterr().err
    assert len(read_clip(tmp_path / "clip.dots.mkv")) == 2


def test_hdr_white_is_nearly_white_and_black_is_black(tmp_path: Path) -> None:
    # 203 cd/m2, diffuse white, is 0.58 on the PQ curve.
    for level, low, high in ((0, 0, 3), (148, 215, 245), (255, 250, 255)):
        grey = np.full((48, 64, 3), level, np.uint8)
        clip = write_clip(tmp_path / "x.mkv", [grey], pixels="yuv420p10le", transfer=16)
        assert low <= next(Clip(clip).frames()).rgb.mean() <= high


def test_a_clip_of_one_frame(tmp_path: Path, paint: Paint) -> None:
    assert paint(write_clip(tmp_path / "clip.mp4", pan(1))) == 0
    assert len(read_clip(tmp_path / "clip.dots.mp4")) == 1


def test_of_a_clip_that_is_cut_off_what_is_there_is_painted(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = write_clip(tmp_path / "whole.mp4", pan(40), sound=True).read_bytes()
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(whole[: len(whole) * 6 // 10])
    assert paint(clip) == 1
    there = len(read_clip(tmp_path / "clip.dots.mp4"))
    assert 5 < there < 38
    said = capsys.readouterr()
    assert f"error: {clip} is cut off: {there} frames are there" in said.err
    assert said.out.endswith("clip.dots.mp4\n")


@pytest.mark.parametrize(
    "content", [b"", b"no clip" * 99, b"#EXTM3U\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"]
)
def test_no_clips_are_refused_in_a_line(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(content)
    assert paint(clip) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"error: cannot read {clip}: ")
    assert [path.name for path in tmp_path.glob("*clip*")] == ["clip.mp4"]


def test_masks_may_stay_or_move(tmp_path: Path, paint: Paint) -> None:
    clip = write_clip(tmp_path / "clip.mkv", pan(3))
    black, white = (np.full((48, 64, 3), level, np.uint8) for level in (0, 255))
    moving = write_clip(tmp_path / "mask.mkv", [black, white])  # the last frame stays
    still = tmp_path / "mask.png"
    Image.fromarray(black).save(still)
    out = tmp_path / "out.mkv"
    given = read_clip(clip)
    assert paint(clip, "--mask", still, "-o", out, "--crf", 0) == 0
    assert max(map(mean_apart, given, read_clip(out))) < 3
    assert paint(clip, "--mask", moving, "-o", out, "--crf", 0) == 0
    apart = list(map(mean_apart, given, read_clip(out)))
    assert apart[0] < 3
    assert min(apart[1:]) > 10


def test_regions_and_colours(tmp_path: Path, paint: Paint, make_pack: Callable[..., Path]) -> None:
    clip = write_clip(tmp_path / "clip.mkv", pan(3))
    other = make_pack("other", seed=5)
    mask = write_clip(tmp_path / "mask.mkv", [np.full((48, 64, 3), v, np.uint8) for v in (0, 255)])
    out, plain = tmp_path / "out.mkv", tmp_path / "plain.mkv"
    lossless = ("--crf", 0, "--steady", 0, "--precision", "float32", "-o")
    assert paint(clip, *lossless, plain) == 0
    assert paint(clip, "--region", f"{mask}={other}", *lossless, out) == 0
    apart = list(map(mean_apart, read_clip(plain), read_clip(out)))
    assert apart[0] < 1
    assert min(apart[1:]) > 5
    assert paint(clip, "--keep-colors", *lossless, out) == 0
    spread = [np.ptp(frame.astype(int), axis=-1).mean() for frame in read_clip(out)]
    wanted = [np.ptp(frame.astype(int), axis=-1).mean() for frame in read_clip(clip)]
    assert spread == pytest.approx(wanted, rel=0.35)


def test_a_mix_fades_to_another(
    tmp_path: Path, paint: Paint, make_pack: Callable[..., Path]
) -> None:
    clip = write_clip(tmp_path / "clip.mkv", [pan(1)[0]] * 5)
    other = make_pack("other", seed=5)
    out, first, last = (tmp_path / f"{name}.mkv" for name in ("out", "first", "last"))
    lossless = ("--crf", 0, "--steady", 0, "-o")
    assert paint(clip, *lossless, first) == 0
    assert paint(clip, "--mix-to", f"{other}=1", *lossless, out) == 0
    assert paint(clip, "--mix-to", f"{other}=1", "--size", 64, *lossless, last) == 0
    faded, start = read_clip(out), read_clip(first)[0]
    assert mean_apart(faded[0], start) < 1
    apart = [mean_apart(frame, start) for frame in faded]
    assert apart == sorted(apart)
    assert apart[-1] > 5


def test_folders_mix_photographs_and_clips(
    tmp_path: Path, paint: Paint, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(photos / "clip.mp4", pan(2))
    out = tmp_path / "out"
    for part in ("1/2", "2/2"):
        assert paint(photos, "-o", out, "--shard", part) == 0
    assert len(list(out.iterdir())) == 7
    assert len(capsys.readouterr().out.splitlines()) == 7
    assert paint(photos, "-o", out, "--skip-existing") == 0
    assert "nothing to do" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--codec", "mpeg2"], "--codec is 'mpeg2'"),
        (["--crf", "99"], "--crf is 99"),
        (["--steady", "1.5"], "--steady is 1.5"),
        (["-o", "out.jpg"], "one is a clip"),
        (["-o", "-"], "is a clip, which is written to a file"),
        (["-o", "out.webm", "--codec", "h264"], "takes vp9 or av1"),
    ],
)
def test_wrong_options_are_said_in_a_line(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", pan(2))
    assert paint(clip, *words) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.glob("*clip*")] == ["clip.mp4"]


def test_without_the_extra_a_line_says_so_and_photographs_are_painted(
    tmp_path: Path,
    paint: Paint,
    photos: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clip = write_clip(photos / "clip.mp4", pan(2))
    monkeypatch.setattr(needs, "find_spec", lambda name: None)
    assert paint(clip) == 1
    said = capsys.readouterr().err
    assert f"painting {clip} needs PyAV and OpenCV: pip install 'stylepack[video]'" in said
    assert paint(photos, "-o", tmp_path / "out") == 0
    assert "1 clips are left out" in capsys.readouterr().err
    assert len(list((tmp_path / "out").iterdir())) == 6


def test_options_of_clips_need_a_clip(
    paint: Paint, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert paint(photos / "0.jpg", "--steady", "0.5") == 2
    assert "--steady is for clips" in capsys.readouterr().err


def test_frames_without_order_get_times_that_ascend(tmp_path: Path) -> None:
    clip = Clip(write_clip(tmp_path / "clip.mp4", pan(4)))
    times = [frame.pts for frame in clip.frames()]
    assert times == [0, STEP, 2 * STEP, 3 * STEP]
    assert clip.damage == ""


def with_subtitles(path: Path, clip: Path) -> Path:
    """A clip with a line of text over it, and two chapters."""
    text = path.with_suffix(".srt")
    text.write_text("1\n00:00:00,000 --> 00:00:00,080\nA wave\n")
    with av.open(str(path), "w") as out, av.open(str(clip)) as video, av.open(str(text)) as words:
        chapters = [(0, 0, 40, "Calm"), (1, 40, 80, "Storm")]
        out.set_chapters(
            [
                {
                    "id": i,
                    "start": a,
                    "end": b,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": t},
                }
                for i, a, b, t in chapters
            ]
        )
        for source in (video.streams.video[0], words.streams.subtitles[0]):
            copy = out.add_stream_from_template(source, opaque=True)
            copy.metadata["language"] = "eng"
        copies = {"video": out.streams[0], "subtitle": out.streams[1]}
        for container in (video, words):
            for packet in container.demux():
                if packet.size:
                    packet.stream = copies[packet.stream.type]
                    out.mux(packet)
    return path


def test_subtitles_and_chapters_travel_where_they_can(
    tmp_path: Path, paint: Paint, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = with_subtitles(tmp_path / "clip.mkv", write_clip(tmp_path / "x.mkv", pan(4)))
    assert paint(clip) == 0
    with av.open(str(tmp_path / "clip.dots.mkv")) as container:
        (text,) = container.streams.subtitles
        assert text.metadata["language"] == "eng"
        assert [one["metadata"]["title"] for one in container.chapters()] == ["Calm", "Storm"]
        lines = [bytes(packet) for packet in container.demux(subtitles=0) if packet.size]
        assert lines == [b"A wave"]
    assert "warning" not in capsys.readouterr().err
    assert paint(clip, "-o", tmp_path / "out.mp4") == 0
    assert "(srt) cannot be put into mp4; write .mkv to keep it" in capsys.readouterr().err
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.video) == 1
        assert not container.streams.subtitles
