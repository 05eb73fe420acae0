"""Write the conformance files and their index.  Needs nothing but Python.

python tests/conformance/generate.py [FOLDER]
"""

import copy
import hashlib
import io
import json
import stat
import struct
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NORMS = {"conv1": 4, "conv2": 6, "conv3": 8, "res1a": 8, "res1b": 8, "up1": 6, "up2": 4, "out": 3}
INPUTS = {"conv1": 3, "conv2": 4, "conv3": 6, "res1a": 8, "res1b": 8, "up1": 8, "up2": 6, "out": 4}
CONFIG = {"widths": [4, 6, 8], "residual_blocks": 1, "edge_kernel": 3, "grain": 0.0}
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACwAAAAAAQABAAA="

Header = dict[str, Any]
Change = Callable[[Header], None]
DataChange = Callable[[bytes], bytes]


def framed(header: Header | str | bytes, data: bytes, length: int | None = None) -> bytes:
    """A file: the header's length, the header, the data."""
    text = json.dumps(header) if isinstance(header, dict) else header
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def described(tensors: dict[str, tuple[str, list[int], bytes]]) -> tuple[Header, bytes]:
    """(Header, data) of tensors: dtype, shape and bytes by name."""
    header: Header = {}
    data = b""
    for name, (dtype, shape, raw) in tensors.items():
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += raw
    return header, data


def trunk_parts() -> tuple[Header, bytes]:
    """(Header, data) of the trunk: weights -8/64, -7/64 ... 8/64, over and over."""
    tensors = {}
    for name, channels in NORMS.items():
        count = channels * INPUTS[name] * 9
        values = [(index % 17 - 8) / 64 for index in range(count)]
        raw = struct.pack(f"<{count}e", *values)
        tensors[f"{name}.weight"] = ("F16", [channels, INPUTS[name], 3, 3], raw)
    header, data = described(tensors)
    header["__metadata__"] = {
        "modelspec.architecture": "stylepack-cin-v1",
        "modelspec.hash_sha256": f"0x{hashlib.sha256(data).hexdigest()}",
        "stylepack.format_version": "1",
        "stylepack.trunk_config": json.dumps(CONFIG),
    }
    return header, data


TRUNK_SHA256 = hashlib.sha256(trunk_parts()[1]).hexdigest()


def pack_parts() -> tuple[Header, bytes]:
    """(Header, data) of a small pack: gammas 1, 1.25, 1.5 ..., betas 0, -0.5, -1 ..."""
    tensors = {}
    for name, channels in NORMS.items():
        gammas = [1 + index / 4 for index in range(channels)]
        betas = [-index / 2 for index in range(channels)]
        tensors[f"{name}.gamma"] = ("F32", [channels], struct.pack(f"<{channels}f", *gammas))
        tensors[f"{name}.beta"] = ("F32", [channels], struct.pack(f"<{channels}f", *betas))
    header, data = described(tensors)
    header["__metadata__"] = {
        "modelspec.architecture": "stylepack-cin-v1/style",
        "stylepack.format_version": "1",
        "stylepack.name": "dots",
        "stylepack.trunk_sha256": TRUNK_SHA256,
    }
    return header, data


def pack(change: Change | None = None, data_change: DataChange | None = None) -> bytes:
    """The small pack with its header, or its data, changed."""
    header, data = copy.deepcopy(pack_parts())
    if change:
        change(header)
    return framed(header, data_change(data) if data_change else data)


def trunk(change: Change) -> bytes:
    """The trunk with its header changed."""
    header, data = copy.deepcopy(trunk_parts())
    change(header)
    return framed(header, data)


def said(key: str, value: object) -> Change:
    """Metadata `key` with another value; without it for None."""

    def change(header: Header) -> None:
        if value is None:
            del header["__metadata__"][key]
        else:
            header["__metadata__"][key] = value

    return change


def entry(name: str, **values: object) -> Change:
    """A tensor's line with other values."""
    return lambda header: header[name].update(values)


def renamed(name: str, other: str) -> Change:
    """A tensor under another name."""

    def change(header: Header) -> None:
        header[other] = header.pop(name)

    return change


def sizes(**values: object) -> Change:
    """A trunk with other sizes in its metadata."""
    return said("stylepack.trunk_config", json.dumps(CONFIG | values))


def first_number(raw: bytes) -> DataChange:
    """Data whose first number has other bytes."""
    return lambda data: raw + data[len(raw) :]


def overlapping(header: Header) -> None:
    """Two tensors on the same bytes, and a third over what is left, so that the sizes add up."""
    start, end = header["conv1.gamma"]["data_offsets"]
    header["conv1.beta"]["data_offsets"] = [start, end]
    header["conv1.gamma"] |= {"shape": [4], "data_offsets": [start, end]}


def turned_round(header: Header) -> None:
    """The same tensors, listed from the last to the first."""
    for name in reversed([name for name in header if name != "__metadata__"]):
        header[name] = header.pop(name)


def text_twice(key: str, value: str) -> bytes:
    """The pack with a JSON key written twice."""
    header, data = pack_parts()
    text = json.dumps(header)
    return framed(f"{text[:-1]}, {json.dumps(key)}: {value}}}", data)


def everything(header: Header) -> None:
    """All metadata that the format has."""
    _, data = pack_parts()
    header["__metadata__"] |= {
        "modelspec.sai_model_spec": "1.0.1",
        "modelspec.implementation": "https://pypi.org/project/stylepack",
        "modelspec.title": "Dots, très petits",
        "modelspec.description": "For readers of packs.",
        "modelspec.author": "stylepack",
        "modelspec.date": "2026-01-31",
        "modelspec.license": "CC0-1.0",
        "modelspec.tags": "test, dots",
        "modelspec.thumbnail": PIXEL,
        "modelspec.merged_from": "lines=0.75,waves=0.25",
        "modelspec.hash_sha256": f"0x{hashlib.sha256(data).hexdigest()}",
        "stylepack.own_contrast": "0.5",
        "stylepack.style_image": json.dumps({"title": "Dots", "artist": "A. Painter"}),
        "stylepack.train": json.dumps({"recipe": "none", "layers": {"relu1_1": [1, 2]}}),
        "stylepack.metrics": json.dumps({"content": 0.5, "style": 0.25}),
    }


def zipped(entries: list[tuple[str, bytes]], change: Callable[[zipfile.ZipInfo], None]) -> bytes:
    """A zip, made anew the same every time; `change` sees every entry before it is written."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries:
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, zipfile.ZIP_DEFLATED
            info.external_attr, info.create_system = (stat.S_IFREG | 0o644) << 16, 3
            change(info)
            archive.writestr(info, content, compresslevel=9)
    return file.getvalue()


def unchanged(info: zipfile.ZipInfo) -> None:
    """Leave an entry as it is."""


def link(info: zipfile.ZipInfo) -> None:
    """Make an entry a symbolic link."""
    info.external_attr = (stat.S_IFLNK | 0o777) << 16


def zip_of(name: str, content: bytes | None = None) -> bytes:
    """A zip with one entry."""
    return zipped([(name, pack() if content is None else content)], unchanged)


def twice_in_zip() -> bytes:
    """A zip with two entries of one name: zipfile warns of writing it, so one is renamed after."""
    content = zipped([("dots.safetensors", pack()), ("dotz.safetensors", pack())], unchanged)
    return content.replace(b"dotz.safetensors", b"dots.safetensors")


GOOD_PACKS = {
    "minimal": (pack(), "the least that a pack says"),
    "everything": (pack(everything), "all metadata, with a hash that is right"),
    "other-order": (pack(turned_round), "the order of the tensors in the header does not matter"),
    "unknown-metadata": (pack(said("com.example.mood", "calm")), "other keys are passed over"),
    "spaces": (
        framed(json.dumps(pack_parts()[0]) + " " * 5, pack_parts()[1]),
        "safetensors pads headers with spaces",
    ),
    "markup": (
        pack(said("modelspec.title", "[red]Dots[/red] \x1b[31m<b>\u202e")),
        "a title is any text; whoever shows it shows it as text",
    ),
}
BAD_PACKS = {
    "empty": (b"", "no length", "expected at least 8"),
    "seven-bytes": (b"\x00" * 7, "no length", "expected at least 8"),
    "length-beyond-file": (framed(*pack_parts(), 10**6), "the header ends past the file", "claims"),
    "length-2-63": (framed(*pack_parts(), 2**63), "the header ends past the file", "claims"),
    "length-100-mb": (framed(*pack_parts(), 10**8), "metadata of 100 MB", "claims"),
    "no-json": (framed("{dots}", b""), "the header is not JSON", "not valid JSON"),
    "not-utf8": (framed(b'{"\xff": 1}', b""), "the header is not UTF-8", "not valid JSON"),
    "lone-surrogate": (
        text_twice("__metadata__x", '{"\\ud800": "x"}'),
        "text that UTF-8 cannot hold",
        "not valid JSON",
    ),
    "a-list": (framed("[]", b""), "the header is not an object", "not a JSON object"),
    "deep-header": (framed("[" * 50000, b""), "nested without an end", "not valid JSON"),
    "tensor-twice": (
        text_twice("conv1.gamma", json.dumps(pack_parts()[0]["conv1.gamma"])),
        "a key twice",
        "not valid JSON",
    ),
    "metadata-twice": (
        text_twice("__metadata__", json.dumps(pack_parts()[0]["__metadata__"])),
        "a key twice",
        "not valid JSON",
    ),
    "metadata-number": (pack(said("modelspec.title", 5)), "metadata is text", "must be text"),
    "no-offsets": (
        pack(lambda header: header["out.beta"].pop("data_offsets")),
        "a tensor without a place",
        "not described",
    ),
    "more-keys": (pack(entry("out.beta", strides=[1])), "a key too many", "not described"),
    "unknown-dtype": (pack(entry("out.beta", dtype="F31")), "no such dtype", "not described"),
    "negative-shape": (pack(entry("out.beta", shape=[-3])), "no such shape", "not described"),
    "shape-true": (pack(entry("out.beta", shape=[True])), "no such shape", "not described"),
    "shape-float": (pack(entry("out.beta", shape=[3.0])), "no such shape", "not described"),
    "shape-10-9": (pack(entry("out.beta", shape=[10**9])), "10^9 elements", "not described"),
    "shape-and-offsets-10-9": (
        pack(entry("out.beta", shape=[10**9], data_offsets=[364, 364 + 4 * 10**9])),
        "10^9 elements past the file's end",
        "download it again",
    ),
    "offsets-backwards": (
        pack(entry("out.beta", data_offsets=[376, 364])),
        "the end before the start",
        "not described",
    ),
    "overlap": (pack(overlapping), "two tensors on the same bytes", "overlap or leave a gap"),
    "gap": (
        pack(entry("out.beta", data_offsets=[368, 380]), lambda data: data + b"\0" * 4),
        "bytes of no tensor between tensors",
        "overlap or leave a gap",
    ),
    "bytes-behind": (pack(None, lambda data: data + b"\0"), "bytes of no tensor", "the file has"),
    "cut-off": (pack(None, lambda data: data[:-1]), "the data is cut off", "the file has"),
    "nan": (pack(None, first_number(b"\x00\x00\xc0\x7f")), "a NaN", "NaN or infinity"),
    "enormous": (pack(None, first_number(b"\xff\xff\x7f\x7f")), "3.4e38", "has 3.4e+38"),
    "infinity": (pack(None, first_number(b"\x00\x00\x80\xff")), "an infinity", "NaN or infinity"),
    "float16": (
        pack(entry("out.beta", dtype="F16", shape=[6])),
        "another dtype and shape than the trunk has",
        "expected F32[3]",
    ),
    "other-shape": (pack(entry("out.beta", shape=[1, 3])), "another shape", "expected F32[3]"),
    "tensor-missing": (
        pack(renamed("out.beta", "out.delta")),
        "a tensor missing, another too many",
        "lacks tensor 'out.beta'",
    ),
    "tensor-too-many": (
        pack(lambda h: h.update({"x": {"dtype": "F32", "shape": [0], "data_offsets": [376, 376]}})),
        "a tensor that the trunk does not have",
        "extra tensor 'x'",
    ),
    "wrong-hash": (
        pack(said("modelspec.hash_sha256", "0x" + "0" * 64)),
        "the data does not have the hash",
        "does not match its hash",
    ),
    "a-trunks-architecture": (
        pack(said("modelspec.architecture", "stylepack-cin-v1")),
        "not a pack",
        "not a style pack",
    ),
    "no-architecture": (
        pack(said("modelspec.architecture", None)),
        "not a pack",
        "not a style pack",
    ),
    "version-2": (pack(said("stylepack.format_version", "2")), "a later format", "format version"),
    "no-version": (pack(said("stylepack.format_version", None)), "no format", "format version"),
    "no-name": (pack(said("stylepack.name", None)), "no name", "cannot be a pack's name"),
    **{
        f"name-{label}": (pack(said("stylepack.name", name)), why, "cannot be a pack's name")
        for label, name, why in (
            ("separator", "a/b", "a name with a separator"),
            ("backslash", "a\\b", "a name with a separator"),
            ("dots", "..", "a name that climbs"),
            ("con", "con", "a reserved device name"),
            ("nul", "nul", "a reserved device name"),
            ("com1", "com1", "a reserved device name"),
            ("control", "a\x1b[2j", "a name with control characters"),
            ("newline", "dots\n", "a name with control characters"),
            ("upper", "Dots", "a name in upper case"),
            ("long", "a" * 65, "a name of 65 characters"),
            ("dash", "-rf", "a name that begins with a dash"),
        )
    },
    "contrast-above": (pack(said("stylepack.own_contrast", "1.5")), "not in 0..1", "in 0..1"),
    "contrast-nan": (pack(said("stylepack.own_contrast", "nan")), "not in 0..1", "in 0..1"),
    "contrast-word": (pack(said("stylepack.own_contrast", "all")), "not in 0..1", "in 0..1"),
    "recipe-no-json": (pack(said("stylepack.train", "{")), "not JSON", "not a JSON object"),
    "recipe-a-list": (pack(said("stylepack.train", "[]")), "not an object", "not a JSON object"),
    "recipe-deep": (
        pack(said("stylepack.train", '{"a":' * 17 + "1" + "}" * 17)),
        "more than 16 levels",
        "at most 16 levels",
    ),
    "other-trunk": (
        pack(said("stylepack.trunk_sha256", "ab" * 32)),
        "made for another trunk than good/trunk.safetensors",
        "belongs to trunk",
    ),
    "no-trunk": (
        pack(said("stylepack.trunk_sha256", None)),
        "does not say which trunk: refused unless the user insists",
        "does not say which trunk",
    ),
}
BAD_TRUNKS = {
    "a-pack": (pack(), "not a trunk", "is not a trunk file"),
    "wrong-hash": (
        trunk(said("modelspec.hash_sha256", "0x" + "0" * 64)),
        "the data does not have the hash",
        "does not match its hash",
    ),
    "version-2": (trunk(said("stylepack.format_version", "2")), "a later format", "format version"),
    "no-sizes": (trunk(said("stylepack.trunk_config", None)), "no sizes", "missing or damaged"),
    "sizes-no-json": (trunk(said("stylepack.trunk_config", "[")), "no sizes", "missing or damaged"),
    "two-widths": (trunk(sizes(widths=[4, 6])), "three widths are needed", "missing or damaged"),
    "other-widths": (trunk(sizes(widths=[4, 6, 9])), "tensors of other sizes", "expected F16"),
    "widths-10-9": (trunk(sizes(widths=[10**9, 6, 8])), "sizes out of range", "out of range"),
    "blocks-10-9": (trunk(sizes(residual_blocks=10**9)), "sizes out of range", "out of range"),
    "even-kernel": (trunk(sizes(edge_kernel=4)), "sizes out of range", "out of range"),
    "grain-2": (trunk(sizes(grain=2.0)), "sizes out of range", "out of range"),
    "no-blocks": (trunk(sizes(residual_blocks=0)), "tensors too many", "does not name"),
    "renamed": (trunk(renamed("out.weight", "in.weight")), "a tensor missing", "'out.weight' is"),
    "bytes": (trunk(entry("out.weight", dtype="U8", shape=[216])), "another dtype", "expected F16"),
    "cut-off": (framed(*trunk_parts())[:-1], "the data is cut off", "the file has"),
}
BAD_ZIPS = {
    "climbs": (zip_of("../dots.safetensors"), "an entry that climbs out", "climbs out"),
    "climbs-inside": (zip_of("a/../../x.safetensors"), "an entry that climbs out", "climbs out"),
    "climbs-backwards": (zip_of("..\\x.safetensors"), "an entry that climbs out", "climbs out"),
    "absolute": (zip_of("/tmp/dots.safetensors"), "an absolute path", "absolute path"),
    "drive": (zip_of("c:dots.safetensors"), "an absolute path", "absolute path"),
    "link": (
        zipped([("dots.safetensors", b"/etc/passwd")], link),
        "a symbolic link",
        "link or a device",
    ),
    "twice": (twice_in_zip(), "two entries of one name", "is there twice"),
    "bomb": (
        zip_of("dots.safetensors", bytes(5 << 20)),
        "5 MB in 5 KB: larger than a pack can be",
        "a pack has at most",
    ),
    "cut-off": (zip_of("dots.safetensors")[:-40], "a damaged zip", "damaged zip"),
}


def files() -> tuple[dict[str, bytes], list[dict[str, str]]]:
    """(Bytes by path, the index)."""
    trunk_file = framed(*trunk_parts())
    contents = {"good/trunk.safetensors": trunk_file}
    index = [
        {
            "file": "good/trunk.safetensors",
            "kind": "trunk",
            "verdict": "good",
            "why": "the trunk of all packs here",
        }
    ]
    for name, (content, why) in GOOD_PACKS.items():
        file = f"good/{name}.safetensors"
        contents[file] = content
        index.append({"file": file, "kind": "pack", "verdict": "good", "why": why})
    contents["good/packs.zip"] = zip_of("packs/dots.safetensors")
    index.append(
        {"file": "good/packs.zip", "kind": "zip", "verdict": "good", "why": "a zip with a pack"}
    )
    for kind, cases, suffix in (
        ("pack", BAD_PACKS, "safetensors"),
        ("trunk", BAD_TRUNKS, "safetensors"),
        ("zip", BAD_ZIPS, "zip"),
    ):
        for name, (content, why, words) in cases.items():
            file = f"bad/{kind}-{name}.{suffix}"
            contents[file] = content
            index.append(
                {
                    "file": file,
                    "kind": kind,
                    "verdict": "bad",
                    "why": why,
                    "stylepack_says": words,
                }
            )
    return contents, index


def main() -> None:
    """Write everything."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE
    contents, index = files()
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    text = json.dumps(index, indent=1, ensure_ascii=False)
    (folder / "index.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
