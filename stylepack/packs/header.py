"""The safetensors header, read and checked without torch.

A safetensors file is an 8-byte little-endian length, that many bytes of JSON, then the tensors'
bytes (https://github.com/huggingface/safetensors, "Format").  Files from others may be hostile, so
everything in the header is checked against the file.
"""

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from stylepack.errors import PackError, UsageError, worded

LENGTH_BYTES = 8
KIND_BYTES = 512  # enough to recognise the kind of a file
LARGEST_HEADER = 1 << 20  # ours are about 30 KB, most of it the thumbnail
READ_AHEAD = 1 << 16  # bytes, so that most headers take one read
LARGEST_RANK = 8
MOST_TENSORS = 1024  # the largest pack has 268
LARGEST_COUNT = 1 << 40
LONGEST_SHOWN = 80  # characters of untrusted text in a message
ENTRY_KEYS = frozenset(["dtype", "shape", "data_offsets"])
PICTURES = frozenset(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF"])
DTYPE_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1}


class MissingFileError(UsageError):
    """A pack or trunk file does not exist, or no longer does."""


class TensorEntry(NamedTuple):
    """A tensor's entry; `start` and `end` are bytes from the first data byte."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


@dataclass(frozen=True)
class Header:
    """A checked header: tensors by name, metadata, and the offset of the data in bytes."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    data_start: int


def read_header(path: Path, largest_file: int) -> Header:
    """Read and check the header of `path`, and nothing after it.

    Raises:
        MissingFileError: no such file.
        PackError: larger than `largest_file` bytes, unreadable, or an invalid header.
    """
    with _opened(path, largest_file) as (file, size):
        length = header_length(file.read(KIND_BYTES), size, path)
        file.seek(LENGTH_BYTES)
        return parse_header(file.read(length), size, path)


def read_content(path: Path, largest_file: int) -> bytes:
    """All bytes of a file, read once.

    Raises:
        MissingFileError: no such file.
        PackError: larger than `largest_file` bytes, or unreadable.
    """
    with _opened(path, largest_file) as (file, size):
        return file.read(size)


@contextmanager
def _opened(path: Path, largest_file: int) -> Iterator[tuple[BinaryIO, int]]:
    """An open file and its size in bytes."""
    try:
        if path.is_fifo():  # opening it would wait forever
            raise PackError(f"{path} is a pipe; give a .safetensors file")
        with path.open("rb", READ_AHEAD) as file:
            size = file.seek(0, 2)
            if size > largest_file:
                raise PackError(
                    f"{path} is {size:,} bytes; a file of this kind has at most {largest_file:,}"
                )
            file.seek(0)
            yield file, size
    except FileNotFoundError:
        raise MissingFileError(f"no such file: {path}; give a .safetensors file") from None
    except OSError as error:
        raise PackError(f"cannot read {path}: {error.strerror or error}") from error


def parse_content(content: bytes, source: object) -> Header:
    """Check the header of a file in memory; errors name `source`."""
    length = header_length(content[:KIND_BYTES], len(content), source)
    return parse_header(content[LENGTH_BYTES : LENGTH_BYTES + length], len(content), source)


def _refuse_other_kinds(start: bytes, path: object) -> None:
    """Raise a PackError for a file of another known kind."""
    # Pillow is slow to import, and rarely needed here.
    from stylepack.images.kinds import kind_of, known_to_pillow

    if (picture := known_to_pillow(start)) in PICTURES:
        advice = worded("`stylepack add-style FILE`", "stylepack.add_style(FILE)")
        raise PackError(
            f"{path} is a picture ({picture}), not a safetensors file; {advice} learns its style"
        )
    kind, advice = kind_of(start)
    if len(start) > LENGTH_BYTES and kind and not kind.startswith("safetensors"):
        advice = advice if advice.startswith(("fetch", "unpack")) else "get the file itself"
        raise PackError(f"{path} is {kind}, not a safetensors file; {advice}")


def header_length(start: bytes, size: int, path: object) -> int:
    """The header's length in bytes from the file's first bytes, checked against its size.

    `start`: 8 bytes or more; with `KIND_BYTES`, an error names the file's actual kind.
    """
    (length,) = struct.unpack("<Q", start[:LENGTH_BYTES].ljust(LENGTH_BYTES, b"\xff"))
    if length > size - LENGTH_BYTES:
        _refuse_other_kinds(start, path)
    if len(start) < LENGTH_BYTES:
        raise PackError(f"{path} is not a safetensors file: {size} bytes, expected at least 8")
    if length > size - LENGTH_BYTES:
        raise PackError(
            f"{path} is not a safetensors file, or is cut off: its header claims {length:,} "
            f"bytes, the file has {size:,}; get a fresh copy or give another file"
        )
    if length > LARGEST_HEADER:
        raise PackError(
            f"{path}: the header claims {length:,} bytes, at most {LARGEST_HEADER:,} allowed"
        )
    return int(length)


def parse_header(raw: bytes, size: int, path: object) -> Header:
    """Check the header's JSON against the format and the file's size in bytes."""
    try:
        fields = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique_keys)
        if b"\\u" in raw:
            json.dumps(fields, ensure_ascii=False).encode("utf-8")  # refuses lone surrogates
    except (ValueError, RecursionError):
        raise PackError(f"{path}: the header is not valid JSON; download it again") from None
    if not isinstance(fields, dict):
        raise PackError(f"{path}: the header is not a JSON object; download it again")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(
        isinstance(value, str) for value in metadata.values()
    ):
        raise PackError(f"{path}: the metadata must be text under text keys")
    if len(fields) > MOST_TENSORS:
        raise PackError(f"{path} has {len(fields):,} tensors, at most {MOST_TENSORS:,} allowed")
    tensors = {name: _entry(name, value, path) for name, value in fields.items()}
    data_start = LENGTH_BYTES + len(raw)
    _check_tiling(tensors, size - data_start, path)
    return Header(tensors, metadata, data_start)


def data_sha256(content: bytes, header: Header) -> str:
    """SHA-256 in hex over all bytes after the header (ModelSpec's `hash_sha256`)."""
    return hashlib.sha256(memoryview(content)[header.data_start :]).hexdigest()


def shown(text: str) -> str:
    """Untrusted text, shortened for a message."""
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _entry(name: str, value: Any, path: object) -> TensorEntry:
    if not _is_entry(value):
        raise PackError(f"{path}: tensor '{shown(name)}' is not described as safetensors expects")
    return TensorEntry(value["dtype"], tuple(value["shape"]), *value["data_offsets"])


def _is_entry(value: Any) -> bool:
    if not isinstance(value, dict) or value.keys() != ENTRY_KEYS:
        return False
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
        return False
    if not _counts(shape) or not _counts(offsets) or len(shape) > LARGEST_RANK:
        return False
    return len(offsets) == 2 and offsets[1] - offsets[0] == math.prod(shape) * DTYPE_BYTES[dtype]


def _check_tiling(tensors: dict[str, TensorEntry], data_size: int, path: object) -> None:
    """Check that the tensors cover the data exactly: no gap, no overlap, nothing beyond the end."""
    position = 0
    for entry in sorted(tensors.values(), key=lambda entry: (entry.start, entry.end)):
        if entry.start != position:
            raise PackError(f"{path}: tensors overlap or leave a gap at data byte {position:,}")
        position = entry.end
    if position != data_size:
        advice = "it is cut off: download it again" if position > data_size else "download it again"
        raise PackError(
            f"{path}: the tensors take {position:,} bytes, the file has {data_size:,}; {advice}"
        )


def _counts(value: Any) -> bool:
    """Whether `value` is a list of integers from 0 to `LARGEST_COUNT`, without booleans."""
    if not isinstance(value, list):
        return False
    for item in value:  # noqa: SIM110 - faster, for lists of a thousand packs
        if type(item) is not int or not 0 <= item <= LARGEST_COUNT:
            return False
    return True


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields
