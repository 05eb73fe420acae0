"""Strength, colours, stroke size, masks and regions."""

from pathlib import Path

import pytest
import torch
from conftest import picture
from PIL import Image

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.cli.main import run as stylepack
from stylepack.errors import UsageError
from stylepack.images.color import keep_colors, oklab_to_rgb, rgb_to_oklab
from stylepack.images.decoding import ORIENTATION
from stylepack.images.photo import Photo, read_photo
from stylepack.images.upscale import enlarge
from stylepack.library.shelf import BUNDLED_PACKS
from stylepack.painting.strength import PhotoResidual


@pytest.fixture(scope="module")
def photo() -> Photo:
    return Photo.from_image(picture(96, 64, 5))


@pytest.fixture(scope="module")
def starry() -> Stylizer:
    return Stylizer.load("starry", device="cpu", precision="float32")


def distance(one: Photo | torch.Tensor, two: Photo | torch.Tensor) -> float:
    """Root mean square difference in 0..255."""
    a, b = (x.pixels if isinstance(x, Photo) else x for x in (one, two))
    return float((a.float() - b.float()).square().mean().sqrt())


def test_strength_goes_from_the_photograph_through_the_style(photo: Photo) -> None:
    def painted(strength: float) -> Photo:
        return Stylizer.load("starry", strength=strength, device="cpu", precision="float32").paint(
            photo
        )

    assert distance(painted(0), photo) == 0
    nothing = Stylizer.load("starry", strength=0, device="cpu")
    assert distance(nothing.paint(photo, size=40), photo) == 0
    assert nothing.paint(photo, size=48, upscale=False).size == (48, 32)
    apart = [distance(painted(strength), photo) for strength in (0.25, 0.5, 1, 1.5)]
    assert apart == sorted(apart)
    whole = Stylizer.load("starry", device="cpu", precision="float32").paint(photo)
    assert distance(painted(1), whole) == 0
    with pytest.raises(UsageError, match="strength is 2"):
        painted(2)


def test_a_faint_style_gives_back_what_the_identity_style_loses() -> None:
    photo, given = torch.tensor([200, 10]), torch.tensor([190, 40])
    painted = torch.tensor([100, 5])
    images = [
        x.to(torch.uint8).view(1, 1, 2).expand(3, 2, 2).clone() for x in (painted, photo, given)
    ]
    found = PhotoResidual(torch.zeros(1, 1), 0.5).restore(*images)
    assert found[0, 0].tolist() == [105, 0]  # 5 - 15 is cut


def test_oklab_known_values_and_back() -> None:
    # The post's own check: white has lightness 1 and no colour.
    white = rgb_to_oklab(torch.ones(3, 1, 1)).flatten()
    torch.testing.assert_close(white, torch.tensor([1.0, 0.0, 0.0]), atol=1e-4, rtol=0)
    red = rgb_to_oklab(torch.tensor([1.0, 0, 0]).view(3, 1, 1)).flatten()
    torch.testing.assert_close(red, torch.tensor([0.628, 0.225, 0.126]), atol=1e-3, rtol=0)
    rgb = torch.rand(3, 20, 20)
    torch.testing.assert_close(oklab_to_rgb(rgb_to_oklab(rgb)), rgb, atol=1e-4, rtol=0)


def test_keep_colors_takes_lightness_from_one_and_colour_from_the_other(photo: Photo) -> None:
    grey = torch.randint(60, 200, (1, 64, 96), dtype=torch.uint8).expand(3, -1, -1)
    assert distance(keep_colors(photo.pixels, photo.pixels), photo) < 1
    kept = keep_colors(photo.pixels, grey.contiguous()).float()
    assert float((kept.amax(0) - kept.amin(0)).max()) <= 2
    lightness = rgb_to_oklab(kept / 255)[0] - rgb_to_oklab(photo.to_float())[0]
    assert lightness.abs().max() < 0.02


def test_a_smaller_size_comes_back_at_full_size_unless_told_not_to(
    photo: Photo, starry: Stylizer
) -> None:
    assert starry.paint(photo, size=48).size == (96, 64)
    assert starry.paint(photo, size=48, upscale=False).size == (48, 32)
    assert starry.paint(photo, size=150).size == (96, 64)
    assert distance(starry.paint(photo, size=96), starry.paint(photo)) == 0


def test_enlarging_brings_the_photographs_edges_back() -> None:
    """A painted picture that is the photograph itself must come back sharp."""
    pixels = torch.zeros(3, 64, 64, dtype=torch.uint8)
    pixels[:, :, 31:] = 200  # an edge that no 4x4 block of the small picture can hold
    sharp = Photo(pixels)
    small = sharp.resized(16)
    guided = enlarge(small.pixels, small.pixels, sharp.pixels)
    plain = small.stretched((64, 64))
    assert distance(guided, sharp) < 0.5 * distance(plain, sharp)


def test_enlarging_in_strips_leaves_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = Photo.from_image(picture(90, 70)), Photo.from_image(picture(30, 23))
    whole = enlarge(small.pixels, small.pixels, large.pixels)
    monkeypatch.setattr("stylepack.images.upscale.STRIP", 7)
    assert torch.equal(enlarge(small.pixels, small.pixels, large.pixels), whole)


def test_a_mask_paints_where_it_is_white(photo: Photo, starry: Stylizer) -> None:
    mask = torch.zeros(64, 96, dtype=torch.uint8)
    mask[:, 48:] = 255
    masked, painted = starry.paint(photo, mask=mask), starry.paint(photo)
    assert torch.equal(masked.pixels[:, :, :48], photo.pixels[:, :, :48])
    assert torch.equal(masked.pixels[:, :, 48:], painted.pixels[:, :, 48:])
    grey = starry.paint(photo, mask=torch.full((64, 96), 128, dtype=torch.uint8))
    halfway = (photo.pixels.float() + painted.pixels.float()) / 2
    assert (grey.pixels.float() - halfway).abs().max() <= 2


def test_each_region_looks_as_if_it_were_painted_alone() -> None:
    photo = read_photo(BUNDLED_PHOTOS / "china.jpg").resized(256)
    height, width = photo.pixels.shape[1:]
    right = torch.zeros(height, width, dtype=torch.uint8)
    right[:, width // 2 :] = 255
    both = Stylizer.load("starry", regions=["wave"], device="cpu", precision="float32")
    painted = both.paint(photo, region_masks=[right])
    for mix, columns in (
        ("starry", slice(None, width // 2)),
        ("wave", slice(width // 2, None)),
    ):
        half = Photo(photo.pixels[..., columns].contiguous())
        alone = Stylizer.load(mix, device="cpu", precision="float32").paint(half)
        contrast = [
            one.to_float().mean(0).std() for one in (alone, Photo(painted.pixels[..., columns]))
        ]
        assert float(contrast[1] / contrast[0]) == pytest.approx(1, abs=0.03)


def test_a_region_everywhere_or_nowhere_is_one_mix(photo: Photo, starry: Stylizer) -> None:
    both = Stylizer.load("starry", regions=["wave"], device="cpu", precision="float32")
    wave = Stylizer.load("wave", device="cpu", precision="float32")
    white = torch.full((64, 96), 255, dtype=torch.uint8)
    assert distance(both.paint(photo, region_masks=[white]), wave.paint(photo)) < 1
    assert distance(both.paint(photo, region_masks=[white * 0]), starry.paint(photo)) < 1


def test_regions_stream_as_they_paint_whole(photo: Photo) -> None:
    from stylepack.inference.strips import StripBudget

    both = Stylizer.load("starry", regions=["wave"], device="cpu", precision="float32")
    mask = torch.zeros(64, 96, dtype=torch.uint8)
    mask[20:, 40:] = 255
    whole = both.paint(photo, region_masks=[mask])
    both.memory = StripBudget(1, 8, 0)
    assert (both.paint(photo, region_masks=[mask]).pixels.float() - whole.pixels).abs().max() <= 2


def test_a_tensor_mask_of_another_size_is_stretched_and_another_shape_refused(
    photo: Photo, starry: Stylizer
) -> None:
    small = torch.full((8, 8), 255, dtype=torch.uint8)
    assert distance(starry.paint(photo, mask=small), starry.paint(photo)) == 0
    with pytest.raises(UsageError, match="must be"):
        starry.paint(photo, mask=torch.ones(3, 8, 8))


def test_a_pillow_image_is_turned_upright(tmp_path: Path, starry: Stylizer) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture(40, 24).save(tmp_path / "turned.jpg", exif=exif)
    with Image.open(tmp_path / "turned.jpg") as image:
        painted = starry.paint(image)
    assert painted.size == (24, 40)
    starry.paint(tmp_path / "turned.jpg").pixels.add_(1)  # an ordinary tensor


@pytest.mark.parametrize("mix", ["starry", "wave"])
def test_beyond_a_style_its_colours_stay(photo: Photo, mix: str) -> None:
    once, beyond = (
        Stylizer.load(mix, strength=strength, device="cpu").paint(photo).to_float()
        for strength in (1, 1.5)
    )
    assert (once.mean((1, 2)) - beyond.mean((1, 2))).abs().max() < 0.06
    assert (beyond.std((1, 2)) / once.std((1, 2)) > 0.8).all()


def test_a_mix_may_be_a_dict_or_the_path_of_a_pack(photo: Photo) -> None:
    by_text = Stylizer.load("starry=3,wave=1", device="cpu").paint(photo).pixels
    assert torch.equal(
        Stylizer.load({"starry": 3, "wave": 1}, device="cpu").paint(photo).pixels, by_text
    )
    assert Stylizer.load(BUNDLED_PACKS / "wave.safetensors", device="cpu").mix.weights == [1]


def test_what_cannot_be_painted_is_told(photo: Photo) -> None:
    with pytest.raises(UsageError, match="a mix cannot be a int; give a string"):
        Stylizer.load(7, device="cpu")  # type: ignore[arg-type]
    stylizer = Stylizer.load("wave", device="cpu")
    with pytest.raises(UsageError, match=r"it must be \(H, W, 3\) or \(H, W, 4\); transpose it"):
        stylizer.paint(photo.pixels.numpy())
    with pytest.raises(UsageError, match="size is 0; it must be 16 or more"):
        stylizer.paint(photo, size=0)


def test_strength_on_a_trunk_without_identity_is_refused(
    make_pack, tiny_trunk: tuple[Path, str]
) -> None:
    with pytest.raises(UsageError, match="needs the identity style"):
        Stylizer.load(str(make_pack("dots")), strength=0.5, trunk=tiny_trunk[0])


def test_masks_and_regions_from_the_command_line(tmp_path: Path) -> None:
    source, mask = tmp_path / "photo.png", tmp_path / "m.png"
    picture(80, 60).save(source)
    half = Image.new("L", (40, 30), 0)
    half.paste(255, (0, 0, 20, 30))
    half.save(mask)
    out = tmp_path / "out.png"
    words = ["apply", str(source), "--style", "starry", "-o", str(out)]
    assert stylepack([*words, "--mask", str(mask)]) == 0
    right = slice(60, 80)
    assert torch.equal(read_photo(out).pixels[..., right], read_photo(source).pixels[..., right])
    assert stylepack([*words, "--region", f"{mask}=wave=0.5,scream=0.5"]) == 0
    assert not torch.equal(
        read_photo(out).pixels[..., right], read_photo(source).pixels[..., right]
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--region", "wave"], "write it like mask.png=wave"),
        (["--region", "no.png=wave"], "no such file: no.png"),
        (["--mask", "no.png"], "no such file: no.png"),
        (["--strength", "2"], "strength is 2"),
        (["--background", "octarine"], "no colour 'octarine'"),
        (["--subsampling", "4:1:1"], "--subsampling is '4:1:1'"),
        (["--format", "xyz"], "no format 'xyz'"),
        (["--shard", "9"], "write it like 2/8"),
        (["--shard", "3/2"], "no part 3 of 2"),
        (["--precision", "float8"], "no precision 'float8'"),
        (["--size", "2"], "--size"),
    ],
)
def test_wrong_options_give_one_line(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "photo.png"
    picture(40, 32).save(source)
    assert stylepack(["apply", str(source), "--style", "starry", *words]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert message in errors[0]
    assert list(tmp_path.glob("*.starry.*")) == []
