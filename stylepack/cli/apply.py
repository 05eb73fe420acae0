"""`stylepack apply`: paint photographs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stylepack.cli import console
from stylepack.cli.completion import complete_mix, complete_pack
from stylepack.cli.options import (
    CLIPS,
    MANY,
    OUT,
    OUTPUT,
    STYLE,
    Device,
    Force,
    Precision,
    TrunkFile,
    arg,
    flag,
    opt,
)
from stylepack.errors import PhotoError, UsageError, counted
from stylepack.files import make_folder
from stylepack.library.resolve import resolve
from stylepack.library.shelf import Shelf
from stylepack.packs.mix import Mix, parse_mix

if TYPE_CHECKING:
    from stylepack.painting.batch import Painter
    from stylepack.painting.jobs import Job
    from stylepack.training.quick import QuickStyle


def apply(
    photos: Annotated[
        list[str], arg("PHOTO", "Photographs, clips, folders, patterns, or - for stdin.")
    ],
    style: Annotated[
        list[str] | None,
        opt("PACK", "A pack, by name or file.", STYLE, autocompletion=complete_pack),
    ] = None,
    mix: Annotated[
        list[str] | None,
        opt("A=X,B=Y", "Several packs with weights.", STYLE, autocompletion=complete_mix),
    ] = None,
    painting: Annotated[
        Path | None, opt("FILE", "A painting, whose style is learned in seconds.", STYLE)
    ] = None,
    strength: Annotated[
        float, opt("X", "0 is the photograph, 1 the style, up to 1.5.", STYLE, show_default=False)
    ] = 1.0,
    keep_colors: Annotated[
        bool,
        typer.Option(
            "--keep-colors",
            "--keep-colours",
            help="Keep the photograph's colours.",
            rich_help_panel=STYLE,
        ),
    ] = False,
    size: Annotated[
        str, opt("N|full", "Paint at this long side: smaller means larger strokes.", STYLE)
    ] = "",
    mask: Annotated[
        Path | None, opt("FILE", "Paint only where this picture is white.", STYLE)
    ] = None,
    region: Annotated[
        list[str] | None,
        opt("FILE=MIX", "Another mix where this mask is white; repeatable.", STYLE),
    ] = None,
    output: Annotated[
        str | None,
        opt("PATH", "File, folder, or - for stdout (default: NAME.PACK.EXT).", OUTPUT, names=OUT),
    ] = None,
    no_upscale: Annotated[
        bool, flag("--no-upscale", "Write the picture at --size, not at the photograph's.", OUTPUT)
    ] = False,
    format: Annotated[str, opt("EXT", "jpg, png, webp, tif, ...", OUTPUT)] = "",
    quality: Annotated[
        int, opt("N", "For JPEG, WebP, AVIF and HEIC, 1 to 100.", OUTPUT, min=1, max=100)
    ] = 95,
    subsampling: Annotated[
        str, opt("RATIO", "JPEG's colours: 4:4:4, 4:2:2 or 4:2:0.", OUTPUT)
    ] = "4:4:4",
    background: Annotated[
        str, opt("COLOUR", "Put transparent photographs on a colour.", OUTPUT)
    ] = "",
    no_metadata: Annotated[
        bool, flag("--no-metadata", "Write no EXIF, nor how it was painted.", OUTPUT)
    ] = False,
    suffix: Annotated[
        str | None, opt("TEXT", "Text after the file's name, instead of the pack's.", MANY)
    ] = None,
    skip_existing: Annotated[
        bool, flag("--skip-existing", "Skip what is painted already.", MANY)
    ] = False,
    shard: Annotated[str, opt("I/N|env", "Paint only the I-th of N parts.", MANY)] = "",
    steady: Annotated[
        float | None, opt("X", "Share of the previous frame in each (default: 0.8).", CLIPS)
    ] = None,
    mix_to: Annotated[
        str, opt("A=X,B=Y", "Fade to this mix by the end.", CLIPS, autocompletion=complete_mix)
    ] = "",
    codec: Annotated[
        str, opt("NAME", "h264, hevc, vp9 or av1 (default: h264; vp9 in .webm).", CLIPS)
    ] = "",
    crf: Annotated[
        int | None, opt("N", "Lower is better and larger (default: 20 for h264).", CLIPS)
    ] = None,
    resume: Annotated[bool, flag("--resume", "Continue a clip that was stopped.", CLIPS)] = False,
    jobs: Annotated[int, opt("N", "Threads that decode and encode.", MANY, min=1)] = 2,
    trunk: TrunkFile = None,
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
) -> None:
    """Paint photographs and clips in a style or a mix, and print the new files' paths.

    Examples:
      stylepack apply photo.jpg --style wave
      stylepack apply photos/ --mix starry=0.7,wave=0.3 -o painted/
    """
    quick = quick_style(painting, mix or style, trunk) if painting else None
    wanted = choose_mix(mix or (), [str(quick.file)] if quick else style or ())
    side = parse_size(size)
    regions = [parse_region(text) for text in region or ()]
    mixes = [wanted, *(mix for _, mix in regions)]
    last_mixes = [choose_mix([mix_to], ()), *mixes[1:]] if mix_to else []
    references = [name for one in (*mixes, *last_mixes) for name in one.references]
    to_learn = {str(quick.file)} if quick and not quick.is_learned else frozenset[str]()
    ready = [name for name in references if name not in to_learn]
    shelf = Shelf()
    selection = resolve(ready, trunk, identity=strength != 1, shelf=shelf)

    from stylepack.cli.clips import FilmOptions
    from stylepack.images.decoding import colour
    from stylepack.images.formats import CONTAINERS, output_format, unfinished_folder
    from stylepack.images.mask import read_mask
    from stylepack.images.photo import SaveOptions
    from stylepack.painting.jobs import STANDARD, is_done, mark_of, plan_jobs, share_of

    saving = SaveOptions(quality, subsampling, not no_metadata)
    if no_upscale and not isinstance(side, int):
        raise UsageError("--no-upscale leaves the result at --size; give --size N too")
    extension = f".{format.lstrip('.').lower()}" if format else ""
    mark = mark_of(mixes, *last_mixes[:1]) if suffix is None else suffix
    todo = plan_jobs(photos, output, mark, extension, known=lambda: frozenset(shelf.visible))
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
            console.say("nothing to do: every photograph has been painted")
            return
    # Errors that affect every photograph are raised once, before a trunk is loaded.
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

    if quick and to_learn:
        learn_at_once(quick, device)
        selection = resolve(references, trunk, identity=strength != 1, shelf=shelf)

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
        saving,
        PaintOptions(side, not no_upscale, keep_colors, painted_where, region_masks),
        background=background,
        stdout_format=stdout_format,
    )
    kind = str(stylizer.dtype).removeprefix("torch.")
    looks = [quick.painting.name] if quick else [mix_in_words(wanted)]
    looks += [f"to {mix_in_words(last)}" for last in last_mixes[:1]]
    looks += [f"with {mix_in_words(mix)} in a region" for mix in mixes[1:]]
    console.say(f"painting {' '.join(looks)} on {stylizer.device} in {kind}")
    alone = len(todo) + len(clips) == 1
    failed = follow(painter, todo, jobs, alone=alone) if todo else 0
    failed += filming.follow(clips, painter, ending, alone=alone)
    if failed:
        count = len(todo) + len(clips)
        rest = "none is" if failed == count else "the rest are"
        things = "photographs" if not clips else "files"
        raise PhotoError(f"{failed} of {count} {things} failed; {rest} painted")


def follow(painter: Painter, todo: list[Job], workers: int, *, alone: bool) -> int:
    """Paint every job with a progress bar; report failures at once and return their number.

    Raises:
        PhotoError: the job is `alone` and could not be painted.
    """
    from stylepack.painting.jobs import STANDARD, is_done

    failed = 0
    replaced = {job.target for job in todo if is_done(job)}
    with console.meter("painting", len(todo)) as meter:
        for outcome in painter.paint_all(todo, workers, meter.share):
            target = outcome.job.target
            source = outcome.job.source
            meter.advance("standard input" if source == STANDARD else source.name)
            if outcome.error is None:
                if target != STANDARD:
                    meter.result(str(target))
                if alone and target in replaced:
                    console.say(f"replaced {target}")
            elif alone:
                raise outcome.error
            else:
                console.fail(str(outcome.error))
                failed += 1
                replaced.discard(target)
    if replaced and not alone:
        console.say(f"replaced {counted(len(replaced), 'file')}; --skip-existing keeps them")
    return failed


def quick_style(painting: Path, others: Sequence[str] | None, trunk: Path | None) -> QuickStyle:
    """The style of `--painting`, which cannot be combined with another mix.

    Raises:
        UsageError: another mix is given too, or there is no such picture.
    """
    from stylepack.training.quick import QuickStyle

    if others:
        raise UsageError(
            "give one of --painting, --style or --mix; --painting learns a style of its own"
        )
    return QuickStyle.of(painting, trunk)


def learn_at_once(quick: QuickStyle, device: str) -> None:
    """Learn a painting's style in seconds, with a progress bar."""
    from stylepack.network.device import pick_device

    console.follow(quick.learn(pick_device(device)), f"learning {quick.painting.name}", len(quick))
    again = shlex.quote(str(quick.painting.path))
    console.say(
        f"painted with a quick version of this style; for a better one: stylepack add-style {again}"
    )


def choose_mix(mix: Sequence[str], style: Sequence[str]) -> Mix:
    """The mix that `--mix` or `--style` asks for.

    Raises:
        UsageError: both, neither, several, or unparsable.
    """
    if len(style) > 1:
        share = f"{1 / len(style):.2g}"
        blended = ",".join(f"{name}={share}" for name in style)
        raise UsageError(f"--style takes one pack; blend them with --mix {blended}")
    if len(mix) > 1:
        raise UsageError(f"--mix is given {len(mix)} times; give it once: --mix {','.join(mix)}")
    if mix and style:
        raise UsageError("give only one of --style A, --mix A=0.5,B=0.5; --mix blends packs")
    if not mix and not style:
        raise UsageError(
            "give --style A, --mix A=0.5,B=0.5 or --painting FILE; see `stylepack packs list`"
        )
    return (parse_mix(mix[0]) if mix else Mix(((style[0], 1.0),))).normalised()


def mix_in_words(mix: Mix) -> str:
    """`starry`, or `starry=0.7,wave=0.3`."""
    return mix.references[0] if len(mix.parts) == 1 else str(mix)


def parse_size(text: str) -> int | Literal["full"] | None:
    """Parse `--size`: the long side in pixels, `full`, or None for an empty text.

    Raises:
        UsageError: it is neither `full` nor a whole number of at least 16.
    """
    if not text:
        return None
    if text == "full":
        return "full"
    if not text.isdecimal() or int(text) < 16:
        raise UsageError(f"--size is '{text}'; give the long side in pixels, 16 or more, or full")
    return int(text)


def parse_region(text: str) -> tuple[Path, Mix]:
    """Parse `--region`, like `m.png=wave` or `m.png=wave=0.5,starry=0.5`: the mask and the mix.

    Raises:
        UsageError: no such file, or no mix after it.
    """
    # A file's name may contain an = too.
    ways = [(text[:at], text[at + 1 :]) for at, letter in enumerate(text) if letter == "="]
    if not ways or not all(ways[0]):
        raise UsageError(f"--region is '{text}'; write it like mask.png=wave")
    for file, mix in ways:
        if Path(file).is_file():
            return Path(file), choose_mix([mix], ())
    raise UsageError(f"no such file: {ways[0][0]}, the mask of --region {text}; give an image file")
