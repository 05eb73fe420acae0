"""Large photographs are painted coarse to fine."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import Storages, picture

from stylepack import Stylizer
from stylepack.cli.apply import parse_size
from stylepack.cli.main import run as stylepack
from stylepack.errors import UsageError
from stylepack.images.photo import Photo, read_photo
from stylepack.images.upscale import keep_strokes
from stylepack.inference.strips import StripBudget
from stylepack.painting import stylizer as module
from stylepack.painting.stylizer import LARGE, coarse_size


@pytest.fixture(autouse=True)
def small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs of more than 6,144 pixels are large here; they are painted at 48 first."""
    monkeypatch.setattr(module, "LARGE", 96 * 64)
    monkeypatch.setattr(module, "COARSE_SIDE", 48)
    monkeypatch.setattr(module, "COARSE_AREA", 1200)


@pytest.fixture(scope="module")
def starry() -> Stylizer:
    return Stylizer.load("starry", device="cpu", precision="float32")


def photo(width: int, height: int) -> Photo:
    return Photo.from_image(picture(width, height, 5))


def apart(one: torch.Tensor, two: torch.Tensor) -> float:
    """Root mean square difference in 0..255."""
    return float((one.float() - two.float()).square().mean().sqrt())


def test_the_threshold_is_1_3_megapixels_and_exact(starry: Stylizer) -> None:
    assert LARGE == 1_300_000
    largest, larger = photo(96, 64), photo(96, 65)
    at_once = starry.paint(largest, size="full").pixels
    assert torch.equal(starry.paint(largest).pixels, at_once)
    assert torch.equal(starry.paint(largest, size=96).pixels, at_once)
    assert not torch.equal(starry.paint(larger).pixels, starry.paint(larger, size="full").pixels)
    assert torch.equal(
        starry.paint(larger, size=96).pixels, starry.paint(larger, size="full").pixels
    )


def test_shrunk_a_large_painting_is_the_small_one(starry: Stylizer) -> None:
    large = photo(192, 128)
    small = starry.paint(large.resized(48), size="full")
    ours = starry.paint(large).resized(48).pixels
    full = starry.paint(large, size="full").resized(48).pixels
    assert apart(ours, small.pixels) < 0.25 * apart(full, small.pixels)


def test_at_its_own_size_a_large_painting_is_as_crisp_as_paint(starry: Stylizer) -> None:
    def roughness(painted: Photo) -> float:
        return float(painted.pixels.float().diff(2, dim=2).abs().mean())

    large = photo(192, 128)
    ours, full = starry.paint(large), starry.paint(large, size="full")
    assert roughness(ours) > 0.8 * roughness(full)
    assert roughness(ours) > 1.2 * roughness(starry.paint(large, size=48))


@pytest.mark.parametrize(
    ("size", "first"),
    [
        ((192, 108), (48, 27)),
        ((100, 100), (48, 48)),
        ((1000, 10), (346, 3)),
        ((10**5, 1), (10954, 1)),
    ],
)
def test_panoramas_begin_with_more_than_a_thousand_pixels(
    size: tuple[int, int], first: tuple[int, int]
) -> None:
    assert coarse_size(*size) == first


@pytest.mark.parametrize("size", [(97, 67), (320, 20), (20, 333)])
def test_in_strips_it_is_the_same(
    starry: Stylizer, monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    large = photo(*size)
    whole = starry.paint(large)
    assert whole.size == size
    monkeypatch.setattr("stylepack.images.upscale.STRIP", 7)
    monkeypatch.setattr(starry, "memory", StripBudget(1, 8, 0))
    assert (starry.paint(large).pixels.int() - whole.pixels.int()).abs().max() <= 3


def test_keeping_strokes_in_strips_leaves_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = photo(90, 70), photo(30, 23)
    whole = keep_strokes(large.pixels.clone(), small.pixels)
    monkeypatch.setattr("stylepack.images.upscale.STRIP", 7)
    assert torch.equal(keep_strokes(large.pixels.clone(), small.pixels), whole)


def test_a_painting_that_has_the_strokes_keeps_every_pixel() -> None:
    large = photo(90, 70)
    small = large.stretched((30, 23)).pixels
    assert torch.equal(keep_strokes(large.pixels.clone(), small), large.pixels)


def test_keeping_strokes_takes_memory_for_one_strip_of_floats() -> None:
    painted = torch.randint(0, 256, (3, 2048, 256), dtype=torch.uint8)
    sizes = Storages()
    with sizes:
        keep_strokes(painted, torch.zeros(3, 64, 8, dtype=torch.uint8))
    assert sizes.most < 3 * painted.numel()


def test_regions_are_aligned_at_both_scales() -> None:
    both = Stylizer.load("starry", regions=["wave"], device="cpu", precision="float32")
    large = photo(192, 128)
    white = torch.full((128, 192), 255, dtype=torch.uint8)
    alone = {
        name: Stylizer.load(name, device="cpu", precision="float32").paint(large).pixels
        for name in ("starry", "wave")
    }
    assert apart(both.paint(large, region_masks=[white]).pixels, alone["wave"]) < 1
    assert apart(both.paint(large, region_masks=[white * 0]).pixels, alone["starry"]) < 1
    right = white.clone()
    right[:, :96] = 0
    small = both.paint(large.resized(48), size="full", region_masks=[right]).pixels
    ours, mirrored = (
        both.paint(large, region_masks=[mask]).resized(48).pixels for mask in (right, 255 - right)
    )
    assert apart(ours, small) < 0.25 * apart(mirrored, small)


def test_masks_strength_and_colours_are_those_of_the_photograph(starry: Stylizer) -> None:
    large = photo(192, 128)
    mask = torch.zeros(128, 192, dtype=torch.uint8)
    mask[:, 96:] = 255
    masked = starry.paint(large, mask=mask).pixels
    assert torch.equal(masked[..., :96], large.pixels[..., :96])
    assert torch.equal(masked[..., 96:], starry.paint(large).pixels[..., 96:])
    strengths = [
        apart(Stylizer.load("starry", strength=s, device="cpu").paint(large).pixels, large.pixels)
        for s in (0, 0.2, 0.6, 1)
    ]
    assert strengths[0] == 0
    assert strengths == sorted(strengths)
    chroma = [
        (painted.float() - painted.float().mean(0)).flatten()
        for painted in (starry.paint(large, keep_colors=True).pixels, large.pixels)
    ]
    assert torch.corrcoef(torch.stack(chroma))[0, 1] > 0.9


def test_progress_rises_to_one_over_both_paintings(starry: Stylizer) -> None:
    shares: list[float] = []
    starry.paint(photo(192, 128), advance=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)
    assert max(b - a for a, b in pairwise([0.0, *shares])) < 0.2


def test_a_folder_may_mix_sizes(tmp_path: Path) -> None:
    for name, width in (("a", 40), ("b", 192), ("c", 40), ("d", 192)):
        picture(width, 100, seed=width).save(tmp_path / f"{name}.png")
    words = ["apply", "--style", "wave", "-o", str(tmp_path / "out"), str(tmp_path)]
    assert stylepack(words) == 0
    found = {name: read_photo(tmp_path / f"out/{name}.wave.png") for name in "abcd"}
    assert torch.equal(found["a"].pixels, found["c"].pixels)
    assert torch.equal(found["b"].pixels, found["d"].pixels)
    assert found["b"].size == (192, 100)
    full = ["apply", "--style", "wave", "--size", "full", str(tmp_path / "a.png")]
    for name, same in (("a", True), ("b", False)):
        out = tmp_path / "full.png"
        assert stylepack([*full[:-1], str(tmp_path / f"{name}.png"), "-o", str(out)]) == 0
        assert torch.equal(read_photo(out).pixels, found[name].pixels) is same


def test_ctrl_c_in_the_second_painting_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "photo.png"
    picture(192, 128).save(source)

    def stopped(*images: torch.Tensor, into: torch.Tensor) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "enlarge", stopped)
    assert stylepack(["apply", str(source), "--style", "starry"]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.mark.parametrize("text", ["15", "-3", "huge", "Full", "1e3", "3.5"])
def test_a_size_is_pixels_or_full(text: str) -> None:
    with pytest.raises(UsageError, match="16 or more, or full"):
        parse_size(text)


@pytest.mark.parametrize("size", ["huge", 3, 20.5, True])
def test_the_library_says_so_too(starry: Stylizer, size: object) -> None:
    with pytest.raises(UsageError, match="16 or more, or full"):
        starry.paint(photo(40, 32), size=size)  # type: ignore[arg-type]


def test_no_upscale_needs_a_number(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "photo.png"
    picture(40, 32).save(source)
    words = ["apply", str(source), "--style", "starry", "--no-upscale", "--size", "full"]
    assert stylepack(words) == 2
    assert "give --size N" in capsys.readouterr().err
