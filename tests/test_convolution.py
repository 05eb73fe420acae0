"""The rearranged convolutions are the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from stylepack.network.convolution import convolve, convolve_doubled, doubling_kernel


@pytest.mark.parametrize("size", [(4, 4), (7, 12), (1, 3)])
def test_a_doubled_convolution_is_doubling_and_then_convolving(size: tuple[int, int]) -> None:
    x, weight = torch.randn(2, 10, *size), torch.randn(6, 10, 3, 3)
    doubled = F.interpolate(x, scale_factor=2, mode="nearest")
    expected = F.conv2d(F.pad(doubled, (1, 1, 1, 1), mode="reflect"), weight)
    bordered = F.pad(x, (1, 1, 1, 1), mode="replicate")
    found = convolve_doubled(bordered, doubling_kernel(weight))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("channels", "kernel", "stride"), [(3, 9, 1), (3, 5, 1), (16, 9, 1), (3, 9, 2)]
)
def test_every_convolution_is_the_plain_one(channels: int, kernel: int, stride: int) -> None:
    x, weight = torch.randn(2, 12, 21, 18), torch.randn(channels, 12, kernel, kernel)
    expected = F.conv2d(x, weight, stride=stride)
    torch.testing.assert_close(convolve(x, weight, stride), expected, atol=1e-3, rtol=1e-4)


def test_gradients_are_those_of_the_plain_ones() -> None:
    x = torch.randn(1, 10, 12, 12, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(3, 10, 9, 9, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(convolve, (x, weight))
    small = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    kernel = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda x, w: convolve_doubled(x, doubling_kernel(w)), (small, kernel))
