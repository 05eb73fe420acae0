"""The bundled trunk and packs: they belong together, and they paint."""

import base64
import io

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from stylepack import Stylizer
from stylepack.packs.pack import load_pack
from stylepack.packs.shelf import BUNDLED_PACKS, BUNDLED_PHOTOS, BUNDLED_TRUNK, shelf
from stylepack.packs.trunkfile import load_trunk
from stylepack.pictures.photo import Photo
from stylepack.training.photos import resized

PAINTINGS = ["starry", "scream", "wave", "composition"]


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    return resized(BUNDLED_PHOTOS / "chelsea.png", 200)


def painted(mix: str, photo: torch.Tensor) -> torch.Tensor:
    return Stylizer.load(mix, device="cpu").paint(Photo.from_float(photo)).to_float()


def decibels(one: torch.Tensor, two: torch.Tensor) -> float:
    """Peak signal-to-noise ratio of RGB in 0..1."""
    return -10 * float((one - two).square().mean().log10())


def test_the_trunk_is_stored_in_float16() -> None:
    assert {tensor.dtype for tensor in load_file(BUNDLED_TRUNK).values()} == {torch.float16}


@pytest.mark.parametrize("name", [*PAINTINGS, "photo"])
def test_every_pack_belongs_to_the_bundled_trunk_and_says_how_it_was_made(name: str) -> None:
    trunk, digest = load_trunk(BUNDLED_TRUNK)
    manifest = load_pack(shelf()[name].path, trunk.config).manifest
    assert manifest.name == name
    assert manifest.trunk_sha256 == digest
    assert manifest.metrics["photographs"] >= 20
    assert manifest.train["recipe"] == "default"
    assert manifest.train["updates"] >= 2500
    assert manifest.license == "CC0-1.0"
    if name != "photo":
        assert manifest.style_image["licence"] == "public domain"
    picture = manifest.thumbnail.removeprefix("data:image/jpeg;base64,")
    with Image.open(io.BytesIO(base64.b64decode(picture))) as thumbnail:
        assert min(thumbnail.size) == 160


def test_packs_are_small() -> None:
    for path in BUNDLED_PACKS.iterdir():
        assert path.stat().st_size < 64_000


@pytest.mark.parametrize("name", PAINTINGS)
def test_a_painting_changes_the_photograph_and_differs_from_the_others(
    name: str, photo: torch.Tensor
) -> None:
    mine = painted(name, photo)
    assert mine.shape == photo.shape
    for other in PAINTINGS:
        if other != name:
            assert decibels(mine, painted(other, photo)) < 20
    assert decibels(mine, photo) < 20


def test_the_identity_pack_gives_the_photograph_back(photo: torch.Tensor) -> None:
    assert decibels(painted("photo", photo), photo) > 20
