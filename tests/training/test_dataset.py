"""The training photographs: which ones, what is skipped, and the same draw every time."""

import shutil
import threading
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import picture
from PIL import Image
from torch import Tensor

from stylepack.bundled import BUNDLED_PHOTOS, PHOTO_NAMES
from stylepack.errors import TrainingError, UsageError
from stylepack.recipe import Recipe, RecipeChanges
from stylepack.training.dataset import Batch, Batches, PhotoFolder, decoded, random_crop

SMALL = Recipe(crop=32, photo_side=40, style_side=32, updates=8, batch=2)
MIDDLE = (0.5, 0.5, 0.5, 0.5)


def crop(path: Path) -> Tensor:
    return random_crop(decoded(path, 40), 32, 40, MIDDLE)


def drawn(folder: Path, recipe: Recipe = SMALL, first: int = 0, styles: int = 3) -> list[Batch]:
    return list(Batches(PhotoFolder.open(folder), recipe, styles, first))


def same(one: Iterable[Batch], two: Iterable[Batch]) -> bool:
    return all(
        a.update == b.update and torch.equal(a.photos, b.photos) and torch.equal(a.styles, b.styles)
        for a, b in zip(one, two, strict=True)
    )


def test_a_copy_of_a_painting_is_left_out_whatever_its_name(photos: Path, paintings: Path) -> None:
    (photos / "deep").mkdir()
    copy = photos / "deep" / "holiday.jpg"
    shutil.copyfile(paintings / "dawn.png", copy)
    folder = PhotoFolder.open(photos, [paintings / "dawn.png", paintings / "Dusk Over Sea.png"])
    assert [path.name for path in folder.paths] == [f"{index}.jpg" for index in range(6)]
    assert folder.journal.skipped == [f"{copy} is one of the paintings"]


def test_paintings_among_the_bundled_photographs_are_not_learned_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(BUNDLED_PHOTOS, tmp_path / "photos")
    picture(40, 32).save(tmp_path / "photos" / "chelsea.starry.png")
    monkeypatch.setattr("stylepack.training.dataset.BUNDLED_PHOTOS", tmp_path / "photos")
    names = [path.name for path in PhotoFolder.open(tmp_path / "photos").paths]
    assert names == sorted(PHOTO_NAMES)
    assert names == [path.name for path in PhotoFolder.open(BUNDLED_PHOTOS).paths]


def test_a_photo_of_a_paintings_size_and_name_is_kept(photos: Path, tmp_path: Path) -> None:
    painting = tmp_path / "0.jpg"
    content = (photos / "0.jpg").read_bytes()
    painting.write_bytes(content[:-3] + b"\0" + content[-2:])
    folder = PhotoFolder.open(photos, [painting])
    assert len(folder.paths) == 6
    assert folder.journal.skipped == []


def test_a_folder_of_nothing_but_the_paintings_is_refused(paintings: Path) -> None:
    with pytest.raises(TrainingError, match="has only the paintings; add photographs") as error:
        PhotoFolder.open(paintings, sorted(paintings.glob("*.png")))
    assert str(paintings) in str(error.value)


def test_a_missing_or_empty_folder_is_a_usage_error(tmp_path: Path) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError) as error:
            PhotoFolder.open(folder)
        assert str(folder) in str(error.value)


def test_a_broken_photo_is_named_once_and_the_next_is_taken(photos: Path) -> None:
    (photos / "2.jpg").write_bytes(b"not a photograph")
    folder = PhotoFolder.open(photos)
    for _ in range(3):
        assert torch.equal(folder.read_first(2, crop), crop(photos / "3.jpg"))
    (message,) = folder.journal.skipped
    assert str(photos / "2.jpg") in message


def test_the_search_for_a_photo_goes_round(photos: Path) -> None:
    (photos / "5.jpg").write_bytes(b"")
    assert torch.equal(PhotoFolder.open(photos).read_first(5, crop), crop(photos / "0.jpg"))


def test_a_photo_deleted_during_training_is_skipped_like_a_broken_one(photos: Path) -> None:
    folder = PhotoFolder.open(photos)
    (photos / "2.jpg").unlink()
    assert torch.equal(folder.read_first(2, crop), crop(photos / "3.jpg"))
    assert len(folder.journal.skipped) == 1


def test_photos_that_are_all_broken_are_refused(photos: Path) -> None:
    for path in photos.iterdir():
        path.write_bytes(b"not a photograph")
    with pytest.raises(TrainingError, match="none of the 6 photographs can be read"):
        drawn(photos)


def test_broken_photos_are_named_once_in_all_batches(photos: Path) -> None:
    (photos / "1.jpg").write_bytes(b"not a photograph")
    folder = PhotoFolder.open(photos)
    batches = Batches(folder, SMALL.changed(RecipeChanges(updates=12)), 3)
    assert len(list(batches)) == 12
    assert len(folder.journal.skipped) == 1


@pytest.mark.parametrize("broken", [False, True])
def test_batches_are_the_same_every_time_and_from_wherever_they_start(photos, broken) -> None:
    if broken:
        (photos / "4.jpg").write_bytes(b"not a photograph")
    batches = drawn(photos)
    assert [batch.update for batch in batches] == list(range(8))
    assert same(batches, drawn(photos))
    for first in (1, 5, 8):
        assert same(batches[first:], drawn(photos, first=first))
    assert not same(batches, drawn(photos, SMALL.changed(RecipeChanges(seed=1))))


def test_a_batch_has_the_shape_of_the_recipe(photos: Path) -> None:
    recipe = SMALL.changed(RecipeChanges(first_crop=48, updates=4, batch=3))
    batches = drawn(photos, recipe)
    assert [tuple(batch.photos.shape[1:]) for batch in batches] == [(3, 48, 48)] * 2 + [
        (3, 32, 32)
    ] * 2
    assert {batch.photos.dtype for batch in batches} == {torch.uint8}
    assert all(batch.styles.shape == (3,) for batch in batches)


def test_every_photo_is_seen_once_an_epoch(tmp_path: Path) -> None:
    for shade in range(6):
        Image.new("RGB", (40, 40), (shade * 40,) * 3).save(tmp_path / f"{shade}.png")
    batches = drawn(tmp_path, SMALL.changed(RecipeChanges(updates=6)))
    shades = [int(photo.float().mean()) // 40 for batch in batches for photo in batch.photos]
    assert sorted(shades[:6]) == sorted(shades[6:]) == list(range(6))
    assert shades[:6] != shades[6:]


def test_styles_are_drawn_at_random_or_in_turn(photos: Path) -> None:
    recipe = SMALL.changed(RecipeChanges(updates=40))
    counts = torch.bincount(torch.cat([batch.styles for batch in drawn(photos, recipe)]))
    assert len(counts) == 3
    assert counts.min() > 10
    turns = drawn(photos, replace(SMALL, selection="round-robin"))
    assert [batch.styles.tolist() for batch in turns] == [[i % 3] * 2 for i in range(8)]


def test_a_stopped_iteration_leaves_no_threads_working(photos: Path) -> None:
    batches = iter(Batches(PhotoFolder.open(photos), SMALL, 3))
    first = next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("photographs")]
    assert same([first], drawn(photos)[:1])


@pytest.mark.parametrize(("count", "held_out"), [(5, 1), (9, 1), (20, 2), (1000, 24)])
def test_the_split_is_stable_and_disjoint(tmp_path: Path, count: int, held_out: int) -> None:
    paths = [tmp_path / f"{index:04}.jpg" for index in range(count)]
    picture(8, 8).save(paths[0])
    for path in paths[1:]:
        path.hardlink_to(paths[0])
    kept, out = PhotoFolder(paths).split()
    assert len(out.paths) == held_out
    assert sorted(kept.paths + out.paths) == paths
    assert (kept.paths, out.paths) == (sorted(kept.paths), sorted(out.paths))
    again = PhotoFolder(list(paths)).split()
    assert (again[0].paths, again[1].paths) == (kept.paths, out.paths)


def test_fewer_than_five_photos_serve_for_both() -> None:
    paths = [Path(f"{index}.jpg") for index in range(4)]
    folder = PhotoFolder(paths)
    folder.journal.skip("a is one of the paintings")
    kept, out = folder.split()
    assert kept.paths == out.paths == paths
    assert kept.journal.skipped == ["a is one of the paintings"]
