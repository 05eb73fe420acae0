"""Grain depends on the place alone, and is noise."""

import pytest
import torch

from stylepack.network.grain import grain, grain_on, random_grain


def test_rows_are_the_same_however_they_are_asked_for() -> None:
    whole = grain(0, 200, 700)
    cuts = ((0, 5), (5, 64), (64, 65), (65, 131), (131, 200))
    assert torch.equal(torch.cat([grain(a, b, 700) for a, b in cuts]), whole)
    for width in (1, 37, 512, 513):
        assert torch.equal(grain(3, 150, width), whole[3:150, :width])


def test_on_a_card_it_is_whole_and_is_brought_there_once() -> None:
    there = grain_on(torch.device("meta"), 70, 600)
    assert (there.device.type, there.shape, there.dtype) == ("meta", (70, 600), torch.float16)
    assert grain_on(torch.device("meta"), 70, 600) is there
    grain_on.cache_clear()


def test_it_is_noise_of_deviation_one_in_two_octaves() -> None:
    noise = grain(0, 512, 1024).float()
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert torch.nn.functional.avg_pool2d(noise[None], 4).std() == pytest.approx(0.73, abs=0.03)
    tiles = noise.unflatten(0, (8, 64)).unflatten(2, (2, 512)).transpose(1, 2).reshape(16, -1)
    likeness = torch.corrcoef(tiles) - torch.eye(16)  # no tile is another once more
    assert likeness.abs().max() < 0.1


def test_random_grain_has_any_size_and_repeats_with_its_seed() -> None:
    draws = [random_grain((2, 7, 9), torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert draws[0].shape == (2, 1, 7, 9)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
