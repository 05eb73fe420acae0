"""A style in seconds: learned once, cached, painted with, installed, and continued."""

import shutil
import time
from pathlib import Path

import pytest
import torch
from conftest import picture

import stylepack as api
from stylepack.bundled import BUNDLED_PHOTOS, BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.errors import TrainingError, UsageError
from stylepack.images.photo import read_photo
from stylepack.library.resolve import resolve
from stylepack.library.shelf import cache_folder
from stylepack.packs.manifest import IDENTITY, read_manifest
from stylepack.recipe import Recipe
from stylepack.training import add_style as adding
from stylepack.training import quick as module
from stylepack.training.finetune import REFINING_CROP, REFINING_STEPS, Finetune
from stylepack.training.quick import QuickStyle, can_be_quick, quick_name

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def few_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UPDATES", 4)
    monkeypatch.setattr(module, "CROP", 64)


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    path = tmp_path / "Dusk No 2.png"
    picture(96, 80, 3).save(path)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture(64, 48, 5).save(path)
    return path


def cached() -> list[Path]:
    return sorted((cache_folder() / "paintings").rglob("*.safetensors"))


def test_a_painting_is_learned_once_and_painted_with(
    painting: Path, photo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["apply", str(photo), "--painting", str(painting)]
    assert stylepack(words) == 0
    out, err = capsys.readouterr()
    target = photo.with_name("photo.dusk-no-2.png")
    assert out.strip() == str(target)
    assert "stylepack add-style" in err
    (pack,) = cached()
    first, learned = target.read_bytes(), pack.stat().st_mtime_ns
    monkeypatch.setattr(module, "_Descent", None)  # it must not be learned again
    assert stylepack(words) == 0
    assert "add-style" not in capsys.readouterr().err
    assert target.read_bytes() == first
    assert cached() == [pack]
    assert pack.stat().st_mtime_ns == learned


def test_learning_lowers_the_loss_of_the_nearest_mix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UPDATES", 10)
    losses = Recipe(content_weight=0.5, tone_weight=0.0)  # the style loss is most of their sum
    style = QuickStyle.of(BUNDLED_PHOTOS / "coffee.png", recipe=losses)
    loaded = resolve(()).load()
    work = module._Descent(style, loaded.trunk, loaded.packs, CPU)
    targets = work.objective.content_targets(work.crops[0])
    before, _ = work._gradient(work.crops[0], targets, 0)
    assert [step.done for step in work.updates()] == [*range(1, len(style) + 1)]
    work.style = work.average
    after, _ = work._gradient(work.crops[0], targets, 0)
    assert after < 0.8 * before


def test_the_same_painting_under_another_name_is_not_learned_again(
    painting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in QuickStyle.of(painting).learn(CPU):
        pass
    other = painting.with_name("evening.png")
    shutil.copy(painting, other)
    monkeypatch.setattr(module, "_Descent", None)
    style = QuickStyle.of(other)
    assert not style.is_learned
    assert list(style.learn(CPU)) == []
    manifest = read_manifest(style.file)
    assert (manifest.name, manifest.title) == ("evening", "evening")


def test_another_painting_trunk_weight_or_loss_network_is_another_style(
    painting: Path,
    tiny_trunk: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = tmp_path / "other.png"
    picture(96, 80, 4).save(other)
    files = {
        QuickStyle.of(painting).file,
        QuickStyle.of(other).file,
        QuickStyle.of(painting, tiny_trunk[0]).file,
        QuickStyle.of(painting, None, Recipe(style_weight=5.0)).file,
    }
    assert len(files) == 4
    assert QuickStyle.of(painting, BUNDLED_TRUNK).file in files
    newer = tmp_path / "newer.safetensors"
    newer.write_bytes(b"of the next version")
    monkeypatch.setattr(module, "BUNDLED_LOSS_NETWORK", newer)
    assert QuickStyle.of(painting).file not in files


def test_a_damaged_pack_in_the_cache_is_learned_again(painting: Path) -> None:
    style = QuickStyle.of(painting)
    for _ in style.learn(CPU):
        pass
    whole, before = style.file.read_bytes(), style.pack().style
    style.file.write_bytes(whole[: len(whole) // 2])
    assert not style.is_learned
    assert len(list(style.learn(CPU))) == 4
    assert torch.equal(style.pack().style, before)


def test_a_time_limit_ends_learning_and_leaves_the_cache_empty(painting: Path) -> None:
    style, updates = QuickStyle.of(painting), 0
    learning = style.learn(CPU, until=time.monotonic())
    while True:
        try:
            next(learning)
        except StopIteration as ended:
            pack = ended.value
            break
        updates += 1
    assert pack.manifest.train["updates"] == updates == 1
    assert not style.is_learned
    assert len(list(style.learn(CPU))) == 4


@pytest.mark.parametrize(
    ("file", "name"),
    [("Monet - Water Lilies.jpg", "monet-water-lilies"), ("睡蓮.jpg", "painting"),
     (f"{IDENTITY}.jpg", "painting")],
)  # fmt: skip
def test_any_file_name_gives_a_pack_name(file: str, name: str) -> None:
    assert quick_name(Path(file)) == name


def test_what_is_wrong_with_the_painting_is_one_line(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grey = tmp_path / "grey.png"
    picture(64, 64).convert("L").point(lambda _: 90).save(grey)
    text = tmp_path / "text.jpg"
    text.write_text("no picture")
    for file, code, words in (
        (tmp_path / "none.jpg", 2, "no such file"),
        (tmp_path, 2, "is a folder"),
        (grey, 1, "only one colour"),
        (text, 1, "text.jpg"),
    ):
        assert stylepack(["apply", str(photo), "--painting", str(file)]) == code
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1
    assert not cached()
    assert [path.name for path in tmp_path.glob("photo.*")] == ["photo.png"]


def test_a_painting_and_a_mix_are_refused_together(
    painting: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for other in (["--style", "starry"], ["--mix", "starry=1"]):
        assert stylepack(["apply", str(photo), "--painting", str(painting), *other]) == 2
        assert "one of --painting, --style or --mix" in capsys.readouterr().err
    with pytest.raises(UsageError, match="one of mix and painting"):
        api.Stylizer.load("starry", painting=painting)
    with pytest.raises(UsageError, match="a painting"):
        api.Stylizer.load()


def test_python_paints_what_the_command_line_does(painting: Path, photo: Path) -> None:
    painted = api.Stylizer.load(painting=painting, device="cpu").paint(photo)
    assert stylepack(["apply", str(photo), "--painting", str(painting), "--device", "cpu"]) == 0
    again = read_photo(photo.with_name("photo.dusk-no-2.png"))
    assert torch.equal(painted.pixels, again.pixels)


def test_a_loss_that_is_not_finite_leaves_no_pack(
    painting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module._Descent, "_gradient", lambda *_: (float("nan"), torch.zeros(())))
    with pytest.raises(TrainingError, match="the loss is nan"):
        list(QuickStyle.of(painting).learn(CPU))
    assert not cached()


def test_add_style_starts_from_the_first_version(
    painting: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    style = QuickStyle.of(painting, recipe=Recipe(loss_network="bundled"))
    for _ in style.learn(CPU):
        pass
    started = []

    class StartedError(Exception):
        pass

    def train(work: Finetune) -> None:
        started.append((work.earlier.style, work.trainer.parameters["style"][0], work.recipe))
        raise StartedError

    monkeypatch.setattr(Finetune, "train", train)
    with pytest.raises(StartedError):
        api.add_style(painting, "dusk", photos=photos, loss_network="bundled", device="cpu")
    ((earlier, parameter, recipe),) = started
    (pack,) = resolve([str(style.file)]).load().packs.values()
    assert torch.equal(earlier, pack.style)
    assert torch.equal(parameter, pack.style)
    assert (recipe.updates, recipe.crop) == (REFINING_STEPS, REFINING_CROP)
    assert len(cached()) == 2  # one a name


def test_few_updates_or_other_layers_start_from_a_mix(painting: Path) -> None:
    described = module.describe(painting, "dusk", {})
    assert adding.first_version(described, BUNDLED_TRUNK, Recipe(), 2) is None
    assert adding.first_version(described, BUNDLED_TRUNK, Recipe()) is not None
    assert can_be_quick(Recipe())
    assert not can_be_quick(Recipe(relative=False))
    assert not can_be_quick(Recipe(content_layers=("relu3_3",)))


def test_a_new_style_weighs_light_and_dark_more_than_a_trunk() -> None:
    for recipe in adding.planned(Recipe(), None, None), module.quick_recipe(Recipe()):
        assert recipe.tone_weight == 4 * Recipe().tone_weight > 0
        assert recipe.content_weight == 2 * Recipe().content_weight


def test_a_folder_of_paintings_becomes_packs(
    paintings: Path, capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    damaged = paintings / "torn.png"
    damaged.write_bytes((paintings / "dawn.png").read_bytes()[:200])
    assert stylepack(["packs", "make", str(paintings), "--license", "CC0-1.0"]) == 1
    out, err = capsys.readouterr()
    assert {Path(line).stem for line in out.split()} == {"dawn", "dusk-over-sea"}
    assert "1 of 3 paintings failed; the rest are installed" in err
    assert "torn.png" in err
    manifest = read_manifest(home / "packs" / "dawn.safetensors")
    assert manifest.license == "CC0-1.0"
    assert manifest.train["updates"] == 4
    damaged.unlink()
    assert stylepack(["packs", "make", str(paintings)]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "'dawn' is installed already; --replace replaces it" in err


def test_facts_of_the_paintings_are_in_their_packs(paintings: Path, home: Path) -> None:
    (paintings / "paintings.csv").write_text("name,title,artist\ndawn,At Dawn,A. Painter\n")
    for _ in QuickStyle.of(paintings / "dawn.png").learn(CPU):  # without the facts
        pass
    assert stylepack(["packs", "make", str(paintings)]) == 0
    manifest = read_manifest(home / "packs" / "dawn.safetensors")
    assert (manifest.title, manifest.style_image["artist"]) == ("At Dawn", "A. Painter")


def test_a_cache_that_cannot_be_written_is_one_line(
    painting: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache_folder().parent.mkdir(parents=True, exist_ok=True)
    cache_folder().write_text("a file")
    assert stylepack(["apply", str(photo), "--painting", str(painting)]) == 1
    err = capsys.readouterr().err
    assert "cannot make" in err
    assert err.count("\n") == 1
