"""The bundled trunk and packs: they belong together, and they paint."""

import base64
import io
from functools import cache

import pytest
import torch
from conftest import PAINTINGS
from PIL import Image
from safetensors.torch import load_file

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_LOSS_NETWORK, BUNDLED_PHOTOS, BUNDLED_TRUNK
from stylepack.images.photo import Photo, resized
from stylepack.library.shelf import BUNDLED_PACKS, shelf
from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource, load_loss_network
from stylepack.packs.pack import load_pack
from stylepack.packs.trunk_file import load_trunk
from stylepack.recipe import Recipe


@cache
def photograph() -> torch.Tensor:
    return resized(BUNDLED_PHOTOS / "chelsea.png", 200)


@cache
def painted(mix: str, strength: float = 1.0) -> torch.Tensor:
    stylizer = Stylizer.load(mix, strength=strength, device="cpu")
    return stylizer.paint(Photo.from_float(photograph())).to_float()


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
    assert manifest.train["updates"] >= 100
    assert manifest.train["style_layers"] == list(Recipe().style_layers)
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
def test_a_painting_changes_the_photograph_and_differs_from_the_others(name: str) -> None:
    mine = painted(name)
    assert mine.shape == photograph().shape
    assert decibels(mine, photograph()) < 20
    for other in PAINTINGS:
        if other != name:
            assert decibels(mine, painted(other)) < 25


@pytest.mark.parametrize("name", ["chelsea.png", "astronaut.png", "coffee.png", "rocket.jpg"])
def test_the_identity_pack_gives_the_photograph_back(name: str) -> None:
    photo = resized(BUNDLED_PHOTOS / name, 200)
    given = Stylizer.load("photo", device="cpu").paint(Photo.from_float(photo)).to_float()
    assert decibels(given, photo) > 22


def test_strength_goes_from_the_photograph_to_the_style() -> None:
    assert torch.equal(painted("wave", 0.0), Photo.from_float(photograph()).to_float())
    apart = [decibels(painted("wave", strength), photograph()) for strength in (0.0, 0.5, 1.0)]
    assert apart == sorted(apart, reverse=True)


def test_the_loss_network_is_small_and_answers_for_the_default_recipe() -> None:
    assert BUNDLED_LOSS_NETWORK.stat().st_size < 2_500_000
    recipe = Recipe(loss_network="bundled")
    network = load_loss_network(recipe, WeightSource(), torch.device("cpu"), torch.float32)
    objective = Objective(network, recipe, [painted("wave")])
    ours, other = painted("wave")[None], painted("scream")[None]
    photo, which = photograph()[None], torch.tensor([0])
    near, far = objective(ours, photo, which), objective(other, photo, which)
    assert near.style.item() < 1e-3 < 0.1 < far.style.item()
    assert objective(photo, photo, which).content.item() == 0
