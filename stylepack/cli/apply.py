"""`stylepack apply`: paint photographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylepack.cli import screen
from stylepack.errors import PhotoError, StylepackError, UsageError
from stylepack.packs.mix import Mix, parse_mix
from stylepack.packs.shelf import find_pack

if TYPE_CHECKING:
    from stylepack.painting.stylizer import Stylizer

MARK = ".stylized"


def apply(
    photos: Annotated[
        list[Path], typer.Argument(metavar="PHOTO...", help="Photographs, or folders of them.")
    ],
    mix: Annotated[
        str, typer.Option(metavar="A=W,B=W", help="Packs (names or files) with weights.")
    ] = "",
    style: Annotated[str, typer.Option(metavar="A", help="One pack, by name or file.")] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The painted file, or a folder for several.  "
            "[default: beside the photograph, as NAME.stylized.EXT]",
        ),
    ] = None,
    trunk: Annotated[
        Path | None, typer.Option(help="A trunk file.  [default: the bundled trunk]")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, float32, bfloat16 or float16.  auto: what is fastest here.")
    ] = "auto",
    force: Annotated[
        bool, typer.Option("--force", help="Use packs that do not name their trunk.")
    ] = False,
) -> None:
    """Paint photographs in a style or a mix of styles.

    The paths of the painted files are printed to stdout, one a line.
    """
    wanted = choose_mix(mix, style)
    jobs = plan_outputs(photos, output)

    from stylepack.painting.stylizer import Stylizer

    stylizer = Stylizer.load(wanted, trunk=trunk, device=device, precision=precision, force=force)
    kind = str(stylizer.dtype).removeprefix("torch.")
    screen.say(f"painting {stylizer.mix} on {stylizer.device} in {kind}")
    failed = 0
    with screen.meter("painting", len(jobs)) as meter:
        for source, target in jobs:
            try:
                paint_file(stylizer, source, target, meter.share)
                print(target)
            except PhotoError as error:
                if len(jobs) == 1:
                    raise
                screen.fail(str(error))
                failed += 1
            meter.advance(source.name)
    if failed:
        raise PhotoError(
            f"{failed} of {len(jobs)} photographs could not be read; the rest are done"
        )


def choose_mix(mix: str, style: str) -> Mix:
    """The mix that `--mix` or `--style` asks for; its packs exist.

    Raises:
        UsageError: both, neither, unparsable, or an unknown pack.
    """
    if bool(mix) == bool(style):
        raise UsageError("give one of --style A or --mix A=0.5,B=0.5; see `stylepack packs list`")
    wanted = (parse_mix(mix) if mix else Mix(((style, 1.0),))).normalised()
    for reference in wanted.references:
        find_pack(reference)
    return wanted


def plan_outputs(photos: Sequence[Path], output: Path | None) -> list[tuple[Path, Path]]:
    """Pairs of (photograph, file to write); folders are opened and keep their structure.

    Raises:
        UsageError: a path that does not exist, several photographs for one output file, two
            photographs for one place, or an output that would overwrite its photograph.
    """
    from stylepack.pictures.photo import find_images, output_format

    sources = []
    for path in photos:
        if path.is_dir():
            found = [image for image in find_images(path) if not is_painted(image)]
            sources += [(image, image.relative_to(path)) for image in found]
        elif path.exists():
            sources.append((path, Path(path.name)))
        else:
            raise UsageError(f"no such file or folder: {path}")
    several = len(sources) > 1 or any(path.is_dir() for path in photos)
    into_folder = output is not None and (several or output.is_dir() or not output.suffix)
    if output is not None and several and output.suffix and not output.is_dir():
        raise UsageError(f"-o {output} is one file for {len(sources)} photographs; give a folder")
    jobs: dict[Path, Path] = {}
    for source, relative in sources:
        if output is None:
            target = source.with_name(painted_name(source))
        elif into_folder:
            target = output / relative.with_name(painted_name(source))
        else:
            target = output
        output_format(target)
        if target in jobs:
            raise UsageError(f"{jobs[target]} and {source} would both be painted to {target}")
        if target.resolve() == source.resolve():
            raise UsageError(f"-o {target} is the photograph itself; choose another file")
        jobs[target] = source
    if not jobs:
        raise UsageError("nothing to paint: the folder holds only painted photographs")
    return [(source, target) for target, source in jobs.items()]


def paint_file(
    stylizer: Stylizer, source: Path, target: Path, advance: Callable[[float], None]
) -> None:
    """Read, paint, write."""
    painted = stylizer.paint(source, advance)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StylepackError(f"cannot make {target.parent}: {error.strerror}") from error
    painted.save(target)


def painted_name(source: Path) -> str:
    """`photo.jpg` -> `photo.stylized.jpg`; formats that cannot be written become PNG."""
    from stylepack.pictures.photo import can_write

    suffix = source.suffix if can_write(source.suffix) else ".png"
    return f"{source.stem}{MARK}{suffix}"


def is_painted(path: Path) -> bool:
    """Whether a file carries the name that painting gives."""
    return path.stem.endswith(MARK)
