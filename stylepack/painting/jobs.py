"""Jobs: the photographs to paint, and the files to write."""

import glob
import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from stylepack.errors import UsageError
from stylepack.files import written_through
from stylepack.images.formats import (
    CLIP_SUFFIXES,
    CONTAINERS,
    can_write,
    clip_suffix,
    find_images,
    is_clip,
    output_format,
)
from stylepack.launchers import worker
from stylepack.packs.manifest import IDENTITY, SUFFIX
from stylepack.packs.mix import Mix

_log = logging.getLogger("stylepack")
_MORE = re.compile(r"\d+-more")
TOWARD = "-to-"  # between two mixes of a clip
REGION = ","  # between mixes of regions
NAMED = 3  # packs or mixes in a mark; if there are more, the first two are named
STANDARD = Path("-")  # standard input or output


@dataclass(frozen=True)
class Job:
    """A photograph and the file to write; `-` is standard input or output."""

    source: Path
    target: Path


def mark_of(mixes: Iterable[Mix], last: Mix | None = None) -> str:
    """The mark of painted files' names: `.starry`, `.starry+scream`, `.starry+scream+2-more`.

    Regions follow the first mix: `.starry,wave`.  Clips that end in a `last` mix have
    `.starry-to-scream`.
    """
    if last:
        return f"{mark_of(mixes)}{TOWARD}{mark_of([last])[1:]}"
    every = []
    for mix in mixes:
        references = [name for name, weight in mix.parts if weight]
        every.append(_joined("+", map(_name_of, references)))
    return f".{_joined(REGION, every)}"


def _name_of(reference: str) -> str:
    """`dawn` for a pack or its file, `mine-dawn` for the pack of a collection."""
    if reference.endswith(SUFFIX):
        return Path(reference).name.removesuffix(SUFFIX)
    return reference.replace("/", "-")


def _joined(between: str, names: Iterable[str]) -> str:
    """Names without repetition, the first few if there are many."""
    shown = [*dict.fromkeys(names)]
    if len(shown) > NAMED:
        shown = [*shown[: NAMED - 1], f"{len(shown) - NAMED + 1}-more"]
    return between.join(shown)


def plan_jobs(
    photos: Sequence[str],
    output: str | None,
    mark: str,
    extension: str = "",
    known: Callable[[], Set[str]] = frozenset,
) -> list[Job]:
    """Pair photographs with the files to write; folders are searched and keep their structure.

    Args:
        photos: files, folders, patterns like `*.jpg`, or `-`.
        output: a file for one photograph, a folder for several, `-`, or None for beside it.
        mark: ending of the names of painted files.
        extension: like `.png`; empty keeps each photograph's.
        known: returns the names of installed packs.  Files in folders or matched by patterns whose
            names end in one of them are taken for paintings and left out.

    Raises:
        UsageError: a path that does not exist, several photographs for one file, or an output that
            would overwrite a photograph.
    """
    if not mark.isprintable() or any(separator in mark for separator in "/\\"):
        raise UsageError(f"--suffix is {mark!r}; it is part of a file's name, like .painted")
    if extension and not (can_write(extension) or extension in CONTAINERS):
        raise UsageError(
            f"no format '{extension[1:]}'; use jpg, png, webp or tif, or mp4 for clips"
        )
    if output == "":
        raise UsageError("-o is empty; give a file, a folder or -")
    try:
        return _planned(photos, output, Paintings(mark, known), extension)
    except OSError as error:  # for example, a name that is too long
        reason = error.strerror or error
        raise UsageError(f"cannot access {error.filename}: {reason}; give another name") from error


def _planned(
    photos: Sequence[str], output: str | None, paintings: "Paintings", extension: str
) -> list[Job]:
    sources = _sources(photos, paintings)
    if not sources:
        raise UsageError(
            "nothing to paint: there are only paintings here; name a file to paint it again"
        )
    paintings.warn()
    if output and can_write(Path(output).name):
        raise UsageError(f"-o {output} is only a suffix; give a name like a{Path(output).name}")
    several = len(sources) > 1 or any(Path(photo).is_dir() for photo in photos)
    place = Path(output) if output is not None else None
    into = place is not None and (
        several or place.is_dir() or not place.suffix or str(output).endswith(("/", os.sep))
    )
    if place and place != STANDARD and place.exists() and not (place.is_file() or place.is_dir()):
        raise UsageError(f"-o {output} is a device; for standard output, give -o -")
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
        name = painted_name(source, paintings.mark, extension)
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


def painted_name(source: Path, mark: str, extension: str = "") -> str:
    """`photo.jpg` -> `photo.starry.jpg`; formats that cannot be written become PNG, or MP4.

    An `extension` for clips applies only to clips, one for pictures only to pictures.
    """
    if is_clip(source):
        kept = extension if extension in CONTAINERS else clip_suffix(source)
        return f"{source.stem}{mark}{kept}"
    if extension in CONTAINERS:
        extension = ""
    kept = source.suffix if can_write(source.suffix) else ".png"
    return f"{source.stem}{mark}{extension or kept}"


class Paintings:
    """Recognises paintings by their names, which end in this command's mark or in packs' names.

    `known` returns the names of installed packs; it is called once, if a name has two suffixes.
    """

    def __init__(self, mark: str, known: Callable[[], Iterable[str]]) -> None:
        self.mark, self._get_known = mark, known
        self.found: list[Path] = []  # paintings with other marks

    @cached_property
    def _known(self) -> Set[str]:
        return {name.replace("/", "-") for name in self._get_known()} - {IDENTITY}

    def __contains__(self, path: Path) -> bool:
        if self.mark and path.stem.endswith(self.mark):
            return True
        before, dot, tail = path.stem.rpartition(".")
        if not (before and dot and tail):
            return False
        ends = [tail] if tail in self._known else tail.split(TOWARD)
        mixes = [mix for end in ends for mix in end.split(REGION)]
        names = [name for mix in mixes for name in mix.split("+") if not _MORE.fullmatch(name)]
        painted = bool(names) and all(name in self._known for name in names)
        if painted:
            self.found.append(path)
        return painted

    def warn(self) -> None:
        """Warn about files that were taken for paintings in other styles."""
        if self.found:
            _log.warning(
                "left out paintings: %d, such as %s; paint such a file in a command of its own",
                len(self.found),
                self.found[0].name,
            )


def is_done(job: Job) -> bool:
    """Whether a job's file exists and is not empty; files are written atomically."""
    there = job.target != STANDARD and job.target.is_file()
    return there and job.target.stat().st_size > 0


def _sources(photos: Sequence[str], paintings: Paintings) -> list[tuple[Path, Path]]:
    """`_find` for all arguments: each file once, without paintings of other files among them."""
    found: dict[str, tuple[Path, Path]] = {}
    for photo in photos:
        for source, relative in _find(photo, paintings):
            found.setdefault(os.path.realpath(source), (source, relative))
    stems = {(source.parent, source.stem) for source, _ in found.values()}

    def is_of_another(source: Path) -> bool:
        """Whether it is a painting of another source, as when a shell expands a pattern."""
        mark = paintings.mark if source.stem.endswith(paintings.mark or "\0") else ""
        original = source.stem.removesuffix(mark) if mark else source.stem.rpartition(".")[0]
        return (source.parent, original) in stems and source in paintings

    return [one for one in found.values() if not is_of_another(one[0])]


def _find(photo: str, paintings: Paintings) -> list[tuple[Path, Path]]:
    """(file, its path below the folder that was named) for one argument."""
    if not photo:
        raise UsageError("a photograph's name is empty; give files, folders, patterns or -")
    path = Path(photo)
    if path == STANDARD:
        return [(path, path)]
    if path.is_dir():
        files = find_images(path, also=CLIP_SUFFIXES)
        return [(file, file.relative_to(path)) for file in files if file not in paintings]
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
        return [one for match in matches for one in _find(str(match), paintings)]
    return [(match, Path(match.name)) for match in files if match not in paintings]


def _check_folder(folder: Path) -> None:
    """Refuse, before anything is painted, a folder that cannot be created or written to."""
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
            f"{source} cannot be painted to {target}: one is a clip, the other a picture; give "
            "another -o or --format"
        )
    if target in jobs:
        raise UsageError(
            f"{jobs[target].source} and {source} would both be painted to {target}; paint them one "
            "after the other, with another -o or --suffix"
        )
    if os.path.realpath(target) == os.path.realpath(source):
        raise UsageError(f"{target} is the photograph itself; choose another -o or --suffix")
