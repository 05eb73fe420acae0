"""Our reader over the files that any reader can be held against (tests/conformance)."""

import json
import re
from pathlib import Path

import pytest
import torch
from conformance import generate

from stylepack.errors import StylepackError
from stylepack.library.archive import packs_in_zip
from stylepack.packs.pack import Pack, check_trunk, load_pack, parse_pack
from stylepack.packs.trunk_file import load_trunk

FOLDER = Path(generate.__file__).parent
INDEX = json.loads((FOLDER / "index.json").read_text(encoding="utf-8"))
BAD = [entry for entry in INDEX if entry["verdict"] == "bad"]
GOOD = [entry for entry in INDEX if entry["verdict"] == "good"]


def read(entry: dict[str, str]) -> list[Pack]:
    """Read a file as its kind, down to the last number and to the trunk that it belongs to."""
    path = FOLDER / entry["file"]
    if entry["kind"] == "trunk":
        load_trunk(path)
        return []
    trunk, digest = load_trunk(FOLDER / "good" / "trunk.safetensors")
    if entry["kind"] == "zip":
        inside = packs_in_zip(path.read_bytes(), str(path))
        packs = [parse_pack(content, trunk.config, name) for name, content in inside]
    else:
        packs = [load_pack(path, trunk.config)]
    for pack in packs:
        check_trunk(pack.manifest, digest, str(path))
    return packs


def test_the_files_are_those_that_the_script_writes() -> None:
    contents, index = generate.files()
    assert index == INDEX
    here = {path for folder in ("good", "bad") for path in (FOLDER / folder).iterdir()}
    assert here == {FOLDER / name for name in contents}
    for name, content in contents.items():
        if not name.endswith(".zip"):  # how deflate packs depends on the version of zlib
            assert (FOLDER / name).read_bytes() == content, name


@pytest.mark.parametrize("entry", GOOD, ids=lambda entry: entry["file"])
def test_good_files_are_read(entry: dict[str, str]) -> None:
    for pack in read(entry):
        assert pack.manifest.name == "dots"
        assert pack.style[:8].tolist() == [1, 1.25, 1.5, 1.75, 0, -0.5, -1, -1.5]
        assert bool(torch.isfinite(pack.style).all())
        assert pack.manifest.own_contrast == (0.5 if "everything" in entry["file"] else 0)


@pytest.mark.parametrize("entry", BAD, ids=lambda entry: entry["file"])
def test_bad_files_are_refused_in_one_line(entry: dict[str, str]) -> None:
    with pytest.raises(StylepackError, match=re.escape(entry["stylepack_says"])) as refused:
        read(entry)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 600


def test_no_file_is_large() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 500_000
