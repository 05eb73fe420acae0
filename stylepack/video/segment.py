"""Segments of a painted clip, each in its own file that begins with a key frame."""

import os
import tempfile
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from stylepack.video.coding import ON_CARD, Coding
from stylepack.video.reader import HIGH_DEFINITION, Facts, Rgb

CONTAINER = "nut"  # takes every codec and any time base
BT_601, BT_709, UNKNOWN = 6, 1, 2  # ITU-T H.273
MOST_DENOMINATOR = 1 << 16
TRIED = 2  # frames of an encoder that may not work


@dataclass(frozen=True)
class Segment:
    """A finished segment: `times` of its frames in the clip's time base, ascending.

    `delay` is the number of packets by which the encoder reorders frames, at most.
    """

    file: str
    times: tuple[int, ...]
    delay: int


class SegmentWriter:
    """Encodes frames of one size into a file.

    Raises:
        FFmpegError, OSError: the file cannot be written.
    """

    def __init__(self, path: Path, coding: Coding, facts: Facts) -> None:
        self.path, self.coding, self.facts = path, coding, facts
        self.times: list[int] = []
        self._order: list[int] = []  # times of packets, as they come
        self._container = av.open(str(path), "w", format=CONTAINER)
        self._stream: av.VideoStream | None = None

    def add(self, rgb: Rgb, pts: int) -> None:
        """Encode (H, W, 3) uint8 sRGB, shown from `pts` on."""
        even = padded(rgb)
        if self._stream is None:
            self._stream = self._open(even.shape[1], even.shape[0])
        high = even.shape[0] >= HIGH_DEFINITION
        frame = av.VideoFrame.from_ndarray(even, "rgb24").reformat(
            format="yuv420p",
            dst_colorspace=Colorspace.ITU709 if high else Colorspace.ITU601,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.MPEG,
            threads=1,  # half the work of several; the network has the others
        )
        frame.pts, frame.time_base = pts, self.facts.time_base
        self.times.append(pts)
        self._mux(frame)

    def close(self) -> Segment:
        """Finish the file."""
        self._mux(None)
        self._container.close()
        ranks = {pts: rank for rank, pts in enumerate(sorted(self._order))}
        delay = max((place - ranks[pts] for place, pts in enumerate(self._order)), default=0)
        return Segment(self.path.name, tuple(self.times), delay)

    def abandon(self) -> None:
        """Close a file that cannot be finished."""
        self._container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        if self._stream is None:
            return
        for packet in self._stream.encode(frame):
            assert packet.pts is not None
            self._order.append(packet.pts)
            self._container.mux(packet)

    def _open(self, width: int, height: int) -> av.VideoStream:
        encoder = self.coding.encoder
        os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 then prints only errors
        options = {encoder.quality: str(self.coding.crf), **encoder.settings}
        stream = self._container.add_stream(encoder.name, rate=rate_of(self.facts), options=options)
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = width, height, "yuv420p"
        context.time_base = self.facts.time_base
        context.flags |= av.codec.context.Flags.global_header
        high = height >= HIGH_DEFINITION
        context.colorspace = BT_709 if high else BT_601
        context.color_range = ColorRange.MPEG
        context.color_primaries = context.color_trc = BT_709 if high else UNKNOWN
        if self.facts.aspect != 1:
            context.sample_aspect_ratio = self.facts.aspect.limit_denominator(MOST_DENOMINATOR)
        return stream


def coded_on_card(coding: Coding, facts: Facts) -> Coding:
    """The coding with an NVIDIA GPU's encoder, if that supports frames of the clip's size.

    Else the coding as it is: some GPUs only decode, and none supports every codec and size.
    """
    if coding.codec not in ON_CARD or not facts.height:
        return coding
    quick = replace(coding, on_card=True)
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter(Path(folder) / "tried.nut", quick, facts)
        try:
            for index in range(TRIED):
                writer.add(np.zeros((facts.height, facts.width, 3), np.uint8), index)
            writer.close()
        except (OSError, ValueError, av.error.FFmpegError):
            writer.abandon()
            return coding
    return quick


def padded(rgb: Rgb) -> Rgb:
    """Pad to even sides, as 4:2:0 needs them, by repeating the last column or row."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        return np.pad(rgb, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(rgb)


def rate_of(facts: Facts) -> Fraction:
    """Frames per second, as a fraction that encoders accept."""
    return facts.rate.limit_denominator(MOST_DENOMINATOR)


def step_of(facts: Facts) -> int:
    """The usual time from one frame to the next, in units of the time base."""
    return max(1, round(1 / (facts.rate * Fraction(facts.time_base))))
