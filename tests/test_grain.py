"""Grain depends on the place alone, and is noise."""

import pytest
import torch

from stylepack.network.grain import grain, random_grain


def test_rows_are_the_same_however_they_are_asked_for() -> None:
    whole = grain(0, 200, 37)
    parts = [grain(a, b, 37) for a, b in ((0, 5), (5, 64), (64, 65), (65, 131), (131, 200))]
    assert torch.equal(torch.cat(parts), whole)


def test_it_is_noise_of_deviation_one_in_two_octaves() -> None:
    noise = grain(0, 512, 512)
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert torch.nn.functional.avg_pool2d(noise[None], 4).std() == pytest.approx(0.73, abs=0.03)
    assert not torch.allclose(noise[:64], noise[64:128])


def test_random_grain_has_any_size_and_repeats_with_its_seed() -> None:
    draws = [random_grain((2, 7, 9), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert draws[0].shape == (2, 1, 7, 9)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
