"""The Python API: what goes in, what comes out, and the snippets of docs/python.md."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

import stylepack
from stylepack import Photo, SaveOptions, StylepackError, Stylizer
from stylepack.library.shelf import user_packs

PAGE = (Path(__file__).parent.parent / "docs" / "python.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def stylizer() -> Stylizer:
    return Stylizer.load("starry", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return picture(48, 32, 5)


@pytest.fixture(scope="module")
def wanted(stylizer: Stylizer, image: Image.Image) -> np.ndarray:
    """The painting of `image`, (H, W, 3) uint8."""
    return stylizer.paint(Photo.from_image(image)).pixels.permute(1, 2, 0).numpy()


def test_the_module_lists_what_it_offers() -> None:
    offered = {"Mix", "Photo", "SaveOptions", "Stylizer", "add_style", "packs", "__version__"}
    assert offered <= set(dir(stylepack))
    assert all(getattr(stylepack, name) for name in dir(stylepack))
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", stylepack.__version__)


def test_packs_are_listed_and_the_module_of_that_name_is_still_one() -> None:
    found = {pack.name: pack for pack in stylepack.packs()}
    assert found["starry"].artist == "Vincent van Gogh"
    assert found["starry"].origin == "bundled"
    assert found["starry"].path.is_file()
    from stylepack.packs.mix import Mix

    assert stylepack.Mix is Mix


def test_a_path_a_file_and_its_bytes_give_a_photo(
    stylizer: Stylizer, image: Image.Image, wanted: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    image.save(path)
    with path.open("rb") as file:
        for source in (path, str(path), file, io.BytesIO(path.read_bytes()), path.read_bytes()):
            painted = stylizer.paint(source)
            assert isinstance(painted, Photo)
            assert np.array_equal(np.asarray(painted), wanted)
    with path.open("rb") as file:
        file.seek(40)
        with pytest.raises(StylepackError, match=r"photo\.png"):
            stylizer.paint(file)
    with path.open(encoding="latin-1") as text, pytest.raises(StylepackError, match="mode 'rb'"):
        stylizer.paint(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "CMYK"])
def test_a_pillow_image_gives_a_pillow_image(
    stylizer: Stylizer, image: Image.Image, mode: str
) -> None:
    painted = stylizer.paint(image.convert(mode))
    assert (painted.mode, painted.size) == ("RGB", image.size)


def test_arrays_come_back_in_their_dtype(
    stylizer: Stylizer, image: Image.Image, wanted: np.ndarray
) -> None:
    array = np.asarray(image)
    painted = stylizer.paint(array)
    assert painted.dtype == np.uint8
    assert np.array_equal(painted, wanted)
    for dtype in (np.float16, np.float32, np.float64):
        found = stylizer.paint((array / 255).astype(dtype))
        assert found.dtype == dtype
        assert np.abs(found.astype(np.float64) - wanted / 255).max() < 1e-3
    assert stylizer.paint(array[..., 0]).shape == array.shape
    assert np.array_equal(stylizer.paint(array[:, ::-1]), stylizer.paint(array[:, ::-1].copy()))


def test_tensors_and_batches_come_back_in_their_shape(
    stylizer: Stylizer, image: Image.Image, wanted: np.ndarray
) -> None:
    tensor = Photo.from_image(image).pixels
    target = torch.from_numpy(wanted.copy()).permute(2, 0, 1)
    assert torch.equal(stylizer.paint(tensor), target)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        found = stylizer.paint(tensor.to(torch.float32).div(255).requires_grad_().to(dtype))
        assert found.dtype == dtype
        assert not found.requires_grad
    batch = torch.stack([tensor, tensor.flip(2)])
    shares: list[float] = []
    painted = stylizer.paint(batch, advance=shares.append)
    assert torch.equal(painted[0], target)
    assert painted.shape == batch.shape
    assert not torch.equal(painted[1], target)
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize(
    "convert",
    [
        lambda rgba: rgba,
        np.asarray,
        lambda rgba: torch.from_numpy(np.array(rgba)).permute(2, 0, 1),
    ],
    ids=["Pillow", "NumPy", "torch"],
)
def test_the_alpha_is_kept(
    stylizer: Stylizer, image: Image.Image, wanted: np.ndarray, convert: Callable[[Any], Any]
) -> None:
    alpha = picture(48, 32, 6).convert("L")
    rgba = image.copy()
    rgba.putalpha(alpha)
    painted = stylizer.paint(convert(rgba))
    if isinstance(painted, torch.Tensor):
        painted = painted.permute(1, 2, 0).numpy()
    found = np.asarray(painted)
    assert np.array_equal(found[..., 3], np.asarray(alpha))
    assert np.array_equal(found[..., :3], wanted)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "cannot paint a int; give a path"),
        (np.zeros((3, 8, 9), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((8, 8, 5), np.uint8), r"it must be \(H, W, 3\)"),
        (np.zeros((8, 8, 3), np.uint16), "an array of uint16; give uint8"),
        (np.full((8, 8, 3), 255.0), "floats from 255 to 255; they must be in 0..1"),
        (np.full((8, 8, 3), np.nan), "they must be in 0..1"),
        (np.zeros((0, 8, 3)), "an array of shape"),
        (torch.zeros(8, 9, 3), r"permute\(2, 0, 1\)"),
        (torch.zeros(3, 8, 9, dtype=torch.int64), "of torch.int64; give uint8"),
        (torch.zeros(8, 9), r"it must be \(C, H, W\) or \(N, C, H, W\)"),
        ("no such.jpg", "no such file: no such.jpg"),
    ],
)
def test_other_pictures_are_refused_with_what_was_expected(
    stylizer: Stylizer, given: Any, message: str
) -> None:
    with pytest.raises(StylepackError, match=message):
        stylizer.paint(given)


@pytest.mark.parametrize(
    "mask",
    [
        lambda half: half,
        lambda half: half.astype(np.uint8) * 255,
        lambda half: half[..., None].astype(np.float64),
        torch.from_numpy,
        lambda half: torch.from_numpy(half)[None].float(),
        Image.fromarray,
    ],
)
def test_masks_of_every_kind_paint_the_same(
    stylizer: Stylizer, image: Image.Image, wanted: np.ndarray, mask: Callable[[Any], Any]
) -> None:
    half = np.zeros((32, 48), bool)
    half[:, 24:] = True
    painted = stylizer.paint(np.asarray(image), mask=mask(half))
    assert np.array_equal(painted[:, :24], np.asarray(image)[:, :24])
    assert np.array_equal(painted[:, 24:], wanted[:, 24:])
    pairs = stylizer.paint(image, regions=[(mask(half), "wave")])
    loaded = Stylizer.load("starry", regions=["wave"], device="cpu", precision="float32")
    assert pairs == loaded.paint(image, region_masks=[half])
    assert pairs != stylizer.paint(image)


@pytest.mark.parametrize("mask", [7, np.zeros((3, 4, 5, 6)), np.full((4, 4), 2.0)])
def test_other_masks_are_refused(stylizer: Stylizer, image: Image.Image, mask: Any) -> None:
    with pytest.raises(StylepackError, match="mask"):
        stylizer.paint(image, mask=mask)


def test_mix_and_strength_are_chosen_at_paint(stylizer: Stylizer, image: Image.Image) -> None:
    def loaded(mix: Any, strength: float = 1.0) -> Image.Image:
        one = Stylizer.load(mix, strength=strength, device="cpu", precision="float32")
        return one.paint(image)

    assert stylizer.paint(image, mix="wave") == loaded("wave")
    assert stylizer.paint(image, mix={"starry": 1, "wave": 3}) == loaded("starry=0.25,wave=0.75")
    assert stylizer.paint(image, strength=0.5) == loaded("starry", 0.5)
    assert stylizer.paint(image, strength=0) == image
    assert stylizer.paint(image) == loaded("starry")  # unchanged
    both = Stylizer.load(["starry", "wave"], device="cpu", precision="float32")
    assert both.mix == stylepack.Mix((("starry", 0.5), ("wave", 0.5)))
    assert both.changed(strength=0.5).paint(image) == loaded("starry=1,wave=1", 0.5)
    with pytest.raises(StylepackError, match="strength is 2"):
        stylizer.paint(image, strength=2)
    with pytest.raises(StylepackError, match="an empty list"):
        Stylizer.load([])


def test_messages_speak_python_and_on_the_command_line_options(
    stylizer: Stylizer, image: Image.Image, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from stylepack.cli.main import run

    with pytest.raises(StylepackError, match="use device='auto'"):
        Stylizer.load("starry", device="cuda:99")
    image.save(tmp_path / "photo.png")
    words = ["apply", str(tmp_path / "photo.png"), "--style", "starry", "--device", "cuda:99"]
    assert run(words) == 1
    assert "use --device auto" in capsys.readouterr().err
    with pytest.raises(StylepackError, match=r"subsampling is '1'"):
        SaveOptions(subsampling="1")
    with pytest.raises(StylepackError, match=r"see stylepack\.packs\(\)"):
        Stylizer.load("nonesuch")


def test_a_photo_shows_itself_and_is_an_array(image: Image.Image, tmp_path: Path) -> None:
    photo = Photo.from_image(image)
    assert repr(photo) == "<Photo 48x32>"
    with Image.open(io.BytesIO(photo._repr_png_())) as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(image))
    assert np.asarray(photo).dtype == np.uint8
    assert np.array_equal(np.asarray(photo), np.asarray(image))
    assert np.asarray(photo, np.float32).dtype == np.float32
    with Image.open(io.BytesIO(Photo.from_image(picture(3200, 40))._repr_png_())) as wide:
        assert wide.size == (1600, 20)
    sizes = []
    for quality in (20, 95):
        photo.save(tmp_path / f"{quality}.jpg", quality=quality)
        sizes.append((tmp_path / f"{quality}.jpg").stat().st_size)
    assert sizes[0] < sizes[1]
    with pytest.raises(StylepackError, match="quality is 0"):
        photo.save(tmp_path / "0.jpg", quality=0)


def test_show_opens_a_window_outside_notebooks(
    image: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Image.Image] = []
    monkeypatch.setattr(Image.Image, "show", lambda one: shown.append(one))
    Photo.from_image(image).show()
    assert shown == [image]


@pytest.mark.parametrize("number", range(len(re.findall(r"```python\n", PAGE))))
def test_the_pages_snippets_run(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, image: Image.Image
) -> None:
    """Each with what the ones before it have left, as in a notebook."""
    found = re.findall(r"(<!-- slow -->\n)?```python\n(.*?)```", PAGE, re.DOTALL)
    if found[number][0]:
        pytest.skip("learns a style: see the next test")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Image.Image, "show", lambda image: None)
    monkeypatch.setattr("stylepack.training.quick.UPDATES", 2)
    image.save("photo.jpg")
    image.rotate(180).save("painting.jpg")
    names: dict[str, Any] = {}
    exec("import numpy as np, stylepack\nfrom stylepack import Stylizer", names)
    exec("stylizer = Stylizer.load('wave')\nphoto = stylizer.paint('photo.jpg')", names)
    exec(found[number][1], names)


def test_a_style_is_learned_from_python(
    tmp_path: Path, photos: Path, vgg_file: Path, tiny_trunk: tuple[Path, str]
) -> None:
    picture(80, 64, 7).save(tmp_path / "painting.jpg")
    shares: list[float] = []
    path = stylepack.add_style(
        tmp_path / "painting.jpg",
        "dream",
        photos=photos,
        updates=2,
        vgg_weights=vgg_file,
        trunk=tiny_trunk[0],
        title="Dream",
        device="cpu",
        progress=shares.append,
    )
    assert user_packs()["dream"].path == path
    assert shares == [0.5, 1.0]
    assert [pack.title for pack in stylepack.packs() if pack.name == "dream"] == ["Dream"]
    painted = Stylizer.load("dream", trunk=tiny_trunk[0]).paint(np.zeros((16, 16, 3), np.uint8))
    assert painted.shape == (16, 16, 3)
    with pytest.raises(StylepackError, match="replace=True"):
        stylepack.add_style(tmp_path / "painting.jpg", "dream", trunk=tiny_trunk[0])


def test_a_picture_names_the_packs_it_is_painted_with_and_no_others(tmp_path: Path) -> None:
    stylizer = Stylizer.load("starry", device="cpu")
    photo = Photo.from_image(picture(40, 32))
    named = [
        set(json.loads(stylizer.paint(photo, mix=mix, strength=strength).provenance)["packs"])
        for mix, strength in (("wave", None), ("scream", 0.5), ("starry", None))
    ]
    assert named == [{"wave"}, {"scream", "photo"}, {"starry"}]
