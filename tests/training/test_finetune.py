"""Where a new style starts from, and when its learning stops."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import picture
from hypothesis import given, settings
from hypothesis import strategies as st

from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.library.remove import hide_packs
from stylepack.library.resolve import resolve
from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource
from stylepack.packs.manifest import IDENTITY, Manifest
from stylepack.packs.pack import Pack
from stylepack.packs.trunk_file import load_trunk
from stylepack.recipe import Recipe
from stylepack.training import finetune as module
from stylepack.training.dataset import Batch
from stylepack.training.finetune import PREVIEW_WEIGHTS, Finetune, finetune_recipe
from stylepack.training.initial import (
    FEWEST,
    least_on_simplex,
    mean_style,
    nearest_mix,
    style_rates,
)
from stylepack.training.paintings import describe

CPU = torch.device("cpu")
SMALL = Recipe(batch=2, crop=32, photo_side=48, style_side=48)


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    path = tmp_path / "dream.png"
    picture(80, 64, 7).save(path)
    return path


def finetune(painting: Path, photos: Path, vgg_file: Path, steps: int, **more: float) -> Finetune:
    recipe = finetune_recipe(SMALL, steps)
    described = describe(painting, "dream", {})
    return Finetune(described, photos, BUNDLED_TRUNK, recipe, WeightSource(vgg_file), CPU, **more)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(0, 100))
def test_the_simplex_solver_finds_nothing_better_among_random_weights(k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(k, 8, generator=generator, dtype=torch.float64)
    target = torch.randn(8, generator=generator, dtype=torch.float64)
    found = least_on_simplex(points @ points.T, points @ target)
    assert float(found.sum()) == pytest.approx(1)
    assert bool((found >= 0).all())
    others = torch.rand(200, k, generator=generator, dtype=torch.float64)
    others /= others.sum(1, keepdim=True)
    distance = (found @ points - target).square().sum()
    assert distance <= (others @ points - target).square().sum(1).min() * 1.01


def test_a_painting_that_looks_like_a_pack_starts_there(vgg_file: Path) -> None:
    loaded = resolve([]).load()
    trunk, packs = loaded.trunk, loaded.packs
    name = next(name for name in packs if name != IDENTITY)
    photos = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        painted = trunk(photos, packs[name].style)
        objective = _objective_on(vgg_file, painted[0])
    mix = nearest_mix(trunk, packs, objective, photos[:1])
    assert sum(mix.values()) == pytest.approx(1)
    assert IDENTITY not in mix
    assert max(mix, key=lambda one: mix[one]) == name
    assert mix[name] > 0.9


def test_without_packs_it_starts_from_nothing(vgg_file: Path) -> None:
    trunk, _ = load_trunk(BUNDLED_TRUNK)
    objective = _objective_on(vgg_file, torch.rand(3, 48, 48))
    photos = torch.rand(1, 3, 32, 32)
    only_identity = {IDENTITY: Pack(Manifest(IDENTITY), trunk.config.neutral_style())}
    assert nearest_mix(trunk, only_identity, objective, photos) == {}
    assert torch.equal(mean_style(only_identity, trunk.config), trunk.config.neutral_style())


def test_the_users_pack_comes_before_the_one_beside_the_trunk(tmp_path: Path, home: Path) -> None:
    loaded = resolve([]).load()
    trunk, packs = loaded.trunk, loaded.packs
    name, pack = next(iter(packs.items()))
    (home / "packs").mkdir(parents=True)
    (tmp_path / "packs").mkdir()
    ours = replace(pack, style=pack.style + 1)
    ours.save(home / "packs" / f"{name}.safetensors", trunk.config)
    pack.save(tmp_path / "packs" / f"{name}.safetensors", trunk.config)
    pack.save(tmp_path / "packs" / "beside.safetensors", trunk.config)
    shutil.copy(BUNDLED_TRUNK, tmp_path)
    found = resolve([], tmp_path / BUNDLED_TRUNK.name).load().packs
    assert torch.equal(found[name].style, pack.style + 1)
    assert torch.equal(found["beside"].style, pack.style)


def test_learning_stops_when_the_held_out_loss_no_longer_falls(
    painting: Path, photos: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHECK_EVERY", 2)
    monkeypatch.setattr(module, "FINISH", 3)
    work = finetune(painting, photos, vgg_file, 50)
    losses = iter([1.0, 0.9, 0.95, 0.91, 0.92, 0.93, 0.94, 0.1])
    seen = []

    def loss(batch: object) -> float:
        seen.append(work.trainer.average["style"].clone())
        return next(losses)

    monkeypatch.setattr(work, "_loss", loss)
    steps = list(work.train())
    assert len(steps) == 13  # three checks of two updates without progress, and three more
    assert steps[-1].learning_rate < 0.2 * steps[8].learning_rate
    assert torch.equal(work.best, seen[3])  # 0.91 is as good as the 0.9 before it


def test_the_held_out_loss_falls(painting: Path, photos: Path, vgg_file: Path) -> None:
    work = finetune(painting, photos, vgg_file, 30)
    before = work._loss(work._with_targets(next(iter(work._batches()))))
    assert len(list(work.train())) == 30
    after = work._loss(work._with_targets(next(iter(work._batches()))))
    assert after < before


def test_max_time_ends_learning_with_the_rate_decayed(
    painting: Path, photos: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = finetune(painting, photos, vgg_file, 100_000, max_time=12.0)
    seconds = itertools.count()
    work.begun = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    steps = list(work.train())
    assert 6 <= len(steps) <= 12
    assert steps[-1].learning_rate < 0.2 * max(step.learning_rate for step in steps)


def test_what_was_spent_before_learning_is_no_measure_of_its_speed(
    painting: Path, photos: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = finetune(painting, photos, vgg_file, 100, max_time=60.0)
    seconds = itertools.count()
    work.begun = -50.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    assert len(list(work.train())) == 10


def test_updates_that_are_reported_together_are_judged_together(
    painting: Path, photos: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged = []

    def loss(work: Finetune, batch: Batch) -> float:
        judged.append(work.trainer.update)
        return 1.0 / len(judged)

    monkeypatch.setattr(Finetune, "_loss", loss)
    work = finetune(painting, photos, vgg_file, 60)
    work.trainer.group = 7  # on CUDA there are more
    assert [step.update for step in work.train()] == [*range(1, 61)]
    assert judged == [28, 56, 60]


def test_a_batch_drawn_again_has_the_targets_it_had(
    painting: Path, photos: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "POOL", 2)
    work = finetune(painting, photos, vgg_file, 5)
    batches = list(work._batches())
    assert [batch.update for batch in batches] == [0, 1, 2, 3, 4]
    assert batches[0].photos is batches[2].photos is batches[4].photos
    assert batches[1].targets is batches[3].targets
    for batch in batches[:2]:
        assert batch.targets is not None
        fresh = work.trainer.objective.content_targets(batch.photos.float() / 255)
        assert all(torch.equal(fresh[layer], batch.targets[layer]) for layer in fresh)


def test_a_preview_paints_every_weight_and_installs_nothing(
    painting: Path,
    photos: Path,
    vgg_file: Path,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stylepack.training.finetune.PREVIEW_CELL", 40)
    recipe = tmp_path / "small.toml"
    recipe.write_text("batch = 2\ncrop = 32\nphoto_side = 40\nstyle_side = 48\n")
    options = ["--photos", str(photos), "--vgg-weights", str(vgg_file), "--recipe", str(recipe)]
    command = ["add-style", str(painting), *options, "--preview", "--updates", "2"]
    assert stylepack(command) == 0
    assert capsys.readouterr().out.strip() == "dream.preview.png"
    with Image.open("dream.preview.png") as sheet:
        assert sheet.width > (len(PREVIEW_WEIGHTS) + 2) * 40
    assert not home.exists()

    styles = tmp_path / "styles"
    styles.mkdir()
    painting.rename(styles / "dream.png")
    monkeypatch.setattr("stylepack.training.finetune.PREVIEW_STEPS", 1)
    run = tmp_path / "run"
    assert stylepack(["train", "--styles", str(styles), *options, "-o", str(run), "--preview"]) == 0
    assert sorted(path.name for path in run.iterdir()) == ["preview.png"]


def _objective_on(vgg_file: Path, painting: torch.Tensor) -> Objective:
    from stylepack.losses.weights import load_loss_network

    network = load_loss_network(SMALL, WeightSource(vgg_file), CPU, torch.float32)
    return Objective(network, SMALL, [painting])


def test_numbers_that_differ_between_packs_learn_faster() -> None:
    trunk, _ = load_trunk(BUNDLED_TRUNK)
    size = trunk.config.style_size
    styles = torch.ones(FEWEST, size)
    styles[:, 0] += torch.arange(FEWEST) * 0.1
    styles[:, 1] += torch.arange(FEWEST) * 0.2
    packs = {
        f"p{i}": Pack(Manifest(name=f"p{i}", trunk_sha256=""), s) for i, s in enumerate(styles)
    }
    rates = style_rates(packs, trunk.config)
    assert rates.mean().item() == pytest.approx(1)
    assert 1 < rates[0] <= rates[1]
    assert 0 < rates[2:].max() < 1
    del packs["p0"]
    assert style_rates(packs, trunk.config).tolist() == [1.0] * size


def test_hidden_packs_are_no_start() -> None:
    assert {"starry", "wave"} < resolve([]).load().packs.keys()
    hide_packs(["starry"])
    assert "starry" not in resolve([]).load().packs
