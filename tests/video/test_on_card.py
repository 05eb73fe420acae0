"""Decoding and encoding on a card: tried first, and left alone where it does not work."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import pan, write_clip

from stylepack.video import coding, reader
from stylepack.video.coding import Coding, Encoder
from stylepack.video.reader import Clip
from stylepack.video.segment import SegmentWriter, coded_on_card


@pytest.fixture
def clip(tmp_path: Path) -> Clip:
    return Clip(write_clip(tmp_path / "clip.mp4", pan(4)))


def pretend(monkeypatch: pytest.MonkeyPatch, encoder: Encoder) -> None:
    monkeypatch.setitem(coding.ON_CARD, "h264", encoder)


def test_a_clip_knows_the_size_of_its_upright_frames(tmp_path: Path) -> None:
    frames = pan(2)
    facts = Clip(write_clip(tmp_path / "clip.mp4", frames)).facts
    assert (facts.height, facts.width) == frames[0].shape[:2]


def test_an_encoder_that_takes_the_clip_is_used(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, Encoder("mpeg4", 20, 51, {"b": "0"}, "qscale"))
    chosen = coded_on_card(Coding.of(Path("clip.mp4")), clip.facts)
    assert chosen.on_card
    writer = SegmentWriter(tmp_path / "one.nut", chosen, clip.facts)
    writer.add(next(clip.frames()).rgb, 0)
    writer.close()
    with av.open(str(tmp_path / "one.nut")) as written:
        assert written.streams.video[0].codec_context.name == "mpeg4"


@pytest.mark.parametrize(
    "encoder", [Encoder("no_such_encoder", 20, 51), Encoder("libx264", 20, 51, {"level": "99"})]
)
def test_an_encoder_that_does_not_work_is_not(
    clip: Clip, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, encoder)
    plain = Coding.of(Path("clip.mp4"))
    assert coded_on_card(plain, clip.facts) == plain
    vp9 = Coding.of(Path("clip.webm"))
    assert coded_on_card(vp9, clip.facts) == vp9


def test_a_clip_without_frames_tries_no_encoder(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, Encoder("libx264", 20, 51))
    plain = Coding.of(Path("clip.mp4"))
    assert coded_on_card(plain, replace(clip.facts, width=0, height=0)) == plain


def test_a_decoder_that_works_is_used(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "HWAccel", lambda *_, **__: None)
    quick = clip.on_card()
    assert quick is not clip
    for one, other in zip(quick.frames(), clip.frames(), strict=True):
        assert np.array_equal(one.rgb, other.rgb)
    assert quick.notices == clip.notices


def test_a_decoder_that_does_not_work_is_not(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise av.error.PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(av, "open", refuse)
    assert clip.on_card() is clip
