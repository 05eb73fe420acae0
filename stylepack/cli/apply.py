"""`stylepack apply`: paint photographs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stylepack.cli import console
from stylepack.cli.clips import FilmOptions
from stylepack.cli.completion import complete_mix, complete_pack
from stylepack.cli.options import Device, Force, Precision, TrunkFile
from stylepack.errors import PhotoError, UsageError
from stylepack.files import make_folder
from stylepack.library.resolve import resolve
from stylepack.packs.mix import Mix, parse_mix

if TYPE_CHECKING:
    from stylepack.painting.batch import Painter
    from stylepack.painting.jobs import Job


def apply(
    photos: Annotated[
        list[str],
        typer.Argument(
            metavar="PHOTO", help="Photographs, clips, folders, patterns, or - for stdin."
        ),
    ],
    mix: Annotated[
        str,
        typer.Option(
            metavar="A=W,B=W",
            help="Packs (names or files) with weights.",
            autocompletion=complete_mix,
        ),
    ] = "",
    style: Annotated[
        str,
        typer.Option(metavar="A", help="One pack, by name or file.", autocompletion=complete_pack),
    ] = "",
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            help="The painted file, a folder for several, or - for stdout.  "
            "(default: beside the photograph, as NAME.stylized.EXT)",
        ),
    ] = None,
    strength: Annotated[
        float,
        typer.Option(
            help="0 is the photograph, 1 the style, up to 1.5.  Below 1 takes two passes."
        ),
    ] = 1.0,
    keep_colors: Annotated[
        bool, typer.Option("--keep-colors", help="Keep the photograph's colours.")
    ] = False,
    size: Annotated[
        str,
        typer.Option(
            metavar="N|full",
            help="Paint at this long side: smaller means larger strokes.  full: at the "
            "photograph's.  (default: coarse to fine above 1.3 megapixels)",
        ),
    ] = "",
    no_upscale: Annotated[
        bool, typer.Option("--no-upscale", help="With --size: leave the result at that size.")
    ] = False,
    mask: Annotated[
        Path | None, typer.Option(help="Paint where this picture is white; grey is between.")
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="MASK=MIX", help="Another mix where a mask is white; repeatable."),
    ] = None,
    background: Annotated[
        str, typer.Option(metavar="COLOUR", help="Lay transparent photographs on this colour.")
    ] = "",
    suffix: Annotated[
        str, typer.Option(help="What is put behind the names of painted files.")
    ] = ".stylized",
    format: Annotated[
        str, typer.Option(metavar="EXT", help="Write this format: jpg, png, webp, tif.")
    ] = "",
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of JPEG, WebP and AVIF.")] = 95,
    subsampling: Annotated[str, typer.Option(help="Of JPEG: 4:4:4, 4:2:2 or 4:2:0.")] = "4:4:4",
    no_metadata: Annotated[
        bool, typer.Option("--no-metadata", help="Write no EXIF and no word of how it was made.")
    ] = False,
    skip_existing: Annotated[
        bool, typer.Option("--skip-existing", help="Leave photographs that are painted already.")
    ] = False,
    shard: Annotated[
        str, typer.Option(metavar="I/N|env", help="Paint only the I-th of N parts.")
    ] = "",
    steady: Annotated[
        float | None,
        typer.Option(
            help="Of clips: how much each frame keeps of the last one, 0 to 0.95.  (default: 0.8)"
        ),
    ] = None,
    mix_to: Annotated[
        str,
        typer.Option(
            metavar="A=W,B=W",
            help="Of clips: fade to this mix by the end.",
            autocompletion=complete_mix,
        ),
    ] = "",
    codec: Annotated[
        str, typer.Option(help="Of clips: h264, hevc, vp9 or av1.  (default: h264; vp9 in .webm)")
    ] = "",
    crf: Annotated[
        int | None,
        typer.Option(help="Of clips: quality, the lower the better.  (default: 20 of h264)"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Of clips: go on where one was stopped.")
    ] = False,
    jobs: Annotated[
        int, typer.Option(min=1, help="Threads that decode and encode.", show_default=True)
    ] = 2,
    trunk: TrunkFile = None,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
) -> None:
    """Paint photographs and clips in a style or a mix of styles.

    The paths of the painted files are printed to stdout, one a line.
    """
    wanted = choose_mix(mix, style)
    side = parse_size(size)
    regions = [parse_region(text) for text in region or ()]
    mixes = [wanted, *(mix for _, mix in regions)]
    last_mixes = [choose_mix(mix_to, ""), *mixes[1:]] if mix_to else []
    references = [name for one in (*mixes, *last_mixes) for name in one.references]
    selection = resolve(references, trunk, identity=strength != 1)

    from stylepack.images.clips import CONTAINERS, unfinished_folder
    from stylepack.images.decoding import colour
    from stylepack.images.formats import output_format
    from stylepack.images.photo import SUBSAMPLINGS, SaveOptions, read_mask
    from stylepack.painting.jobs import STANDARD, is_done, plan_jobs, share_of

    if subsampling not in SUBSAMPLINGS:
        raise UsageError(f"--subsampling is '{subsampling}'; use {', '.join(SUBSAMPLINGS)}")
    if no_upscale and not isinstance(side, int):
        raise UsageError("--no-upscale leaves the result at --size; give --size N too")
    extension = f".{format.lstrip('.').lower()}" if format else ""
    todo = plan_jobs(photos, output, suffix, extension)
    of_pictures = ".png" if extension in ("", *CONTAINERS) else extension
    stdout_format = output_format(Path(f"stdout{of_pictures}"))
    if shard:
        todo = share_of(todo, shard, os.environ)
        if not todo:
            console.say(f"nothing to do: --shard {shard} leaves no photograph to this part")
            return
    if skip_existing:
        todo = [job for job in todo if not is_done(job) or unfinished_folder(job.target).exists()]
        if not todo:
            console.say("nothing to do: every photograph is painted")
            return
    # What is wrong with every photograph is said once, and before a trunk is loaded.
    if background:
        colour(background)
    filming = FilmOptions(
        last_mixes, steady, codec, crf, resume, mask, [file for file, _ in regions], not no_metadata
    )
    todo, clips = filming.part(todo)
    if not todo and not clips:
        console.say("nothing to do: every clip is painted")
        return
    painted_where = read_mask(mask) if mask and todo else None
    region_masks = [read_mask(file) for file, _ in regions] if todo else []
    first = (todo or clips)[0].target
    if first != STANDARD:
        make_folder(first.parent, "choose another -o")

    from stylepack.painting.batch import Painter
    from stylepack.painting.stylizer import PaintOptions, Stylizer

    loaded = selection.load(force)
    stylizer = Stylizer.on(loaded, mixes, strength=strength, device=device, precision=precision)
    if last_mixes:
        ending = Stylizer.on(
            loaded, last_mixes, strength=strength, device=device, precision=precision
        )
    else:
        ending = None
    painter = Painter(
        stylizer,
        SaveOptions(quality, subsampling, not no_metadata),
        PaintOptions(side, not no_upscale, keep_colors, painted_where, region_masks),
        background=background,
        stdout_format=stdout_format,
    )
    kind = str(stylizer.dtype).removeprefix("torch.")
    shown = " and ".join(map(str, mixes))
    console.say(f"painting {shown} on {stylizer.device} in {kind}")
    alone = len(todo) + len(clips) == 1
    failed = follow(painter, todo, jobs, alone=alone) if todo else 0
    failed += filming.follow(clips, painter, ending, alone=alone)
    if failed:
        count = len(todo) + len(clips)
        rest = "none is" if failed == count else "the rest are"
        things = "photographs" if not clips else "files"
        raise PhotoError(f"{failed} of {count} {things} failed; {rest} painted")


def follow(painter: Painter, todo: list[Job], workers: int, *, alone: bool) -> int:
    """Show the painting of every job; name the ones that fail at once, and count them.

    Raises:
        PhotoError: the only one, `alone`, could not be painted.
    """
    from stylepack.painting.jobs import STANDARD

    failed = 0
    with console.meter("painting", len(todo)) as meter:
        for outcome in painter.paint_all(todo, workers, meter.share):
            meter.advance(outcome.job.source.name)
            if outcome.error is None:
                if outcome.job.target != STANDARD:
                    meter.result(str(outcome.job.target))
            elif alone:
                raise outcome.error
            else:
                console.fail(str(outcome.error))
                failed += 1
    return failed


def choose_mix(mix: str, style: str) -> Mix:
    """The mix that `--mix` or `--style` asks for.

    Raises:
        UsageError: both, neither, or unparsable.
    """
    if bool(mix) == bool(style):
        raise UsageError("give one of --style A or --mix A=0.5,B=0.5; see `stylepack packs list`")
    return (parse_mix(mix) if mix else Mix(((style, 1.0),))).normalised()


def parse_size(text: str) -> int | Literal["full"] | None:
    """Read `--size`: pixels of the long side to paint at, `full`, or empty for the default, None.

    Raises:
        UsageError: none of these, or fewer than 16 pixels.
    """
    if not text:
        return None
    if text == "full":
        return "full"
    if not text.isdecimal() or int(text) < 16:
        raise UsageError(f"--size is '{text}'; give the long side in pixels, 16 or more, or full")
    return int(text)


def parse_region(text: str) -> tuple[Path, Mix]:
    """`m.png=wave` or `m.png=wave=0.5,starry=0.5`: the mask's file and the mix there.

    Raises:
        UsageError: no such file, or no mix behind it.
    """
    # A file's name may have an = in it too.
    ways = [(text[:at], text[at + 1 :]) for at, letter in enumerate(text) if letter == "="]
    if not ways or not all(ways[0]):
        raise UsageError(f"--region is '{text}'; write it like mask.png=wave")
    for file, mix in ways:
        if Path(file).is_file():
            return Path(file), choose_mix(mix, "")
    raise UsageError(f"no such file: {ways[0][0]}, the mask of --region {text}")
