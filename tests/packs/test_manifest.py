"""What a pack says about itself: names, versions, metadata; all of it without torch."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BUNDLED

from stylepack.errors import PackError
from stylepack.packs.manifest import Manifest, checked_name, read_manifest
from stylepack.packs.tensors import write_tensors

JSON_KEYS = ["stylepack.style_image", "stylepack.train", "stylepack.metrics"]


@pytest.fixture
def with_metadata(tmp_path: Path):
    """Write a pack of no tensors whose metadata is a good one changed; None drops a key."""

    def write(**changes: str | None) -> Path:
        metadata = Manifest("dots", "ab" * 32).to_metadata()
        changed = {key.replace("__", "."): value for key, value in changes.items()}
        fields = {k: v for k, v in {**metadata, **changed}.items() if v is not None}
        path = tmp_path / "odd.safetensors"
        write_tensors(path, {}, fields)
        return path

    return write


def message(path: Path) -> str:
    with pytest.raises(PackError) as refused:
        read_manifest(path)
    text = str(refused.value)
    assert str(path) in text
    assert text.isprintable()
    return text


NOT_NAMES = [
    *("", ".", "..", "../evil", "a/b", "/etc/passwd", "a\\b", "c:evil", "a.b", ".hidden"),
    *("Starry", "É", "a b", " a", "a ", "-a", "_a", "a" * 65),
    *("con", "prn", "aux", "nul", "com1", "com9", "lpt1", "lpt9"),
    *("a\n", "\na", "a\0", "a\x1b[31m", "a\u202eb", "\uff41"),
]


@pytest.mark.parametrize("name", NOT_NAMES)
def test_what_cannot_be_a_file_name_everywhere_is_no_pack_name(with_metadata, name: str) -> None:
    assert "name" in message(with_metadata(stylepack__name=name))
    with pytest.raises(PackError) as refused:
        checked_name(name, "--name")
    assert str(refused.value).startswith("--name: ")


@pytest.mark.parametrize("name", ["a", "0", "a" * 64, "starry-night_2", "com", "con1", "com10"])
def test_a_plain_name_is_kept(with_metadata, name: str) -> None:
    assert read_manifest(with_metadata(stylepack__name=name)).name == name


def test_a_pack_without_a_name_is_refused(with_metadata) -> None:
    assert "name" in message(with_metadata(stylepack__name=None))


@pytest.mark.parametrize("other", [None, "", "stylepack-cin-v1", "stable-diffusion-v1/lora", "a\n"])
def test_another_architecture_is_refused_and_shown(with_metadata, other: str | None) -> None:
    text = message(with_metadata(modelspec__architecture=other))
    assert repr(other) in text
    assert "stylepack-cin-v1/style" in text


@pytest.mark.parametrize("version", [None, "2", "1.0", "one\n"])
def test_another_format_version_says_how_to_upgrade(with_metadata, version: str | None) -> None:
    text = message(with_metadata(stylepack__format_version=version))
    assert repr(version) in text
    assert "pip install -U stylepack" in text


@pytest.mark.parametrize("key", JSON_KEYS)
@pytest.mark.parametrize(
    "damage",
    ["{", "[1]", "3", "null", '"x"', "nonsense", "[" * 100_000, "9" * 5000],
    ids=["cut", "list", "number", "null", "text", "nonsense", "deep", "endless"],
)
def test_damaged_json_metadata_is_refused_by_its_key(with_metadata, key: str, damage: str) -> None:
    assert key in message(with_metadata(**{key.replace(".", "__"): damage}))


@pytest.mark.parametrize("key", JSON_KEYS)
def test_absent_json_metadata_is_empty(with_metadata, key: str) -> None:
    manifest = read_manifest(with_metadata())
    assert getattr(manifest, key.partition(".")[2]) == {}


def test_the_title_of_an_untitled_pack_is_its_name(with_metadata) -> None:
    assert read_manifest(with_metadata()).title == "dots"


def test_empty_fields_take_no_room_in_the_file() -> None:
    assert "" not in Manifest("dots").to_metadata().values()


def test_manifests_are_read_without_torch(make_pack) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; from pathlib import Path\n"
        "from stylepack.library import shelf; from stylepack.packs import header, manifest, mix\n"
        "print(manifest.read_manifest(Path(sys.argv[1])).title, *shelf.shelf())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, make_pack("dots")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["Dots", *BUNDLED]
