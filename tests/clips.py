"""Clips that tests make with PyAV."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from conftest import picture
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
BASE = Fraction(1, 12_800)
STEP = 512  # of BASE: 25 frames a second


def pan(count: int, width: int = 64, height: int = 48, step: float = 2.0) -> list[Rgb]:
    """Frames of a smooth picture that moves to the left by `step` pixels a frame."""
    wide = picture(width + round(step * count) + 1, height, 3)
    boxes = [(index * step, 0, index * step + width, height) for index in range(count)]
    return [np.array(wide.resize((width, height), box=box)) for box in boxes]


def write_clip(
    path: Path,
    frames: Sequence[Rgb],
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    sound: bool = False,
    rotation: int = 0,
    aspect: Fraction | None = None,
    transfer: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """A clip of (H, W, 3) uint8 frames, lossless but for its colours, at `times` in `BASE`."""
    times = [index * STEP for index in range(len(frames))] if times is None else times
    height, width = frames[0].shape[:2]
    flags = {"movflags": "+faststart"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", options=flags) as container:
        settings = {"crf": "0"} if codec == "libx264" else {}
        stream = container.add_stream(codec, rate=25, options=settings | (options or {}))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        stream.codec_context.time_base = BASE
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        if transfer:
            stream.codec_context.color_trc = transfer
            stream.codec_context.color_primaries = stream.codec_context.colorspace = 9
        audio = container.add_stream("aac", rate=48_000, layout="mono") if sound else None
        if audio is not None:
            _write_tone(container, audio, times[-1] + STEP)
        for rgb, pts in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = pts, BASE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _write_tone(
    container: av.container.OutputContainer, stream: av.AudioStream, until: int
) -> None:
    for start in range(0, int(until * BASE * 48_000), 1024):
        wave = np.sin(np.arange(start, start + 1024) * 0.05, dtype=np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 48_000, start
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def read_clip(path: Path) -> list[Rgb]:
    """Its frames, (H, W, 3) uint8."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def times_of(path: Path) -> list[float]:
    """When its frames are shown, in seconds."""
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def sound_of(path: Path) -> list[bytes]:
    """Its packets of sound."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]
