"""What only a graphics card can show.

STYLEPACK_TEST_DEVICE=cpu runs these on the CPU instead, which proves the tests and little more.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.cli.main import run as stylepack
from stylepack.images.photo import Photo, read_photo
from stylepack.inference.strips import StripBudget
from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource, load_vgg
from stylepack.network.trunk import Trunk
from stylepack.painting.stylizer import Stylizer, memory_for
from stylepack.recipe import Recipe
from stylepack.training import batch_size
from stylepack.training.batch_size import find_batch
from stylepack.training.dataset import Batch, Batches, PhotoFolder
from stylepack.training.trainer import Step, Trainer

NAME = os.environ.get("STYLEPACK_TEST_DEVICE", "cuda")
DEVICE, CPU = torch.device(NAME), torch.device("cpu")
CARD = DEVICE.type == "cuda"
pytestmark = pytest.mark.skipif(CARD and not torch.cuda.is_available(), reason="no CUDA device")
card_only = pytest.mark.skipif(not CARD, reason="of a card's own memory")
SMALL = Recipe(crop=64, photo_side=80, style_side=64, updates=30, batch=2, warmup=0, grain=0.0)


@pytest.fixture
def make_trainer(vgg_file: Path) -> Callable[..., Trainer]:
    """A trainer of a tiny trunk with two styles, the second the identity style."""

    def make(device: torch.device = DEVICE, **more: bool) -> Trainer:
        torch.manual_seed(0)
        vgg = load_vgg(SMALL, WeightSource(vgg_file), device, torch.float32)
        objective = Objective(vgg, SMALL, [torch.rand(3, 64, 64), None])
        trunk, styles = Trunk(TINY).to(device), TINY.neutral_style().repeat(2, 1).to(device)
        trainer = Trainer(trunk, styles, objective, SMALL, frozen=False, **more)
        trainer.dtype = torch.float32
        return trainer

    return make


@pytest.fixture
def little_memory() -> Iterator[Callable[[float], None]]:
    """Lets this process have so many bytes of the card's memory, until the test ends."""

    def allow(size: float) -> None:
        torch.cuda.empty_cache()
        _, total = torch.cuda.mem_get_info(DEVICE)
        taken = torch.cuda.memory_reserved(DEVICE)
        torch.cuda.set_per_process_memory_fraction((taken + size) / total, DEVICE)

    yield allow
    torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)
    torch.cuda.empty_cache()


def losses(steps: list[Step]) -> torch.Tensor:
    return torch.tensor([[step.content, step.style, step.variation] for step in steps])


def decibels(a: Photo, b: Photo) -> float:
    return float(-10 * (a.to_float() - b.to_float()).square().mean().log10())


@pytest.mark.parametrize("mix", ["starry=0.5,wave=0.5", "photo"])
@pytest.mark.parametrize("strips", [False, True])
def test_pictures_are_those_of_the_cpu(mix: str, strips: bool) -> None:
    photo = read_photo(BUNDLED_PHOTOS / "china.jpg").resized(300)
    exact = Stylizer.load(mix, device="cpu", precision="float32").paint(photo)
    for precision in ("float32", "float16", "bfloat16"):
        painter = Stylizer.load(mix, device=NAME, precision=precision)
        painter.memory = StripBudget(1, 32, 0) if strips else painter.memory
        painted = painter.paint(photo)
        if precision == "float32":
            assert (exact.pixels.int() - painted.pixels.int()).abs().max() <= 1
        assert decibels(exact, painted) >= 40


def test_regions_masks_and_faint_styles_are_those_of_the_cpu() -> None:
    photo = read_photo(BUNDLED_PHOTOS / "chelsea.png").resized(200)
    mask = torch.zeros(photo.pixels.shape[1:], dtype=torch.uint8)
    mask[:, 40:90] = 255
    for strength in (0.5, 1.0):
        there, here = (
            Stylizer.load(
                "starry", regions=["wave"], strength=strength, device=name, precision="float32"
            ).paint(photo, region_masks=[mask], keep_colors=True)
            for name in (NAME, "cpu")
        )
        assert (there.pixels.int() - here.pixels.int()).abs().max() <= 2


@card_only
def test_strips_are_sized_to_the_free_memory() -> None:
    free = torch.cuda.mem_get_info(DEVICE)[0]
    taken = torch.empty(free // 2, dtype=torch.uint8, device=DEVICE)
    small, large = memory_for(DEVICE), StripBudget(strip=free // 8000, keep=free // 16)
    assert 0.4 * large.strip < small.strip < 0.6 * large.strip
    assert 0.4 * large.keep < small.keep < 0.6 * large.keep
    del taken


@card_only
def test_memory_that_runs_out_leads_to_smaller_strips(
    little_memory: Callable[[float], None],
) -> None:
    photo = read_photo(BUNDLED_PHOTOS / "china.jpg").stretched((4000, 3000))
    painter = Stylizer.load("starry", device=NAME)
    whole = painter.paint(photo)
    peak = torch.cuda.max_memory_allocated(DEVICE)
    little_memory(0.4 * peak)
    assert decibels(whole, painter.paint(photo)) > 50
    torch.cuda.reset_peak_memory_stats(DEVICE)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=card_only)])
@pytest.mark.filterwarnings("ignore")  # of the compiler
def test_training_is_that_of_the_cpu(
    make_trainer: Callable[..., Trainer], photos: Path, compiled: bool
) -> None:
    recipe = replace(SMALL, updates=6)
    folder = PhotoFolder.open(photos)
    there = make_trainer(compiled=compiled)
    found = list(there.steps(Batches(folder, recipe, 2, pinned=CARD)))
    wanted = list(make_trainer(CPU).steps(Batches(folder, recipe, 2)))
    assert there.journal.notices == []
    assert [step.styles for step in found] == [step.styles for step in wanted]
    # TF32 rounds to 11 bits, and Adam makes whole steps of the smallest gradients' signs.
    torch.testing.assert_close(losses(found), losses(wanted), rtol=0.1, atol=1e-3)
    torch.testing.assert_close(losses(found[:1]), losses(wanted[:1]), rtol=1e-2, atol=1e-4)


def test_a_checkpoint_goes_on_to_the_same_losses(make_trainer: Callable[..., Trainer]) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (2, 3, 64, 64), generator=generator, dtype=torch.uint8)
    draws = [Batch(update, pictures, torch.tensor([0, 1])) for update in range(4)]
    whole, begun, resumed = make_trainer(), make_trainer(), make_trainer()
    wanted = list(whole.steps(draws))[2:]
    list(begun.steps(draws[:2]))
    assert begun.trouble() == ""
    resumed.restore({name: tensor.cpu() for name, tensor in begun.state().items()})
    torch.testing.assert_close(
        losses(list(resumed.steps(draws[2:]))), losses(wanted), rtol=0.02, atol=1e-4
    )


@card_only
def test_the_batch_that_is_found_trains(
    make_trainer: Callable[..., Trainer],
    little_memory: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer = make_trainer()
    monkeypatch.setattr(batch_size, "SHARE", 0.0)  # the limit is this test's, not the card's
    little_memory(2 << 30)
    found = find_batch(trainer, 256)
    assert 1 <= found < batch_size.MOST
    images = max(1, 9 * found // 10)
    pictures = torch.randint(0, 256, (images, 3, 256, 256), dtype=torch.uint8)
    (step,) = trainer.steps([Batch(0, pictures, torch.zeros(images, dtype=torch.long))])
    assert len(step.styles) == images


def test_a_style_is_added(
    tiny_trunk: tuple[Path, str],
    arguments: list[str],
    paintings: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = {one: arguments[arguments.index(one) + 1] for one in arguments if one[:2] == "--"}
    words = ["add-style", str(paintings / "dawn.png"), "--updates", "30", "--device", NAME]
    words += ["--trunk", str(tiny_trunk[0])]
    for option in ("--photos", "--recipe", "--vgg-weights"):
        words += [option, options[option]]
    assert stylepack(words) == 0
    assert "installed" in capsys.readouterr().err


def test_a_run_on_a_card_ends_in_packs(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [NAME if word == "cpu" else word for word in arguments]
    run = tmp_path / "run"
    assert stylepack([*words, str(run), "--no-compile"]) == 0
    assert stylepack(["train", "--resume", str(run), "--updates", "6", "--device", NAME]) == 0
    assert len(list((run / "packs").iterdir())) == 3
    assert f"on {DEVICE}" in capsys.readouterr().err
