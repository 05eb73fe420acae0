"""Encoding of painted clips: codecs, their quality, and their containers."""

from dataclasses import dataclass, field
from pathlib import Path

from stylepack.errors import UsageError
from stylepack.images.formats import CONTAINERS

CODECS_OF = {"webm": ("vp9", "av1"), "mov": ("h264", "hevc")}  # the others support all


@dataclass(frozen=True)
class Encoder:
    """One of FFmpeg's encoders: its default and its worst quality, and its settings.

    `quality` is the name of the quality setting.
    """

    name: str
    crf: int
    worst: int
    settings: dict[str, str] = field(default_factory=dict)
    quality: str = "crf"


# Small blocks, a search for the number of B-frames and a long look-ahead take a third or more of
# x264's time, and change a painted clip's size by a few percent: docs/video.md.
X264 = {"preset": "fast", "x264-params": "b-adapt=0:partitions=none:rc-lookahead=20"}
ENCODERS = {
    "h264": Encoder("libx264", 20, 51, X264),
    "hevc": Encoder("libx265", 22, 51, {"x265-params": "log-level=error"}),
    "vp9": Encoder("libvpx-vp9", 28, 63, {"b": "0", "row-mt": "1", "cpu-used": "4"}),
    "av1": Encoder("libsvtav1", 30, 63, {"preset": "8"}),
}
# `b` of 0 leaves the rate to `cq` (FFmpeg's NVENC options, `ffmpeg -h encoder=h264_nvenc`).
NVENC = {"rc": "vbr", "b": "0", "preset": "p5", "tune": "hq"}
ON_CARD = {
    name: Encoder(f"{name}_nvenc", ENCODERS[name].crf, ENCODERS[name].worst, NVENC, "cq")
    for name in ("h264", "hevc", "av1")
}


@dataclass(frozen=True)
class Coding:
    """A codec by name, its `crf`, FFmpeg's container, and whether a GPU encodes."""

    codec: str
    crf: int
    container: str
    on_card: bool = False

    @property
    def encoder(self) -> Encoder:
        """The encoder for the codec."""
        return (ON_CARD if self.on_card else ENCODERS)[self.codec]

    @classmethod
    def of(cls, target: Path, codec: str = "", crf: int | None = None) -> "Coding":
        """The coding for a file: by default H.264, and VP9 in WebM.

        Raises:
            UsageError: an unknown codec or container, a codec that the container does not support,
                or a quality out of range.
        """
        container = CONTAINERS.get(target.suffix.lower())
        if container is None:
            raise UsageError(
                f"cannot write a clip to {target}; name it {', '.join(sorted(CONTAINERS))}"
            )
        possible = CODECS_OF.get(container, tuple(ENCODERS))
        codec = codec or possible[0]
        if codec not in ENCODERS:
            raise UsageError(f"--codec is '{codec}'; use {', '.join(ENCODERS)}")
        if codec not in possible:
            raise UsageError(
                f"{target.suffix} takes {' or '.join(possible)}, not --codec {codec}; choose one "
                "of them or write .mp4 or .mkv"
            )
        encoder = ENCODERS[codec]
        if crf is not None and not 0 <= crf <= encoder.worst:
            raise UsageError(f"--crf is {crf}; for {codec} give 0 (best) to {encoder.worst}")
        return cls(codec, encoder.crf if crf is None else crf, container)
