"""Folders of photographs: which files count, and in what order."""

from pathlib import Path

import pytest

from stylepack.errors import UsageError
from stylepack.images.formats import find_images


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_images_are_found_in_order_under_every_folder(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a.PNG", "c.webp", "deep/er/a.JPEG", "notes.txt", "jpg", "d.jpg.part")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.PNG", "b.jpg", "c.webp", "deep/er/a.JPEG"]


def test_a_folder_named_like_an_image_is_none(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "folder.jpg/b.png")
    assert [path.name for path in find_images(tmp_path)] == ["a.jpg", "b.png"]


@pytest.mark.parametrize("hidden", [".hidden.jpg", "._a.jpg", ".thumbnails/a.jpg"])
def test_hidden_images_are_left_out(tmp_path: Path, hidden: str) -> None:
    touch(tmp_path, "seen.jpg", hidden)
    assert [path.name for path in find_images(tmp_path)] == ["seen.jpg"]


def test_a_folder_inside_a_hidden_one_can_be_asked_for(tmp_path: Path) -> None:
    touch(tmp_path, ".cache/photos/a.jpg")
    assert len(find_images(tmp_path / ".cache" / "photos")) == 1


def test_one_file_may_be_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.jpg", "gallery.png", "deep/gallery.png")
    monkeypatch.chdir(tmp_path)
    found = find_images(Path(), Path("gallery.png"))
    assert [path.as_posix() for path in found] == ["a.jpg", "deep/gallery.png"]


@pytest.mark.parametrize("names", [[], ["notes.txt"], [".hidden.jpg"]])
def test_a_folder_without_images_says_what_was_expected(tmp_path: Path, names: list[str]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(UsageError, match=r"no images in .*expected files like \.jpg") as refused:
        find_images(tmp_path)
    assert str(tmp_path) in str(refused.value)


@pytest.mark.parametrize(("name", "words"), [("missing", "no such folder"), ("a.jpg", "is a file")])
def test_what_is_no_folder_is_named(tmp_path: Path, name: str, words: str) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match=words) as refused:
        find_images(tmp_path / name)
    assert str(tmp_path / name) in str(refused.value)
