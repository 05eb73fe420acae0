"""Files and mixes made to harm: a valid one, or one printable line, is all that comes out.

200 of each in every run; 10,000 of each with `pytest -m nightly tests/packs/test_hostile_files.py`.
"""

import io
import json
import math
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import torch
from conftest import TINY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from stylepack.errors import PackError, StylepackError
from stylepack.library.archive import packs_in_zip
from stylepack.losses.distilled import ARCHITECTURE as DISTILLED
from stylepack.losses.distilled import CONFIG_KEY as NETWORK_KEY
from stylepack.losses.distilled import Distilled, DistilledConfig, load_distilled
from stylepack.losses.vgg import VGG, parameter_shapes
from stylepack.losses.weights import read_weights
from stylepack.network.trunk import Trunk
from stylepack.packs.header import LARGEST_HEADER, parse_content, read_header
from stylepack.packs.manifest import (
    ARCHITECTURE,
    FORMAT_VERSION,
    NAME_PATTERN,
    RESERVED_NAMES,
    Manifest,
    checked_name,
    in_words,
)
from stylepack.packs.mix import parse_mix
from stylepack.packs.pack import Pack, fitting_config, parse_pack
from stylepack.packs.tensors import HASH_KEY
from stylepack.packs.trunk_file import CONFIG_KEY, parse_trunk

resource = pytest.importorskip(
    "resource", reason="this system does not say how much memory is taken"
)

LONGEST_LINE = 1000
EXAMPLES, NIGHTLY_EXAMPLES = 200, 10_000
LONGEST, MOST_MEMORY = 5.0, 1 << 30  # seconds for one example, bytes for all of an attack
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
often = settings(max_examples=EXAMPLES, deadline=1000 * LONGEST, suppress_health_check=SLOW)
nightly = settings(often, max_examples=NIGHTLY_EXAMPLES)


@cache
def good_header() -> tuple[dict[str, Any], bytes]:
    """(header, data) of a good pack without a hash, so that changed data is looked at too."""
    fields: dict[str, Any] = {}
    data = b""
    style = torch.linspace(-1, 1, TINY.style_size)
    for slot in TINY.layout():
        for kind, place in (("gamma", slot.gamma), ("beta", slot.beta)):
            raw = style[place].numpy().tobytes()
            offsets = [len(data), len(data) + len(raw)]
            fields[f"{slot.name}.{kind}"] = {
                "dtype": "F32",
                "shape": [slot.channels],
                "data_offsets": offsets,
            }
            data += raw
    manifest = Manifest("dots", "ab" * 32, title="Dots", own_contrast=0.5, train={"seed": 1})
    return fields | {"__metadata__": manifest.to_metadata()}, data


def good_pack() -> bytes:
    header, data = good_header()
    return framed(json.dumps(header).encode(), data)


def framed(raw: bytes, data: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def outcome(read: Callable[[], Any]) -> Any:
    """What `read` returns, or None where it refuses in one printable line."""
    try:
        return read()
    except StylepackError as error:
        line = str(error)
        assert line.isprintable()
        assert line.strip()
        assert len(line) <= LONGEST_LINE
        return None


@cache
def good_trunk() -> bytes:
    """A small trunk file without a hash, so that changed data is looked at too."""
    torch.manual_seed(0)
    weights = {
        name: weight.half().contiguous() for name, weight in Trunk(TINY).state_dict().items()
    }
    config = {"widths": list(TINY.widths), "residual_blocks": 1, "edge_kernel": 9, "grain": 0.1}
    metadata = {
        "modelspec.architecture": ARCHITECTURE,
        "stylepack.format_version": FORMAT_VERSION,
        CONFIG_KEY: json.dumps(config),
    }
    return save(weights, metadata)


def check_trunk(content: bytes) -> bool:
    """Whether a trunk is valid; if so it must be a network of finite weights."""
    found = outcome(partial(parse_trunk, content, "hostile.safetensors"))
    if found is None:
        return False
    trunk, _ = found
    assert all(bool(torch.isfinite(weight).all()) for weight in trunk.parameters())
    assert sum(weight.numel() for weight in trunk.parameters()) * 2 <= len(content)
    return True


def check_pack(content: bytes) -> bool:
    """Whether a pack is valid; if so everything about it must be."""
    pack: Pack | None = outcome(partial(parse_pack, content, TINY, "hostile.safetensors"))
    header = outcome(partial(parse_content, content, "hostile.safetensors"))
    if header is not None:
        outcome(partial(parse_pack, content, fitting_config(header), "hostile.safetensors"))
    if pack is None:
        return False
    assert pack.style.shape == (TINY.style_size,)
    assert bool(torch.isfinite(pack.vector).all())
    assert NAME_PATTERN.fullmatch(pack.manifest.name)
    assert pack.manifest.name not in RESERVED_NAMES
    assert 0 <= pack.manifest.own_contrast <= 1
    for fields in (pack.manifest.train, pack.manifest.style_image, pack.manifest.metrics):
        in_words(fields)
    return True


def test_the_pack_that_is_changed_below_is_good() -> None:
    header, data = good_header()
    assert check_pack(framed(json.dumps(header).encode(), data))


TEXT = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "..", "../up", "/etc/passwd", "a/b", "a\\b", "c:", "con", "nul", "lpt1", "com1.txt"]
    ),
    st.sampled_from(["\x1b[2J", "a\nb", "\r", "\0", "\u202e", "\x9b31m", "[/red]", "{0}", "%s"]),
    st.integers(1, 200_000).map(lambda n: "x" * n),
    st.integers(1, 3000).map(lambda n: "[" * n + "]" * n),
    st.integers(1, 3000).map(lambda n: '{"a":' * n + "1" + "}" * n),
    st.sampled_from(["nan", "-0", "1e999", "9" * 5000, '{"a": NaN}', '{"a": "\\ud800"}', "0.5"]),
)
NUMBER = st.one_of(
    st.integers(-3, 300),
    st.sampled_from([10**9, 2**31, 2**32, 2**40, 2**63, 2**64, 10**400]),
    st.floats(),
    st.booleans(),
    st.none(),
    TEXT,
)
DTYPE = st.sampled_from(["F64", "F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "C64"]) | TEXT
SIZES = st.lists(NUMBER, max_size=9) | NUMBER
KEY = st.sampled_from(sorted(good_header()[0])) | TEXT
METADATA_KEY = st.sampled_from([*Manifest("a").to_metadata(), HASH_KEY, "stylepack.train"]) | TEXT
CHANGE = st.one_of(
    st.tuples(st.just("dtype"), KEY, DTYPE),
    st.tuples(st.just("shape"), KEY, SIZES),
    st.tuples(st.just("data_offsets"), KEY, SIZES),
    st.tuples(st.just("rename"), KEY, TEXT),
    st.tuples(st.just("drop"), KEY, st.none()),
    st.tuples(st.just("copy"), KEY, TEXT),
    st.tuples(st.just("twice"), KEY, st.none()),
    st.tuples(st.just("metadata"), METADATA_KEY, TEXT | NUMBER),
    st.tuples(st.just("unmetadata"), METADATA_KEY, st.none()),
)


def changed(changes: list[tuple[str, str, Any]]) -> bytes:
    """The good pack with its header changed, as JSON that need not be any."""
    fields, data = good_header()
    pairs = [(key, dict(value)) for key, value in fields.items()]
    for kind, key, value in changes:
        for index, (name, entry) in enumerate(list(pairs)):
            if name == "__metadata__" and kind == "metadata":
                entry[key] = value
            elif name == "__metadata__" and kind == "unmetadata":
                entry.pop(key, None)
            elif name != key:
                continue
            elif kind in ("dtype", "shape", "data_offsets"):
                entry[kind] = value
            elif kind == "rename":
                pairs[index] = (value, entry)
            elif kind == "copy":
                pairs.append((value, entry))
            elif kind == "twice":
                pairs.append((name, entry))
        if kind == "drop":
            pairs = [pair for pair in pairs if pair[0] != key]
    inner = ",".join(f"{json.dumps(name)}:{json.dumps(entry)}" for name, entry in pairs)
    return framed(f"{{{inner}}}".encode(), data)


def header_changes(changes: list[tuple[str, str, Any]]) -> None:
    check_pack(changed(changes))


EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=9), st.booleans()),
    min_size=1,
    max_size=6,
)
LENGTH = st.none() | st.integers(0, 2**64 - 1) | st.sampled_from([LARGEST_HEADER, 2**63, 2**64 - 1])


def edited(content: bytes, edits: list[tuple[float, bytes, bool]]) -> bytes:
    """Bytes overwritten, put in or, where there are none, cut off."""
    for place, new, inserted in edits:
        at = int(place * len(content))
        content = content[:at] + new + (content[at + (not inserted) * len(new) :] if new else b"")
    return content


def byte_changes(edits: list[tuple[float, bytes, bool]], length: int | None) -> None:
    """Bytes overwritten, put in or, where there are none, cut off; then another length."""
    content = good_pack()
    content = edited(content, edits)
    check_pack(content if length is None else struct.pack("<Q", length) + content[8:])


CONFIG = st.fixed_dictionaries(
    {},
    optional={
        "widths": st.lists(NUMBER, max_size=4) | NUMBER,
        "residual_blocks": NUMBER,
        "edge_kernel": NUMBER,
        "grain": NUMBER,
    },
)


def trunk_changes(config: Any, edits: list[tuple[float, bytes, bool]]) -> None:
    """Other sizes in the metadata, or bytes overwritten, put in and cut off."""
    content = good_trunk()
    if config is not None:
        header = parse_content(content, "good")
        raw = json.loads(content[8 : header.data_start])
        sizes = json.loads(raw["__metadata__"][CONFIG_KEY])
        raw["__metadata__"][CONFIG_KEY] = json.dumps(sizes | config)
        content = framed(json.dumps(raw).encode(), content[header.data_start :])
    content = edited(content, edits)
    check_trunk(content)


def test_the_trunk_that_is_changed_above_is_good() -> None:
    assert check_trunk(good_trunk())


def zip_changes(edits: list[tuple[float, bytes, bool]], names: list[str], method: int) -> None:
    """A zip with odd names, then damaged."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for index, name in enumerate(dict.fromkeys(names)):
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name[:300], method
            archive.writestr(info, (b"data" * 20, good_trunk(), good_pack())[index % 3])
    content = buffer.getvalue()
    content = edited(content, edits)
    for name, data in outcome(partial(packs_in_zip, content, "hostile.zip")) or ():
        assert len(data) <= 1 << 22
        outcome(partial(parse_pack, data, TINY, name))


def mixes(text: str) -> None:
    mix = outcome(lambda: parse_mix(text).normalised())
    if mix is not None:
        assert math.isclose(math.fsum(mix.weights), 1, rel_tol=1e-9)
        assert all(reference.strip() for reference in mix.references)


def names(text: str) -> None:
    if outcome(partial(checked_name, text, "--name")) is not None:
        assert text.isascii()
        assert text.isprintable()
        assert not set(text) & set('/\\:.<>|"?* ')


@cache
def good_networks() -> dict[str, bytes]:
    """Loss networks by the suffixes of their files: a distilled one, and weights for a VGG."""
    torch.manual_seed(0)
    config = DistilledConfig("vgg16", ("relu1_2",), (4,))
    weights = {name: weight.half() for name, weight in Distilled(config).state_dict().items()}
    metadata = {"modelspec.architecture": DISTILLED, NETWORK_KEY: json.dumps(asdict(config))}
    shapes = parameter_shapes("vgg16", ["relu1_1"])
    features = {f"features.0.{name.rsplit('_')[-1]}": torch.ones(s) for name, s in shapes.items()}
    pickled = io.BytesIO()
    torch.save(features, pickled)
    return {
        "distilled": save({name: one.contiguous() for name, one in weights.items()}, metadata),
        "safetensors": save(features),
        "pth": pickled.getvalue(),
    }


def read_network(kind: str, content: bytes) -> object:
    """What a loss network's file holds, None where it is refused."""
    with TemporaryDirectory() as folder:
        file = Path(folder, f"hostile.{'pth' if kind == 'pth' else 'safetensors'}")
        file.write_bytes(content)
        if kind == "distilled":
            return outcome(lambda: load_distilled(file, ["relu1_2"], torch.float32))
        weights = outcome(lambda: read_weights(file)[0])
        vgg = VGG("vgg16", ["relu1_1"], "caffe")
        return weights and outcome(lambda: vgg.load(weights, file))


def network_changes(kind: str, edits: list[tuple[float, bytes, bool]]) -> None:
    """Bytes overwritten, put in and cut off."""
    read_network(kind, edited(good_networks()[kind], edits))


@pytest.mark.parametrize("kind", ["distilled", "safetensors", "pth"])
def test_the_loss_network_that_is_changed_above_is_good(kind: str) -> None:
    assert read_network(kind, good_networks()[kind]) is not None


ENTRY = TEXT.map(lambda text: f"{text[:200]}.safetensors") | TEXT
ZIP_METHODS = st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
MIX = st.one_of(
    st.text(max_size=50),
    st.lists(st.tuples(TEXT, NUMBER).map(lambda p: f"{p[0][:99]}={p[1]}"[:300])).map(",".join),
    st.text("ab=,.-+_e019 \n\t\u0661\uff11"),
)
ATTACKS = {
    "header": (header_changes, (st.lists(CHANGE, min_size=1, max_size=4),)),
    "bytes": (byte_changes, (EDITS, LENGTH)),
    "trunk": (trunk_changes, (st.none() | CONFIG, EDITS | st.just([]))),
    "zip": (zip_changes, (EDITS | st.just([]), st.lists(ENTRY, max_size=4), ZIP_METHODS)),
    "loss": (network_changes, (st.sampled_from(["distilled", "safetensors", "pth"]), EDITS)),
    "mix": (mixes, (MIX,)),
    "name": (names, (TEXT | st.from_regex(r"[a-z0-9_.-]{0,70}", fullmatch=True),)),
}


def harm(attack: str, many: settings) -> None:
    """Try an attack many times, each in bounded time and all of them in bounded memory."""
    check, strategies = ATTACKS[attack]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many(given(*strategies)(check))()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * (1 if sys.platform == "darwin" else 1024) < MOST_MEMORY


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", ATTACKS)
def test_random_harm(attack: str) -> None:
    harm(attack, often)


@pytest.mark.nightly
@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("attack", ATTACKS)
def test_random_harm_all_night(attack: str) -> None:
    harm(attack, nightly)


HUGE = {
    "a shape of 10^9": [("shape", "conv1.gamma", [10**9])],
    "a shape and offsets of 10^9": [
        ("shape", "conv1.gamma", [10**9]),
        ("data_offsets", "conv1.gamma", [0, 4 * 10**9]),
    ],
    "a title of a million characters": [("metadata", "modelspec.title", "x" * 10**6)],
    "a header over the limit": [("metadata", "modelspec.title", "x" * LARGEST_HEADER)],
    "a long architecture": [("metadata", "modelspec.architecture", "x" * 10**6)],
    "a long version": [("metadata", "stylepack.format_version", "x" * 10**6)],
    "a long name": [("metadata", "stylepack.name", "x" * 10**6)],
    "a long share": [("metadata", "stylepack.own_contrast", "9" * 10**6)],
    "a long trunk": [("metadata", "stylepack.trunk_sha256", "x" * 10**6)],
    "a long tensor": [("rename", "conv1.gamma", "x" * 10**6)],
    "a long wrong tensor": [("rename", "conv1.gamma", "y" * 10**6), ("dtype", "y" * 10**6, "?")],
    "a deep recipe": [("metadata", "stylepack.train", '{"a":' * 900 + "1" + "}" * 900)],
}


@pytest.mark.parametrize("changes", HUGE.values(), ids=HUGE)
def test_huge_packs_are_short_stories(changes: list[tuple[str, str, Any]]) -> None:
    valid = check_pack(changed(changes))
    assert valid == (changes[0][1] in ("modelspec.title", "stylepack.trunk_sha256")) or (
        changes == HUGE["a header over the limit"]
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a git-lfs pointer"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"\x1f\x8b\x08" + bytes(60), "gzip"),
    ],
    ids=["lfs", "html", "gzip"],
)
def test_a_pack_that_is_something_else_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    for read in (lambda: read_header(path, 1 << 20), lambda: parse_content(content, path)):
        with pytest.raises(PackError, match=f"{kind}, not a safetensors file; "):
            read()
