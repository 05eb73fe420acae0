"""The safetensors header: whatever a stranger's file holds, PackError is all that comes out."""

import json
import struct
from pathlib import Path

import pytest
import torch
from conftest import TINY
from hypothesis import given, settings
from hypothesis import strategies as st

from stylepack.errors import PackError, StylepackError, UsageError
from stylepack.packs.header import LARGEST_HEADER, data_sha256, parse_header, read_header
from stylepack.packs.manifest import LARGEST_PACK, Manifest, read_manifest
from stylepack.packs.pack import Pack, load_pack


def framed(header: object, data: bytes = b"") -> bytes:
    """A safetensors file: length, header (JSON unless it is bytes already), data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def entry(**changes: object) -> dict[str, object]:
    return {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], **changes}


FOUR = b"\0" * 4
TWICE = b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2)

HOSTILE = {
    "empty file": b"",
    "seven bytes": b"\0" * 7,
    "no header": framed(b""),
    "not JSON": framed(b"style"),
    "cut JSON": framed(b'{"a": '),
    "not UTF-8": framed(b'{"\xff": 1}'),
    "byte order mark": framed(b"\xef\xbb\xbf{}"),
    "a list": framed([entry()], FOUR),
    "deep lists": framed(b"[" * 100_000),
    "deep objects": framed(b'{"a":' * 100_000),
    "header longer than the file": struct.pack("<Q", 100) + b"{}",
    "header of 2^64 - 1 bytes": b"\xff" * 8 + b"{}",
    "header over the limit": framed(b"{}" + b" " * LARGEST_HEADER),
    "duplicate tensor": framed(TWICE, FOUR),
    "duplicate metadata": framed(b'{"__metadata__": {"k": "1", "k": "2"}}'),
    "metadata number": framed({"__metadata__": {"k": 1}}),
    "metadata null": framed({"__metadata__": {"k": None}}),
    "metadata object": framed({"__metadata__": {"k": {}}}),
    "metadata list": framed({"__metadata__": ["k"]}),
    "metadata of half a character": framed(b'{"__metadata__": {"k": "\\ud800"}}'),
    "tensor is a number": framed({"a": 1}, FOUR),
    "tensor without a shape": framed({"a": {"dtype": "F32", "data_offsets": [0, 4]}}, FOUR),
    "tensor with a fourth key": framed({"a": entry(more=1)}, FOUR),
    "unknown dtype": framed({"a": entry(dtype="F33")}, FOUR),
    "dtype of another size": framed({"a": entry(dtype="F64")}, FOUR),
    "dtype is a number": framed({"a": entry(dtype=4)}, FOUR),
    "dtype is a list": framed({"a": entry(dtype=[])}, FOUR),
    "dtype is an object": framed({"a": entry(dtype={})}, FOUR),
    "negative shape": framed({"a": entry(shape=[-1])}, FOUR),
    "two negative sides": framed({"a": entry(shape=[-1, -1])}, FOUR),
    "true shape": framed({"a": entry(shape=[True])}, FOUR),
    "float shape": framed({"a": entry(shape=[1.0])}, FOUR),
    "infinite shape": framed({"a": entry(shape=[float("inf")])}, FOUR),
    "text shape": framed({"a": entry(shape="1")}, FOUR),
    "huge shape": framed({"a": entry(shape=[10**9])}, FOUR),
    "huge shape and offsets": framed({"a": entry(shape=[10**9], data_offsets=[0, 4 * 10**9])}),
    "shape of thousands of digits": framed({"a": entry(shape=[10**4000] * 9)}, FOUR),
    "negative offset": framed({"a": entry(data_offsets=[-4, 0])}, FOUR),
    "backward offsets": framed({"a": entry(data_offsets=[4, 0])}, FOUR),
    "true offset": framed({"a": entry(dtype="U8", data_offsets=[False, True])}, b"\0"),
    "float offset": framed({"a": entry(data_offsets=[0, 4.0])}, FOUR),
    "one offset": framed({"a": entry(data_offsets=[4])}, FOUR),
    "three offsets": framed({"a": entry(data_offsets=[0, 4, 8])}, FOUR),
    "overlap": framed({"a": entry(), "b": entry(data_offsets=[2, 6])}, FOUR + FOUR),
    "same bytes twice": framed({"a": entry(), "b": entry()}, FOUR),
    "gap": framed({"a": entry(), "b": entry(data_offsets=[8, 12])}, FOUR * 3),
    "gap at the start": framed({"a": entry(data_offsets=[4, 8])}, FOUR * 2),
    "beyond the end": framed({"a": entry(shape=[2], data_offsets=[0, 8])}, FOUR),
    "trailing bytes": framed({"a": entry()}, FOUR + b"\0"),
    "data of no tensor": framed({}, FOUR),
    "new line in a wrong tensor's name": framed({"a\nb": entry(dtype="F33")}, FOUR),
    "half a character in a wrong tensor's name": framed({"\ud800": entry(dtype="X")}, FOUR),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_header_is_one_line_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(PackError) as refused:
        read_header(path, LARGEST_PACK)
    assert str(path) in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(("name", "kind"), [(".", PackError), ("missing.safetensors", UsageError)])
def test_what_cannot_be_opened_is_refused_by_name(
    tmp_path: Path, name: str, kind: type[StylepackError]
) -> None:
    with pytest.raises(kind) as refused:
        read_header(tmp_path / name, LARGEST_PACK)
    assert str(tmp_path / name) in str(refused.value)


def test_a_file_over_its_limit_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    path.write_bytes(framed({"a": entry()}, FOUR))
    size = path.stat().st_size
    assert read_header(path, size).tensors.keys() == {"a"}
    with pytest.raises(PackError, match=f"at most {size - 1}"):
        read_header(path, size - 1)


def test_a_good_header_is_read_whatever_the_order_of_its_tensors(tmp_path: Path) -> None:
    second = entry(dtype="F16", shape=[2, 1], data_offsets=[4, 8])
    nothing = entry(shape=[0, 7], data_offsets=[4, 4])
    fields = {"b": second, "__metadata__": {"k": "v"}, "nothing": nothing, "a": entry()}
    content = framed(fields, b"12345678")
    header = parse_header(content[8:-8], len(content), tmp_path)
    assert header.metadata == {"k": "v"}
    assert header.tensors["b"].shape == (2, 1)
    assert (header.tensors["b"].start, header.tensors["b"].end) == (4, 8)
    assert content[header.data_start :] == b"12345678"
    # printf 12345678 | sha256sum
    assert data_sha256(content, header).startswith("ef797c8118f02dfb649607dd5d3f8c76")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A place to write to, and the bytes of a good pack."""
    path = tmp_path_factory.mktemp("header") / "pack.safetensors"
    Pack(Manifest("dots", "ab" * 32, train={"seed": 1}), torch.ones(TINY.style_size)).save(
        path, TINY
    )
    return path, path.read_bytes()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["F32", "", "\n"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=6,
)
TENSORS = st.fixed_dictionaries({"dtype": VALUES, "shape": VALUES, "data_offsets": VALUES})
HEADERS = st.dictionaries(st.sampled_from(["a", "__metadata__"]), TENSORS | VALUES, min_size=1)
EDITS = st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=3)), min_size=1, max_size=5)


def mutated(content: bytes, edits: list[tuple[int, bytes]]) -> bytes:
    """Overwrite bytes, or cut the file where an edit is empty."""
    for place, new in edits:
        place %= len(content) or 1
        content = content[:place] + (new + content[place + len(new) :] if new else b"")
    return content


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64) | st.builds(framed, HEADERS, st.binary(max_size=8)) | EDITS)
def test_random_and_mutated_files_raise_nothing_but_pack_errors(
    good: tuple[Path, bytes], damage: bytes | list[tuple[int, bytes]]
) -> None:
    path, content = good
    path.write_bytes(damage if isinstance(damage, bytes) else mutated(content, damage))
    for read in (read_manifest, lambda path: load_pack(path, TINY)):
        refusal = str(path)
        try:
            read(path)
        except PackError as error:
            refusal = str(error)
        assert str(path) in refusal
        assert len(refusal.splitlines()) == 1
