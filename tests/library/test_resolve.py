"""References of packs become checked packs once."""

import sys
from collections import Counter
from pathlib import Path

import pytest

from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.errors import UsageError, WrongTrunkError
from stylepack.library import shelf
from stylepack.library.resolve import resolve
from stylepack.library.shelf import BUNDLED_PACKS


@pytest.fixture
def opened() -> Counter[str]:
    """How often each safetensors file was opened."""
    count: Counter[str] = Counter()

    def note(event: str, details: tuple[object, ...]) -> None:
        if event == "open" and str(details[0]).endswith(".safetensors"):
            count[Path(str(details[0])).stem] += 1

    sys.addaudithook(note)
    return count


def test_apply_opens_each_pack_once_and_reads_each_folder_once(
    photos: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned: list[Path] = []
    scan = shelf._scan
    monkeypatch.setattr(shelf, "_scan", lambda *at: scanned.append(at[0]) or scan(*at))
    words = ["apply", str(photos / "0.jpg"), "--mix", "starry,bundled/wave", "--strength", "0.5"]
    assert stylepack(words) == 0
    assert (opened["starry"], opened["wave"], opened["photo"]) == (1, 1, 1)
    assert scanned.count(BUNDLED_PACKS) == 1
    assert len(scanned) == len(set(scanned))


def test_a_selection_holds_bytes_and_checks_them_when_it_is_loaded(make_pack, tiny_trunk) -> None:
    path = make_pack("dots")
    selection = resolve([str(path)], tiny_trunk[0])
    path.unlink()
    loaded = selection.load()
    assert loaded.sha256 == tiny_trunk[1]
    assert [*loaded.packs] == [str(path)]
    foreign = make_pack("foreign", trunk_sha256="ab" * 32)
    with pytest.raises(WrongTrunkError, match="belongs to trunk abababababab"):
        resolve([str(foreign)], tiny_trunk[0]).load()
    unnamed = make_pack("unnamed", trunk_sha256="")
    with pytest.raises(WrongTrunkError, match="does not say which trunk"):
        resolve([str(unnamed)], tiny_trunk[0]).load(force=False)
    assert resolve([str(unnamed)], tiny_trunk[0]).load(force=True).packs


def test_with_a_trunk_a_plain_name_is_its_pack(make_pack, tiny_trunk) -> None:
    trunk, _ = tiny_trunk
    (trunk.parent / "packs").mkdir()
    beside = make_pack("starry").rename(trunk.parent / "packs" / "starry.safetensors")
    assert resolve(["starry"]).packs["starry"].path == BUNDLED_PACKS / "starry.safetensors"
    assert resolve(["starry"], trunk).packs["starry"].path == beside
    assert resolve(["starry"], BUNDLED_TRUNK).packs["starry"].path.parent == BUNDLED_PACKS
    assert [*resolve([], trunk).load().packs] == ["starry"]


def test_damaged_packs_stop_only_those_who_name_them(make_pack, tiny_trunk) -> None:
    trunk, _ = tiny_trunk
    (trunk.parent / "packs").mkdir()
    make_pack("dots").rename(trunk.parent / "packs" / "dots.safetensors")
    bad = trunk.parent / "packs" / "bad.safetensors"
    bad.write_bytes(b"junk")
    loaded = resolve([], trunk).load()
    assert [*loaded.packs] == ["dots"]
    assert str(loaded.left_out["bad"]).startswith(str(bad))
    assert isinstance(loaded.left_out["wave"], WrongTrunkError)


def test_packs_go_by_their_files_names_and_two_of_one_name_are_refused(
    make_pack, tiny_trunk, tmp_path: Path
) -> None:
    first = make_pack("dots")
    other = tmp_path / "other" / "dots.safetensors"
    other.parent.mkdir()
    other.write_bytes(make_pack("more").read_bytes())
    assert [*resolve([str(first)], tiny_trunk[0]).by_name().packs] == ["dots"]
    with pytest.raises(UsageError, match="two of the packs are named 'dots'"):
        resolve([str(first), str(other)], tiny_trunk[0]).by_name()
