"""Clips as upright RGB frames with their times, by PyAV."""

from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from stylepack.errors import ClipError, UsageError
from stylepack.files import refuse_pipe
from stylepack.images.formats import MOST_PIXELS
from stylepack.video.hdr import is_hdr, to_sdr

Rgb = NDArray[np.uint8]

HIGH_DEFINITION = 720  # rows from which players take an unlabelled clip for BT.709
LONGEST_REASON = 200  # characters of FFmpeg's messages
# By MatrixCoefficients of ITU-T H.273.
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
# Files only: a playlist could name other files and addresses.
SAFELY = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,asf,flv,live_flv,"
    "ogg,nut,mxf",
}
USUAL_RATE, MOST_RATE = Fraction(25), 1000  # frames per second
MISSING = Fraction(1, 2)  # seconds that a clip may end before its declared end


@dataclass(frozen=True)
class Frame:
    """One upright frame: (H, W, 3) uint8 sRGB, and its time in units of the clip's time base."""

    rgb: Rgb
    pts: int
    duration: int


@dataclass(frozen=True)
class Facts:
    """Facts about a clip before it is decoded.

    `width` and `height` are of an upright frame, 0 if none can be decoded.  `frames` is exact if
    the file declares it.  `aspect` is the shape of an upright frame's pixels, `rate` the mean
    number of frames per second.
    """

    frames: int
    rate: Fraction
    time_base: Fraction
    aspect: Fraction
    seconds: Fraction | None
    width: int = 0
    height: int = 0


class Clip:
    """The video of one file; `damage` and `notices` grow while frames are read.

    `card`: the GPU that decodes it, or None.
    """

    def __init__(self, path: Path, card: HWAccel | None = None) -> None:
        self.path, self.card = path, card
        self.damage = ""
        self.notices: list[str] = []
        with opened(path) as container:
            self.facts = _facts(path, container)

    def on_card(self) -> "Clip":
        """The clip decoded by an NVIDIA GPU if that can decode its first frame, else as it is."""
        try:
            with closing(self._with_card().frames()) as frames:
                next(frames)
            return self._with_card()
        except (ClipError, OSError, ValueError, av.error.FFmpegError, StopIteration):
            return self

    def _with_card(self) -> "Clip":
        return Clip(self.path, HWAccel("cuda", allow_software_fallback=True))

    def frames(self) -> Generator[Frame]:
        """Every frame that can be decoded, in the order of their times.

        A clip that is cut off or damaged ends early; `damage` then describes it.

        Raises:
            ClipError: nothing can be decoded.
        """
        count, last = 0, Fraction(0)
        self._broken: Counter[str] = Counter()
        with opened(self.path, self.card) as container:
            stream = video_of(self.path, container)
            if self.card is None:
                stream.thread_type = "AUTO"
            earliest = None
            for decoded in self._decoded(container, stream):
                if count == 0:
                    self._look_at(decoded)
                frame = self._frame(decoded, earliest)
                earliest = frame.pts + 1
                count += 1
                last = (frame.pts + frame.duration) * self.facts.time_base
                yield frame
        self._judge(count, last)

    def _decoded(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame]:
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self._broken[_reason(error)] += 1
                packet = None
            try:
                yield from stream.decode(packet)
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                self._broken[_reason(error)] += 1
            if packet is None:
                return

    def _frame(self, decoded: av.VideoFrame, earliest: int | None) -> Frame:
        """Upright RGB; a frame without a time, or out of order, follows the last one."""
        base = self.facts.time_base
        step = decoded.duration or max(1, round(1 / (self.facts.rate * base)))
        pts = decoded.pts
        if pts is None:
            pts = 0 if earliest is None else earliest - 1 + step
        if earliest is not None:
            pts = max(pts, earliest)
        rgb = np.rot90(to_rgb(decoded), (decoded.rotation // 90) % 4)
        return Frame(np.ascontiguousarray(rgb), pts, step)

    def _look_at(self, frame: av.VideoFrame) -> None:
        if frame.width * frame.height > MOST_PIXELS:
            raise ClipError(f"{self.path} has frames of {frame.width}x{frame.height}; too large")
        if is_hdr(frame):
            self.notices.append(f"{self.path} is HDR; it is painted in SDR")
        elif frame.format.components[0].bits > 8:
            bits = frame.format.components[0].bits
            self.notices.append(f"{self.path} has {bits} bits per colour; it is painted in 8")
        if frame.interlaced_frame:
            self.notices.append(
                f"{self.path} is interlaced, which shows as combs in moving parts; deinterlace it "
                "first, like: ffmpeg -i IN -vf bwdif OUT"
            )

    def _judge(self, count: int, last: Fraction) -> None:
        """Record what is missing, once the whole clip has been read."""
        if count == 0:
            reason = next(iter(self._broken), "it holds no frames")
            raise ClipError(f"cannot read {self.path}: {reason}; the file is damaged")
        there = self.facts.seconds
        if there is not None and last < there - max(MISSING, 2 / self.facts.rate):
            self.damage = (
                f"{self.path} is cut off: {count} frames are there and painted, "
                f"{float(last):.1f} of {float(there):.1f} seconds"
            )
        elif self._broken:
            reason, times = self._broken.most_common(1)[0]
            self.damage = f"{self.path} is damaged ({reason}, {times} times); the rest is painted"


def to_rgb(frame: av.VideoFrame) -> Rgb:
    """(H, W, 3) uint8 sRGB of a decoded frame, as it is stored."""
    if is_hdr(frame):
        return to_sdr(frame)
    source = MATRICES.get(frame.colorspace) or _usual(frame.height)
    full = frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj")
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=source,
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        threads=1,  # the network has the others
    )
    return np.asarray(rgb.to_ndarray(), dtype=np.uint8)


def _usual(height: int) -> Colorspace:
    """The matrix that players assume for a clip that declares none."""
    return Colorspace.ITU709 if height >= HIGH_DEFINITION else Colorspace.ITU601


@contextmanager
def opened(path: Path, card: HWAccel | None = None) -> Iterator[av.container.InputContainer]:
    """Open the container of a file; `card` is the GPU that decodes its video, or None.

    Raises:
        UsageError: no such file, or a pipe.
        ClipError: not a clip, or damaged.
    """
    refuse_pipe(path)
    try:
        with av.open(
            f"file:{path}", options=SAFELY, metadata_errors="replace", hwaccel=card
        ) as container:
            yield container
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}; give a clip") from None
    except av.error.FFmpegError as error:
        raise ClipError(
            f"cannot read {path}: {_reason(error)}; it is damaged, or not a clip that can be read"
        ) from error


def _reason(error: av.error.FFmpegError) -> str:
    return (error.strerror or str(error))[:LONGEST_REASON]


def video_of(path: Path, container: av.container.InputContainer) -> av.VideoStream:
    """A clip's best video stream.

    Raises:
        ClipError: it has none.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream):
        raise ClipError(f"{path} holds no video")
    return stream


def _facts(path: Path, container: av.container.InputContainer) -> Facts:
    stream = video_of(path, container)
    base = stream.time_base or Fraction(1, 90_000)
    first = next((frame for frame in _tried(container, stream)), None)
    rate = stream.average_rate or stream.guessed_rate or USUAL_RATE
    if rate > MOST_RATE:  # a time base mistaken for a rate
        rate = USUAL_RATE
    seconds = None
    if stream.duration:
        seconds = ((stream.start_time or 0) + stream.duration) * base
    elif container.duration and len(container.streams) == 1:  # otherwise it is the longest stream's
        seconds = Fraction(container.duration + (container.start_time or 0), av.time_base)
    length = seconds or Fraction(container.duration or 0, av.time_base)
    frames = stream.frames or round(length * rate)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = (first.width, first.height) if first is not None else (0, 0)
    if first is not None and first.rotation % 180:
        aspect, width, height = 1 / aspect, height, width
    return Facts(max(1, frames), rate, base, aspect, seconds, width, height)


def _tried(
    container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[av.VideoFrame]:
    """Yield frames from the first on until one cannot be decoded."""
    try:
        yield from container.decode(stream)
    except av.error.FFmpegError:
        return
