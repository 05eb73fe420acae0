"""The losses by known answers: small enough to check by hand."""

import math

import pytest
import torch
from torch import Tensor

from stylepack.losses.functional import (
    PLACES,
    content_loss,
    fine_energies,
    fine_waves,
    gram_and_mean,
    gram_matrix,
    half,
    hatching_loss,
    lattice_loss,
    pixel_loss,
    saturation_loss,
    similarity_loss,
    some_places,
    style_loss,
    tone_loss,
    total_variation,
)

WAVES = fine_waves()


def activations(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 5, 6, 7, generator=generator).to(dtype)


@pytest.mark.parametrize(("divisor", "count"), [("size", 4), ("pixels", 2)])
def test_the_gram_matrix_by_hand(divisor: str, count: int) -> None:
    # Two channels of two pixels: F = [1 2; 3 4], F F^T = [5 11; 11 25].
    features = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])
    expected = torch.tensor([[[5.0, 11.0], [11.0, 25.0]]]) / count
    torch.testing.assert_close(gram_matrix(features, divisor), expected)


def test_gram_matrices_are_of_each_image_apart() -> None:
    together = gram_matrix(activations())
    apart = [gram_matrix(image[None])[0] for image in activations()]
    torch.testing.assert_close(together, torch.stack(apart))
    torch.testing.assert_close(together, together.transpose(1, 2))


def test_a_gram_matrix_forgets_where_pixels_were() -> None:
    moved = activations().roll((2, 3), (2, 3)).flip(3)
    torch.testing.assert_close(gram_matrix(moved), gram_matrix(activations()))


def test_bfloat16_goes_in_and_float32_comes_out() -> None:
    photo, painted = activations(dtype=torch.bfloat16), activations(1, torch.bfloat16)
    gram = gram_matrix(painted)
    results = [
        gram,
        content_loss(painted, photo, relative=True),
        content_loss(painted, photo, relative=False),
        style_loss(gram, gram_matrix(photo), relative=True),
        total_variation(painted),
        pixel_loss(painted, photo),
    ]
    assert {result.dtype for result in results} == {torch.float32}
    torch.testing.assert_close(gram, gram_matrix(painted.float()), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("relative", [True, False])
def test_losses_are_zero_at_their_target(relative: bool) -> None:
    photo, gram = activations(), gram_matrix(activations())
    zero = torch.zeros(2)
    assert torch.equal(content_loss(photo, photo, relative), zero)
    assert torch.equal(style_loss(gram, gram, relative), zero)
    assert torch.equal(pixel_loss(photo, photo), zero)


def test_losses_are_mean_squares_by_hand() -> None:
    photo = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2)
    painted = torch.tensor([1.0, 2.0, 5.0, 0.0]).view(1, 1, 2, 2)
    # Squared errors 0, 0, 4, 16; squares of the photograph 1, 4, 9, 16; variance 5/3.
    assert content_loss(painted, photo, relative=False).tolist() == [5]
    assert content_loss(painted, photo, relative=True).item() == pytest.approx(5 / 7.5)
    assert style_loss(painted[0], photo[0], relative=False).tolist() == [5]
    assert style_loss(painted[0], photo[0], relative=True).item() == pytest.approx(20 / 30)
    assert pixel_loss(painted, photo).item() == pytest.approx(5 / (5 / 3))


def test_no_activations_at_all_are_a_relative_loss_of_one() -> None:
    photo, gram = activations(), gram_matrix(activations())
    torch.testing.assert_close(content_loss(0 * photo, photo, relative=True), torch.ones(2))
    torch.testing.assert_close(style_loss(0 * gram, gram, relative=True), torch.ones(2))


@pytest.mark.parametrize("scale", [1e-2, 30.0])
def test_relative_losses_do_not_change_when_both_sides_are_scaled(scale: float) -> None:
    painted, photo = activations(1), activations()
    torch.testing.assert_close(
        content_loss(scale * painted, scale * photo, relative=True),
        content_loss(painted, photo, relative=True),
    )
    gram, target = gram_matrix(painted), gram_matrix(photo)
    torch.testing.assert_close(
        style_loss(scale * gram, scale * target, relative=True),
        style_loss(gram, target, relative=True),
    )


def test_relative_losses_of_a_blank_target_are_finite() -> None:
    blank = torch.zeros(1, 2, 3, 3)
    assert content_loss(blank + 1, blank, relative=True).isfinite().all()
    assert style_loss(blank[0] + 1, blank[0], relative=True).isfinite().all()
    assert pixel_loss(blank + 1, blank).isfinite().all()


def test_the_total_variation_of_a_checkerboard() -> None:
    board = torch.tensor([[0.0, 1.0] * 4, [1.0, 0.0] * 4] * 4).expand(2, 3, 8, 8)
    # Every neighbour differs by 1: a mean of 1 down and a mean of 1 across.
    assert total_variation(board).tolist() == [2, 2]
    assert total_variation(board / 2).tolist() == [0.5, 0.5]
    assert total_variation(torch.full((2, 3, 8, 8), 0.7)).tolist() == [0, 0]


def test_the_total_variation_of_stripes_counts_one_direction() -> None:
    stripes = torch.tensor([[0.0], [1.0]] * 4).expand(1, 3, 8, 5)
    assert total_variation(stripes).tolist() == [1]
    assert total_variation(stripes.transpose(2, 3)).tolist() == [1]


def test_saturation_counts_only_what_the_sigmoid_flattens() -> None:
    inside = torch.linspace(-3.5, 3.5, 16).view(1, 1, 4, 4)
    assert saturation_loss(inside).tolist() == [0]
    # Excesses 2 and 4 of four pixels: (4 + 16) / 4.
    assert saturation_loss(torch.tensor([5.5, -7.5, 0.0, 3.0]).view(1, 1, 2, 2)).tolist() == [5]


def test_tones_are_compared_by_area_and_without_their_mean() -> None:
    dark_to_light = torch.tensor([0.2, 0.8]).repeat_interleave(8).expand(1, 3, 8, 16).contiguous()
    assert tone_loss(dark_to_light, dark_to_light).item() == pytest.approx(0, abs=1e-6)
    assert tone_loss(dark_to_light + 0.1, dark_to_light).item() == pytest.approx(0, abs=1e-6)
    flat = torch.full_like(dark_to_light, 0.5)
    assert tone_loss(flat, dark_to_light).item() == pytest.approx(1)
    assert tone_loss(dark_to_light.flip(3), dark_to_light).item() == pytest.approx(4)
    fine = 0.05 * (-1.0) ** torch.arange(16)  # paint within an area
    assert tone_loss(dark_to_light + fine, dark_to_light).item() == pytest.approx(0, abs=1e-6)
    assert tone_loss(flat, flat).item() == 0  # a photograph of one colour


def test_the_similarity_loss_by_hand() -> None:
    # Two places alike and one square to them, against three that are 120 degrees apart.
    photo = torch.tensor([[1.0, 2.0, 0.0], [0.0, 0.0, 5.0]]).view(1, 2, 1, 3)
    # Distances 0 0 1, 0 0 1 and 1 1 0: rows of sum 1 are 0 0 1, 0 0 1 and 1/2 1/2 0.
    painted = torch.tensor([[1.0, -0.5, -0.5], [0.0, 0.75**0.5, -(0.75**0.5)]]).view(1, 2, 1, 3)
    # Distances 3/2 between any two: 0 1/2 1/2 and so on.  Differences 0 1/2 1/2, 1/2 0 1/2 and 0.
    expected = torch.tensor([(1 + 1 + 0) / 3])
    torch.testing.assert_close(similarity_loss(painted, photo), expected)
    assert similarity_loss(3 * painted, painted).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "left"), [((16, 16), (16, 16)), ((16, 17), (8, 9)), ((40, 60), (10, 15))]
)
def test_self_similarity_is_taken_at_places_on_a_grid(
    size: tuple[int, int], left: tuple[int, int]
) -> None:
    features = torch.rand(1, 2, *size)
    places = some_places(features)
    assert places.shape[-2:] == left
    assert places.shape[-2] * places.shape[-1] <= PLACES
    assert torch.equal(places[0, :, 0, 0], features[0, :, 0, 0])


def test_the_lattice_loss_of_a_pattern_by_hand() -> None:
    # One pixel of every tile of 4x4 is lighter: 4x6 tiles, and a flat picture beside them.
    pattern = torch.zeros(4, 4)
    pattern[0, 0] = 0.2
    woven = torch.stack([torch.zeros(3, 16, 24), pattern.repeat(4, 6).expand(3, -1, -1)]) + 0.5
    repeated = (0.2**2 / 16 - (0.2 / 16) ** 2) / 1e-2  # of a variance below 0.01
    # Two of a tile's 16 steps across are 0.2, two of those down; the last step is missing.
    tile = 2 * 0.04**2 / 16 - (2 * 0.04 / 16) ** 2
    across, down = 0.04 * (11 * 4) / (23 * 16), 0.04 * (7 * 6) / (15 * 24)
    expected = torch.tensor([0, 10 * repeated + tile / across**2 + tile / down**2])
    torch.testing.assert_close(lattice_loss(woven, 4), expected)


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_picture_of_squares_has_all_its_steps_between_tiles(shift: int) -> None:
    squares = torch.rand(1, 3, 60, 60, generator=torch.Generator().manual_seed(0))
    picture = squares.repeat_interleave(4, 2).repeat_interleave(4, 3).roll((shift, shift), (2, 3))
    # One of four places has all steps: twice (3 (1/4)^2 + (3/4)^2) / 4 over (1/4)^2.
    torch.testing.assert_close(lattice_loss(picture, 4), torch.tensor([6.0]), atol=0.2, rtol=0)
    torch.testing.assert_close(lattice_loss(picture / 2, 4), lattice_loss(picture, 4))
    assert lattice_loss(picture, 5) < 0.02


@pytest.mark.parametrize("period", [3, 5])
def test_a_pattern_of_another_step_is_hardly_a_lattice(period: int) -> None:
    tile = torch.rand(1, 3, period, period, generator=torch.Generator().manual_seed(1))
    picture = tile.repeat(1, 1, 240 // period, 240 // period)
    assert lattice_loss(picture, period) > 10  # ten times all of its variance
    assert lattice_loss(picture, 4) < 0.01


def test_the_fine_energies_of_stripes_by_hand() -> None:
    stripes = torch.tensor([0.4, 0.6]).repeat(13).expand(1, 3, 22, 26)
    found = fine_energies(stripes, WAVES)
    assert found.shape == (1, 36)
    # Grey is sqrt(3) times as large as its three colours; of the fine waves only the finest is in
    # stripes of two pixels: cos(3 pi / 8) + cos(pi / 8) twice over sqrt(2), and four equal rows.
    wave = 2 * (math.cos(3 * math.pi / 8) + math.cos(math.pi / 8)) / 2**0.5
    expected = 3 * 0.1**2 * (2 * wave) ** 2
    assert found.max().item() == pytest.approx(expected, rel=1e-5)
    assert found.sum().item() == pytest.approx(expected, rel=1e-5)
    down = fine_energies(stripes.mT, WAVES)
    assert down.max().item() == pytest.approx(expected, rel=1e-5)
    assert down.argmax() != found.argmax()


def test_fine_energies_are_the_same_wherever_a_lattice_begins() -> None:
    tile = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    woven = tile.repeat(1, 1, 31, 31)
    found = [fine_energies(woven[..., a : a + 109, a : a + 109], WAVES) for a in range(4)]
    for one in found[1:]:
        torch.testing.assert_close(one, found[0])


def test_what_is_coarse_or_of_one_colour_has_no_fine_energy() -> None:
    slope = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert fine_energies(slope, WAVES).max() < 1e-4
    assert fine_energies(torch.full((1, 3, 9, 9), 0.7), WAVES).max() < 1e-12


def test_hatching_costs_only_beyond_what_is_allowed() -> None:
    allowed = torch.full((2, 36), 3e-4)
    energies = allowed.clone() / 2
    energies[1, 7] = math.e * (3e-4 + 1e-5)
    energies.requires_grad_()
    loss = hatching_loss(energies, allowed)
    torch.testing.assert_close(loss, torch.tensor([0, 1 / 36]))
    loss.sum().backward()
    assert energies.grad is not None
    assert energies.grad.nonzero().tolist() == [[1, 7]]


def test_half_averages_four_pixels() -> None:
    image = torch.tensor([[1.0, 3.0, 0.0, 0.0], [5.0, 7.0, 0.0, 4.0]]).view(1, 1, 2, 4)
    assert half(image).tolist() == [[[[4, 1]]]]
    assert half(torch.zeros(1, 3, 9, 7)).shape == (1, 3, 4, 3)


def test_each_loss_sends_a_gradient_to_its_own_image_only() -> None:
    photo, target = activations(), gram_matrix(activations())
    losses = {
        "content": lambda x: content_loss(x, photo, relative=True),
        "style": lambda x: style_loss(gram_matrix(x), target, relative=True),
        "variation": total_variation,
        "pixels": lambda x: pixel_loss(x, photo),
    }
    for name, loss in losses.items():
        painted = activations(1).requires_grad_()
        value = loss(painted)
        assert value.shape == (2,), name
        value[0].backward()
        assert painted.grad is not None
        assert painted.grad[0].abs().max() > 0, name
        assert painted.grad[1].abs().max() == 0, name


@pytest.mark.parametrize("divisor", ["size", "pixels"])
def test_gradients_of_gram_matrices_and_means_are_right(divisor: str) -> None:
    features = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x: gram_matrix(x, divisor), features)
    torch.autograd.gradcheck(lambda x: gram_and_mean(x, divisor), features)
    torch.testing.assert_close(gram_and_mean(features, divisor)[1], features.mean((2, 3)))
