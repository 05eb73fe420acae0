"""A painting's colours: its palette, and how much of it has which colour."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from stylepack.losses.palette import Palettes
from stylepack.recipe import Recipe

CPU = torch.device("cpu")
FIRST = torch.tensor([0])


def blocks(colors: list[tuple[float, float, float]], side: int = 8) -> Tensor:
    """A (3, side, n * side) picture of squares, one of each colour."""
    stripe = torch.tensor(colors).T.repeat_interleave(side, 1)
    return stripe[:, None].expand(-1, side, -1).contiguous()


BLUE, YELLOW, RED = (0.1, 0.2, 0.6), (0.9, 0.8, 0.2), (0.8, 0.1, 0.1)


def losses(painted: Tensor, painting: Tensor) -> tuple[float, float]:
    """The palette and the colour loss."""
    palettes = Palettes.of([painting], CPU)
    pictures = painted[None]
    return (
        palettes.palette_loss(pictures, FIRST).item(),
        palettes.color_loss(pictures, FIRST).item(),
    )


def test_the_painting_itself_costs_nothing_wherever_its_colours_are() -> None:
    painting = blocks([BLUE, BLUE, YELLOW, BLUE], side=32)
    assert losses(painting, painting) == pytest.approx((0, 0), abs=1e-4)
    elsewhere = blocks([YELLOW, BLUE, BLUE, BLUE], side=64)
    assert losses(elsewhere, painting) == pytest.approx((0, 0), abs=1e-2)


def test_a_colour_that_the_painting_lacks_is_off_its_palette() -> None:
    painting = blocks([BLUE, YELLOW])
    one_red, all_red = blocks([BLUE, BLUE, YELLOW, RED]), blocks([RED, RED])
    off, whole = losses(one_red, painting)[0], losses(all_red, painting)[0]
    assert 0 < off < whole
    assert off == pytest.approx(whole / 4, rel=0.01)


def test_wrong_amounts_cost_while_the_palette_is_kept() -> None:
    painting = blocks([BLUE, BLUE, BLUE, YELLOW])
    even, inverse = blocks([BLUE, YELLOW]), blocks([BLUE, YELLOW, YELLOW, YELLOW])
    for picture in (even, inverse):
        assert losses(picture, painting)[0] == pytest.approx(0, abs=1e-4)
    assert 0.05 < losses(even, painting)[1] < losses(inverse, painting)[1]


def test_a_flat_picture_has_the_whole_variance_as_its_loss() -> None:
    painting = blocks([BLUE, YELLOW])
    flat = painting.mean((1, 2), keepdim=True).expand_as(painting)
    assert losses(flat, painting)[1] == pytest.approx(1, rel=0.01)


def test_each_picture_is_compared_with_its_own_painting() -> None:
    paintings = [blocks([BLUE, YELLOW]), None, blocks([RED, YELLOW])]
    palettes = Palettes.of(paintings, CPU)
    pictures = torch.stack([blocks([RED, YELLOW]), blocks([BLUE, YELLOW])])
    assert palettes.palette_loss(pictures, torch.tensor([2, 0])).tolist() == [0, 0]
    assert (palettes.palette_loss(pictures, torch.tensor([0, 2])) > 1).all()
    assert palettes.palette_loss(pictures, torch.tensor([1, 1])).isfinite().all()


@pytest.mark.parametrize("height", [1, 5, 33])
def test_gradients_are_finite_at_any_size(height: int) -> None:
    palettes = Palettes.of([blocks([BLUE, YELLOW])], CPU)
    pictures = torch.full((1, 3, height, 7), 0.5, requires_grad=True)
    total = palettes.palette_loss(pictures, FIRST) + palettes.color_loss(pictures, FIRST)
    total.sum().backward()
    assert pictures.grad is not None
    assert pictures.grad.isfinite().all()
    assert pictures.grad.abs().sum() > 0


def test_the_papers_recipes_have_neither_term() -> None:
    assert Recipe().palette_weight > 0 < Recipe().color_weight
    assert replace(Recipe(), palette_weight=0.0, color_weight=0.0) != Recipe()
