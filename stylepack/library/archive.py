"""Packs inside a zip or a wheel, read without unpacking to disk."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence

from stylepack.errors import PackError
from stylepack.packs.header import (
    LARGEST_HEADER,
    LENGTH_BYTES,
    header_length,
    parse_header,
    shown,
)
from stylepack.packs.manifest import ARCHITECTURE, LARGEST_PACK, SUFFIX

MAGIC = (b"PK\x03\x04", b"PK\x05\x06")  # a first entry, or the end of an empty zip
ENTRY_MARK = b"PK\x01\x02"  # once per entry in the zip's directory
MOST_ENTRIES = 1000
MOST_OTHERS = 32  # trunks and loss networks, which are larger than a pack
LARGEST_TOTAL = 64 << 20  # bytes of all packs in one zip, unpacked
NOT_PACKS = (ARCHITECTURE, "stylepack-loss-v1")  # trunks and loss networks
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack without a limit


def is_zip(content: bytes) -> bool:
    """Whether these bytes begin like a zip; a pack cannot."""
    return content.startswith(MAGIC)


def other_kind(content: bytes, size: int) -> str:
    """Architecture string if the header is a valid trunk or loss network, else "".

    `content`: at least the header of a file of `size` bytes.
    """
    try:
        length = header_length(content[:LENGTH_BYTES], size, "")
        header = parse_header(content[LENGTH_BYTES : LENGTH_BYTES + length], size, "")
    except PackError:
        return ""  # it is refused when it is checked as a pack
    architecture = header.metadata.get("modelspec.architecture", "")
    return architecture if architecture in NOT_PACKS else ""


def packs_in_zip(
    content: bytes,
    source: str,
    largest: int = LARGEST_PACK,
    is_wanted: Callable[[str], bool] = lambda name: True,
) -> list[tuple[str, bytes]]:
    """(name of the entry, its bytes) of every wanted pack file in a zip, in order.

    Trunks and loss networks of more than `largest` bytes are skipped, smaller ones included.

    Raises:
        PackError: damaged or hostile: paths outside the zip, links, encryption, duplicate names,
            too many entries or bytes.
    """
    if content.count(ENTRY_MARK) > MOST_ENTRIES:
        raise PackError(f"{source} has more than {MOST_ENTRIES:,} entries; zip only the packs")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [
                info
                for info in _checked_entries(archive.infolist(), source)
                if is_wanted(info.filename)
            ]
            wanted = [info for info in entries if info.file_size <= largest]
            total = sum(info.file_size for info in wanted)
            if total > LARGEST_TOTAL:
                raise PackError(
                    f"{source} has {total:,} bytes of packs; at most {LARGEST_TOTAL:,} are read"
                )
            others = [info for info in entries if info.file_size > largest]
            if len(others) > MOST_OTHERS:
                raise PackError(
                    f"{source} has {len(others):,} entries that are too large for packs; at most "
                    f"{MOST_OTHERS} are allowed; zip only the packs"
                )
            for info in others:
                _check_other(archive, info, source)
            return [(info.filename, _read(archive, info, source)) for info in wanted]
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        OSError,
        RuntimeError,
        ValueError,
        OverflowError,
    ) as error:
        reason = shown(str(error).partition("\n")[0])
        raise PackError(f"{source} is a damaged zip ({reason}); download it again") from error


def _checked_entries(entries: Sequence[zipfile.ZipInfo], source: str) -> list[zipfile.ZipInfo]:
    """The entries that are pack files; the zip is refused for one bad entry of any kind."""
    names, wanted = set(), []
    for info in entries:
        fault = _fault(info)
        if info.orig_filename in names:
            fault = "is there twice"
        if fault:
            raise PackError(f"{source}: entry '{shown(info.orig_filename)}' {fault}; not installed")
        names.add(info.orig_filename)
        name = info.filename.rpartition("/")[2]
        if name.endswith(SUFFIX) and not name.startswith("."):
            wanted.append(info)
    return wanted


def _fault(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        return "has an absolute path"
    if ".." in name.replace("\\", "/").split("/"):
        return "climbs out of the zip"
    if "\\" in name or "\0" in name:
        return "has an invalid name"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link or a device"
    if info.flag_bits & 1:
        return "is encrypted"
    if name.endswith(SUFFIX) and info.compress_type not in METHODS:
        return "is not stored or compressed with deflate"
    return ""


def _check_other(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> None:
    """Refuse a large entry unless its header is a trunk's or loss network's."""
    with archive.open(info) as file:
        start = file.read(LENGTH_BYTES + LARGEST_HEADER)
    if not other_kind(start, info.file_size):
        raise PackError(
            f"{source}: entry '{shown(info.filename)}' is {info.file_size:,} bytes, a pack has at "
            f"most {LARGEST_PACK:,}; not installed"
        )


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: str) -> bytes:
    """The bytes of an entry, never more than it declares."""
    with archive.open(info) as file:
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise PackError(f"{source}: entry '{shown(info.filename)}' is cut off; download it again")
    return content
