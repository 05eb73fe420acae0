"""Jobs: the photographs to paint, and the files to write."""

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylepack.errors import UsageError
from stylepack.files import written_through
from stylepack.images.clips import CLIP_SUFFIXES, CONTAINERS, clip_suffix, is_clip
from stylepack.images.formats import can_write, find_images, output_format
from stylepack.launchers import worker

MARK = ".stylized"
STANDARD = Path("-")  # standard input or output


@dataclass(frozen=True)
class Job:
    """A photograph and the file to write; `-` is standard input or output."""

    source: Path
    target: Path


def plan_jobs(
    photos: Sequence[str], output: str | None, mark: str = MARK, extension: str = ""
) -> list[Job]:
    """Pair photographs with the files to write; folders are searched and keep their structure.

    Args:
        photos: files, folders, patterns like `*.jpg`, or `-`.
        output: a file for one photograph, a folder for several, `-`, or None for beside it.
        mark: ending of the names of painted files.
        extension: like `.png`; empty keeps each photograph's.

    Raises:
        UsageError: a path that does not exist, several photographs for one file, or an output that
            would overwrite a photograph.
    """
    if not mark.isprintable() or any(separator in mark for separator in "/\\"):
        raise UsageError(f"--suffix is {mark!r}; it is part of a file's name, like .painted")
    if extension and not (can_write(extension) or extension in CONTAINERS):
        raise UsageError(f"no format '{extension[1:]}'; use jpg, png, webp or tif, or mp4 of clips")
    if output == "":
        raise UsageError("-o is empty; give a file, a folder or -")
    try:
        return _planned(photos, output, mark, extension)
    except OSError as error:  # for example, a name is too long
        reason = error.strerror or error
        raise UsageError(f"cannot access {error.filename}: {reason}; give another name") from error


def _planned(photos: Sequence[str], output: str | None, mark: str, extension: str) -> list[Job]:
    sources = _sources(photos, mark)
    if not sources:
        raise UsageError(
            "nothing to paint: there are only painted photographs; name one to paint it again"
        )
    several = len(sources) > 1 or any(Path(photo).is_dir() for photo in photos)
    place = Path(output) if output is not None else None
    into = place is not None and (
        several or place.is_dir() or not place.suffix or str(output).endswith(("/", os.sep))
    )
    if place and place != STANDARD and place.exists() and not (place.is_file() or place.is_dir()):
        raise UsageError(
            f"-o {output} is neither a file nor a folder; for standard output give -o -"
        )
    if several and (STANDARD in (place, *(source for source, _ in sources))):
        raise UsageError("standard input and output are for one photograph; give files or a folder")
    one_file = place is not None and (can_write(place.suffix) or is_clip(place))
    if several and one_file and place is not None and not place.is_dir():
        raise UsageError(f"-o {output} is one file for {len(sources)} photographs; give a folder")
    of_one = None if into or place == STANDARD else place
    if extension and of_one and _kind(of_one) != _kind(Path(f"x{extension}")):
        raise UsageError(f"-o {output} is not in --format {extension[1:]}; leave one of them out")
    jobs: dict[Path, Job] = {}
    for source, relative in sources:
        name = painted_name(source, mark, extension)
        if place == STANDARD or (place is None and source == STANDARD):
            target = STANDARD
        elif place is None:
            target = source.with_name(name)
        else:
            target = place / relative.with_name(name) if into else place
        _check(source, target, jobs)
        jobs[target] = Job(source, target)
    inputs = {os.path.realpath(source) for source, _ in sources}
    for target, job in jobs.items():
        if target != STANDARD and os.path.realpath(target) in inputs:
            raise UsageError(
                f"painting {job.source} would overwrite {target}, which is to be painted too; "
                "leave it out or choose another -o or --suffix"
            )
    for folder in {written_through(target).parent for target in jobs if target != STANDARD}:
        _check_folder(folder)
    return list(jobs.values())


def share_of(jobs: Sequence[Job], shard: str, environment: Mapping[str, str]) -> list[Job]:
    """The jobs of one worker among several: every n-th.

    `shard`: `I/N`, I from 1 to N, or `env` for the rank of a launcher or job array.

    Raises:
        UsageError: neither of these, or no rank in the environment.
    """
    if shard == "env":
        rank, size = worker(environment)
    else:
        first, slash, second = shard.partition("/")
        if not (slash and first.isdecimal() and second.isdecimal()):
            raise UsageError(f"--shard is '{shard}'; write it like 2/8, or env")
        rank, size = int(first) - 1, int(second)
    if not 0 <= rank < size:
        raise UsageError(
            f"--shard {shard}: there is no part {rank + 1} of {size}; they are 1 to {size}"
        )
    return list(jobs[rank::size])


def painted_name(source: Path, mark: str = MARK, extension: str = "") -> str:
    """`photo.jpg` -> `photo.stylized.jpg`; formats that cannot be written become PNG, or MP4.

    An `extension` of clips is for clips, one of pictures for pictures.
    """
    if is_clip(source):
        kept = extension if extension in CONTAINERS else clip_suffix(source)
        return f"{source.stem}{mark}{kept}"
    if extension in CONTAINERS:
        extension = ""
    kept = source.suffix if can_write(source.suffix) else ".png"
    return f"{source.stem}{mark}{extension or kept}"


def is_painted(path: Path, mark: str = MARK) -> bool:
    """Whether a file is named like a painted one."""
    return mark != "" and path.stem.endswith(mark)


def is_done(job: Job) -> bool:
    """Whether a job's file is there.  Files are written whole, so an empty one is not ours."""
    there = job.target != STANDARD and job.target.is_file()
    return there and job.target.stat().st_size > 0


def _sources(photos: Sequence[str], mark: str) -> list[tuple[Path, Path]]:
    """`_find` for all of them, each file once, and none that is a painting of another."""
    found: dict[str, tuple[Path, Path]] = {}
    for photo in photos:
        for source, relative in _find(photo, mark):
            found.setdefault(os.path.realpath(source), (source, relative))
    paintings = {source.with_name(source.stem + mark) for source, _ in found.values() if mark}
    return [one for one in found.values() if one[0].with_suffix("") not in paintings]


def _find(photo: str, mark: str) -> list[tuple[Path, Path]]:
    """(file, its path below the folder that was named) for one argument."""
    if not photo:
        raise UsageError("a photograph's name is empty; give files, folders, patterns or -")
    path = Path(photo)
    if path == STANDARD:
        return [(path, path)]
    if path.is_dir():
        files = find_images(path, also=CLIP_SUFFIXES)
        return [(file, file.relative_to(path)) for file in files if not is_painted(file, mark)]
    if path.exists():
        return [(path, Path(path.name))]
    if path.is_symlink():
        raise UsageError(f"{photo} is a broken link; leave it out or repair it")
    found = map(Path, glob.glob(photo, recursive=True))  # noqa: PTH207
    matches = sorted(match for match in found if match.exists())
    if not matches:
        raise UsageError(f"no such file or folder: {photo}; give a photograph or a folder")
    files = [match for match in matches if match.is_file()]
    if not files:
        return [one for match in matches for one in _find(str(match), mark)]
    return [(match, Path(match.name)) for match in files if not is_painted(match, mark)]


def _check_folder(folder: Path) -> None:
    """Refuse, before anything is painted, a folder that cannot be made or written to."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"{there} is a file, not a folder to paint into; choose another -o")
    if not os.access(there, os.W_OK):
        raise UsageError(f"{there} cannot be written to; choose another -o")


def _kind(target: Path) -> str:
    """The format that is written to a file."""
    return CONTAINERS.get(target.suffix.lower()) or output_format(target)


def _check(source: Path, target: Path, jobs: Mapping[Path, Job]) -> None:
    if target == STANDARD:
        if is_clip(source):
            raise UsageError(f"{source} is a clip, which is written to a file; leave out -o -")
        return
    if target.is_symlink() and not written_through(target).parent.is_dir():
        raise UsageError(f"{target} is a link into a folder that is not there; choose another -o")
    _kind(target)
    if is_clip(source) != is_clip(target):
        raise UsageError(
            f"{source} cannot be painted to {target}: one is a clip; give another -o or --format"
        )
    if target in jobs:
        raise UsageError(
            f"{jobs[target].source} and {source} would both be painted to {target}; paint them one "
            "after the other, with another -o or --suffix"
        )
    if os.path.realpath(target) == os.path.realpath(source):
        raise UsageError(f"{target} is the photograph itself; choose another -o or --suffix")
