"""The weighted sum of the losses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from stylepack.losses.functional import tone_loss
from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource, load_loss_network
from stylepack.recipe import Recipe

STYLE_ALONE = replace(
    Recipe(),
    content_weight=0.0,
    similarity_weight=0.0,
    tone_weight=0.0,
    palette_weight=0.0,
    color_weight=0.0,
    saturation_weight=0.0,
    lattice_weight=0.0,
    hatching_weight=0.0,
    style_weight=3.0,
    scales=1,
)


@pytest.mark.parametrize("layer", range(5))
def test_layer_weights_choose_among_the_style_layers(layer: int, vgg_file: Path) -> None:
    weights = tuple(2.0 if place == layer else 0.0 for place in range(5))
    recipe = replace(STYLE_ALONE, layer_weights=weights)
    device = torch.device("cpu")
    network = load_loss_network(recipe, WeightSource(vgg_file), device, torch.float32)
    painting, photo, painted = torch.rand(3, 1, 3, 32, 32, generator=torch.manual_seed(layer))
    objective = Objective(network, recipe, [painting[0]])
    terms = objective(painted, photo, torch.tensor([0]))
    torch.testing.assert_close(terms.total, 3.0 * terms.layers[layer, 0])
    torch.testing.assert_close(terms.style, terms.layers.mean(0))  # reported without weights


def test_the_tone_term_is_of_paintings_and_not_of_the_identity_style(vgg_file: Path) -> None:
    recipe = replace(STYLE_ALONE, style_weight=0.0, identity_weight=0.0, tone_weight=2.0)
    device = torch.device("cpu")
    network = load_loss_network(recipe, WeightSource(vgg_file), device, torch.float32)
    painting, photo, painted = torch.rand(3, 1, 3, 32, 32, generator=torch.manual_seed(0))
    objective = Objective(network, recipe, [painting[0], None])
    terms = objective(painted, photo, torch.tensor([0]))
    torch.testing.assert_close(terms.total, 2.0 * tone_loss(painted, photo)[0])
    assert objective(painted, photo, torch.tensor([1])).total == 0
