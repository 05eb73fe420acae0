"""The shelf: finding, installing and removing packs, in a home of its own."""

import shlex
import shutil
from pathlib import Path

import pytest
from conftest import BUNDLED, install_pack

from stylepack.errors import PackError, StylepackError, UsageError
from stylepack.library import shelf as shelf_room
from stylepack.library.remove import remove_pack
from stylepack.library.shelf import (
    BUNDLED_PACKS,
    cache_folder,
    check_free,
    find_pack,
    home_folder,
    shelf,
    unfinished_file,
)


def test_the_bundled_packs_are_on_an_empty_shelf() -> None:
    found = shelf()
    assert list(found) == BUNDLED
    assert all(pack.bundled and pack.manifest().name == name for name, pack in found.items())


def test_the_home_is_where_the_variable_says(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert home_folder() == home
    assert cache_folder() == home / "cache"
    monkeypatch.setenv("STYLEPACK_HOME", "~/packs")
    assert home_folder() == Path.home() / "packs"
    monkeypatch.delenv("STYLEPACK_HOME")
    assert home_folder().name == cache_folder().name == "stylepack"
    assert home not in (home_folder(), cache_folder().parent)


def test_a_pack_is_found_by_name_and_by_path(make_pack, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_pack("dots")
    assert find_pack("starry") == BUNDLED_PACKS / "starry.safetensors"
    assert find_pack(str(path)) == path
    monkeypatch.chdir(path.parent)
    assert find_pack("dots.safetensors").samefile(path)
    assert find_pack("./dots.safetensors").samefile(path)
    monkeypatch.setenv("HOME", str(path.parent))
    assert find_pack("~/dots.safetensors") == path


def test_a_file_beside_you_is_not_taken_for_a_name(make_pack, monkeypatch) -> None:
    monkeypatch.chdir(make_pack("dots").parent)
    with pytest.raises(UsageError, match="no pack 'dots'"):
        find_pack("dots")


@pytest.mark.parametrize(("typed", "meant"), [("stary", "starry"), ("waves", "wave")])
def test_a_misspelt_name_gets_a_suggestion(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"no pack '{typed}'; did you mean '{meant}'"):
        find_pack(typed)


def test_a_style_whose_learning_was_stopped_says_how_to_go_on(make_pack, home: Path) -> None:
    file = unfinished_file("dots")
    file.parent.mkdir(parents=True)
    make_pack("dots").rename(file)
    with pytest.raises(UsageError, match="--resume, or install it as it is") as error:
        find_pack("dots")
    assert f"`stylepack packs install {shlex.quote(str(file))}`" in str(error.value)


def test_a_name_like_no_other_is_sent_to_the_list() -> None:
    with pytest.raises(UsageError, match=r"see stylepack\.packs"):
        find_pack("zzzzzz")


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "no/such.safetensors",
        "missing.safetensors",
        "../starry",
        "/",
        "nul\0.safetensors",
        "~nobody-of-this-name/a.safetensors",
        "a" * 300 + ".safetensors",
        "two\nlines",
        "two\nlines.safetensors",
    ],
    ids=lambda reference: repr(reference[:24]),
)
def test_what_is_not_there_is_a_usage_error_in_one_line(reference: str) -> None:
    with pytest.raises(UsageError) as refused:
        find_pack(reference)
    assert str(refused.value).isprintable()


def test_install_copies_to_the_home(make_pack, home: Path) -> None:
    path = make_pack("dots")
    placed = install_pack(path)
    assert not shelf()["dots"].bundled
    assert placed == home / "packs" / "dots.safetensors" == find_pack("dots")
    assert placed.read_bytes() == path.read_bytes()
    assert list(shelf()) == sorted([*BUNDLED, "dots"])


def test_install_under_another_name(make_pack) -> None:
    assert install_pack(make_pack("dots"), name="points").stem == "points"
    assert "points" in shelf()
    assert "dots" not in shelf()


@pytest.mark.parametrize("name", ["../dots", "Dots", "con", "dots.safetensors"])
def test_install_refuses_a_name_that_is_none(make_pack, home: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a pack's name"):
        install_pack(make_pack(), name=name)
    with pytest.raises(UsageError, match="cannot be a pack's name"):
        check_free(name)
    assert not home.exists()


def test_a_taken_name_is_refused_and_the_pack_on_the_shelf_stays(make_pack) -> None:
    placed = install_pack(make_pack("dots", seed=1))
    before = placed.read_bytes()
    other = make_pack("dots", seed=2)
    with pytest.raises(PackError, match=r"'dots' is installed already.*--replace"):
        install_pack(other)
    assert placed.read_bytes() == before
    assert install_pack(other, replace=True) == placed
    assert placed.read_bytes() == other.read_bytes() != before


def test_an_installed_pack_can_be_installed_over_itself(make_pack) -> None:
    placed = install_pack(make_pack("dots"))
    before = placed.read_bytes()
    assert install_pack(placed, replace=True).read_bytes() == before


def test_a_users_pack_shadows_a_bundled_one_until_it_is_removed(make_pack) -> None:
    path = make_pack("starry")
    with pytest.raises(PackError, match=r"'starry' is bundled already.*--replace"):
        install_pack(path)
    placed = install_pack(path, replace=True)
    assert find_pack("starry") == placed
    assert not shelf()["starry"].bundled
    assert remove_pack("starry") == placed
    assert find_pack("starry") == BUNDLED_PACKS / "starry.safetensors"


@pytest.mark.parametrize("broken", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("before", [None, 1], ids=["new", "replaced"])
def test_an_interrupted_install_leaves_nothing(make_pack, home, monkeypatch, broken, before):
    if before:
        old = install_pack(make_pack("dots", seed=before)).read_bytes()

    new = make_pack("dots", seed=2)
    write = Path.write_bytes

    def half(target: Path, content: bytes) -> None:
        write(target, content[:100])
        raise broken

    monkeypatch.setattr(Path, "write_bytes", half)
    expected = StylepackError if isinstance(broken, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        install_pack(new, replace=True)
    left = {path.name: path.read_bytes() for path in (home / "packs").iterdir()}
    assert left == ({"dots.safetensors": old} if before else {})


def test_install_refuses_what_is_no_pack(tiny_trunk, tmp_path: Path, home: Path) -> None:
    for source in (tiny_trunk[0], tmp_path / "missing.safetensors", tmp_path):
        with pytest.raises(StylepackError):
            install_pack(source)
    assert not home.exists()


def test_a_home_that_cannot_be_made_is_named(make_pack, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STYLEPACK_HOME", str(tmp_path / "file"))
    with pytest.raises(StylepackError, match="set STYLEPACK_HOME to a folder you own"):
        install_pack(make_pack())
    assert list(shelf()) == BUNDLED


def test_remove_deletes_a_users_pack(make_pack) -> None:
    placed = install_pack(make_pack("dots"))
    assert remove_pack("dots") == placed
    assert not placed.exists()
    with pytest.raises(UsageError, match="no pack 'dots'"):
        remove_pack("dots")


def test_remove_refuses_bundled_packs_and_paths(make_pack, tmp_path, monkeypatch) -> None:
    # A copy, so that a `remove` that fails this test does not take the package's own.
    monkeypatch.setattr(shelf_room, "BUNDLED_PACKS", tmp_path / "bundled")
    shutil.copytree(BUNDLED_PACKS, tmp_path / "bundled")
    placed = install_pack(make_pack("dots"))
    for name in ("starry", str(placed), str(make_pack("other"))):
        with pytest.raises(UsageError, match="not a pack that you installed"):
            remove_pack(name)
        assert find_pack(name).is_file()


def test_half_written_files_are_not_on_the_shelf(home: Path) -> None:
    (home / "packs").mkdir(parents=True)
    (home / "packs" / ".dots.safetensors").write_bytes(b"")
    (home / "packs" / "notes.txt").write_text("")
    assert list(shelf()) == BUNDLED
