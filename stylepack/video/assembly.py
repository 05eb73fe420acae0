"""The painted clip from its segments, with the source's audio and subtitles, all copied."""

import heapq
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from stylepack.video.coding import Coding
from stylepack.video.reader import Facts, opened
from stylepack.video.segment import Segment, rate_of, step_of

COPIED = ("audio", "subtitle")
Timed = tuple[float, Any]  # seconds of decoding, and a packet of PyAV


def assemble(
    into: Path,
    coding: Coding,
    folder: Path,
    segments: Sequence[Segment],
    source: Path,
    facts: Facts,
    words: str = "",
) -> list[str]:
    """Write segments one after the other, with the source's other streams up to their end.

    Args:
        into: the file.
        coding: of the file; only the container and the codec's name are used.
        folder: of the segments.
        segments: in the order of their times; at least one.
        source: the clip that was painted.
        facts: about `source`.
        words: a record of how it was painted, for the metadata.

    Returns:
        Sentences about streams that could not be copied.

    Raises:
        FFmpegError, OSError: the file cannot be written.
    """
    options = {"movflags": "+faststart"} if coding.container in ("mp4", "mov") else {}
    left_out: list[str] = []
    with (
        av.open(str(into), "w", format=coding.container, options=options) as output,
        opened(source) as container,
        av.open(str(folder / segments[0].file)) as first,
    ):
        output.metadata.update(container.metadata)
        if words:
            output.metadata["comment"] = words
        video = output.add_stream_from_template(first.streams.video[0], opaque=True)
        video.time_base = facts.time_base
        video.codec_context.framerate = rate_of(facts)
        if coding.codec == "hevc" and coding.container in ("mp4", "mov"):
            video.codec_context.codec_tag = "hvc1"  # the one that Apple's players accept
        copies = {}
        for stream in container.streams:
            if stream.type in COPIED:
                try:
                    copy = output.add_stream_from_template(stream, opaque=True)
                    copy.metadata.update(stream.metadata)
                    copies[stream.index] = copy
                except (ValueError, av.error.FFmpegError):
                    name = stream.codec_context.name if stream.codec_context else "unknown"
                    left_out.append(
                        f"the {stream.type} of {source} ({name}) cannot be put into "
                        f"{coding.container}; write .mkv to keep it"
                    )
        with suppress(ValueError, AttributeError, av.error.FFmpegError):
            output.set_chapters(container.chapters())
        end = float((segments[-1].times[-1] + step_of(facts)) * facts.time_base)
        own = _of_segments(folder, segments, video, facts)
        other = _of_source(container, copies, end)
        for _, packet in heapq.merge(own, other, key=lambda timed: timed[0]):
            output.mux(packet)
    return left_out


def _of_segments(
    folder: Path, segments: Sequence[Segment], video: av.stream.Stream, facts: Facts
) -> Iterator[Timed]:
    """Packets with decoding times that ascend across all segments.

    The j-th packet is decoded at the display time of frame j - `delay`, as in encoders.
    """
    shown = [pts for segment in segments for pts in segment.times]
    delay = max(segment.delay for segment in segments)
    step = step_of(facts)
    place = 0
    for segment in segments:
        with av.open(str(folder / segment.file)) as container:
            packets: list[Any] = [packet for packet in container.demux(video=0) if packet.size]
            ranks = sorted(range(len(packets)), key=lambda j: packets[j].pts or 0)
            for rank, j in enumerate(ranks):
                packets[j].pts = segment.times[rank]
                following = rank + 1 < len(segment.times)
                after = segment.times[rank + 1] if following else segment.times[rank] + step
                packets[j].duration = after - segment.times[rank]
            for packet in packets:
                early = place - delay
                packet.dts = shown[early] if early >= 0 else shown[0] + early * step
                packet.time_base = facts.time_base
                packet.stream = video
                place += 1
                yield float(packet.dts * facts.time_base), packet


def _of_source(
    container: av.container.InputContainer, copies: dict[int, av.stream.Stream], end: float
) -> Iterator[Timed]:
    """Audio and subtitles, up to a time in seconds or to where the file is cut off."""
    streams = [stream for stream in container.streams if stream.index in copies]
    if not streams:
        return
    try:
        for packet in container.demux(streams):
            if packet.dts is None or not packet.size:
                continue
            at = float(packet.dts * Fraction(packet.time_base))
            if at < end:
                packet.stream = copies[packet.stream.index]
                yield at, packet
    except av.error.FFmpegError:
        return
