"""The rearranged convolutions are the plain ones."""

import pytest
import torch
import torch.nn.functional as F

from stylepack.inference.kernels import (
    ConvFn,
    Products,
    doubling_product,
    int8_doubling_product,
    int8_is_fast,
    int8_product,
    product,
)
from stylepack.inference.rows import AffineCode, QuantParams, eight_bits
from stylepack.inference.statistics import Spread, extremes
from stylepack.network.convolution import convolve, convolve_doubled, doubling_kernel

NEEDS_INT8 = pytest.mark.skipif(not int8_is_fast(), reason="no instructions for it here")


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


def coded(channels: int, height: int, width: int) -> tuple[AffineCode, torch.Tensor, torch.Tensor]:
    """A code, numbers, and the activations that they stand for."""
    code = AffineCode(torch.randn(channels), torch.rand(channels) + 0.1)
    q = torch.randn(1, channels, height, width)
    return code, q, code.low[:, None, None] + code.step[:, None, None] * q


@pytest.mark.parametrize(
    ("channels", "kernel", "stride"), [(3, 9, 1), (3, 5, 1), (16, 9, 1), (24, 3, 2)]
)
def test_a_product_takes_numbers_for_what_they_stand_for(
    channels: int, kernel: int, stride: int
) -> None:
    code, q, x = coded(12, 21, 18)
    weight = torch.randn(channels, 12, kernel, kernel)
    expected = F.conv2d(x, weight, stride=stride)
    found = product(weight, code, torch.float32, stride)(q)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)
    found = product(weight, None, torch.float32, stride)(x)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 4, 5, 6, 9, 10, 13])
def test_pixels_side_by_side_are_painted_at_every_width(width: int) -> None:
    weight = torch.randn(3, 12, 9, 9)
    x = torch.randn(1, 12, 11, width + 8).contiguous(memory_format=torch.channels_last)
    found = product(weight, None, torch.float32)(x)
    torch.testing.assert_close(found, F.conv2d(x, weight), atol=1e-3, rtol=1e-4)


def test_a_doubling_product_takes_numbers_for_what_they_stand_for() -> None:
    code, q, x = coded(10, 9, 14)
    weight = torch.randn(6, 10, 3, 3)
    expected = convolve_doubled(x, doubling_kernel(weight))
    for numbers, stand_for in ((q, code), (x, None)):
        found = doubling_product(weight, stand_for, torch.float32)(numbers)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.fixture(autouse=True)
def the_same_numbers_every_time() -> None:
    torch.manual_seed(0)


def levels_of_each_channel(channels: int) -> QuantParams:
    low = torch.linspace(-1, 0, channels)
    return QuantParams.between(low, low + torch.linspace(0.5, 4, channels))


def some_levels(levels: QuantParams, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random levels, and the activations that they stand for."""
    q = torch.randint(0, 256, (1, len(levels.low), height, width), dtype=torch.uint8)
    x = levels.low[:, None, None] + levels.step[:, None, None] * q
    return q.contiguous(memory_format=torch.channels_last), x


def assert_near(product: ConvFn, q: torch.Tensor, expected: torch.Tensor) -> None:
    """Weights of eight bits are at most half of 1/127 of the largest away."""
    found = product(q)
    assert found.shape == expected.shape
    assert (found - expected).square().mean().sqrt() <= 0.02 * expected.std()


@pytest.mark.parametrize(
    "precision", ["float32", "bfloat16", pytest.param("int8", marks=NEEDS_INT8)]
)
@pytest.mark.parametrize(("shape", "stride"), [((3, 16, 9, 9), 1), ((32, 16, 3, 3), 2)])
@pytest.mark.parametrize("width", [1, 2, 5, 6, 11, 51])
def test_the_last_columns_are_right_in_every_precision(
    shape: tuple[int, ...], stride: int, width: int, precision: str
) -> None:
    # With AMX, a result one column wide and twenty rows high was wrong.
    torch.manual_seed(0)
    channels, kernel = shape[1], shape[-1]
    weight = 0.05 * torch.randn(shape)
    x = torch.rand(1, channels, 19 * stride + kernel, (width - 1) * stride + kernel)
    if precision == "int8":
        x = x.mul(255).to(torch.uint8)
        levels = QuantParams(torch.zeros(channels), torch.ones(channels))
        convolution = int8_product(weight, levels, torch.float32, stride)
    else:
        x = x.to(getattr(torch, precision))
        convolution = product(weight, None, x.dtype, stride)
    found = convolution(x.contiguous(memory_format=torch.channels_last)).float()
    expected = F.conv2d(x.float(), weight, stride=stride)
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


@NEEDS_INT8
@pytest.mark.parametrize(
    ("c_in", "c_out", "kernel", "stride"),
    [(16, 24, 3, 1), (3, 32, 9, 1), (32, 64, 3, 2), (32, 3, 9, 1)],
)
def test_a_convolution_in_whole_numbers_is_nearly_the_plain_one(
    c_in: int, c_out: int, kernel: int, stride: int
) -> None:
    weight, levels = torch.randn(c_out, c_in, kernel, kernel), levels_of_each_channel(c_in)
    q, x = some_levels(levels, 23, 30)
    product = int8_product(weight, levels, torch.float32, stride)
    assert_near(product, q, F.conv2d(x, weight, stride=stride))


@NEEDS_INT8
@pytest.mark.parametrize("size", [(4, 4), (7, 12), (1, 3)])
def test_doubling_in_whole_numbers_is_nearly_the_plain_one(size: tuple[int, int]) -> None:
    weight, levels = torch.randn(24, 16, 3, 3), levels_of_each_channel(16)
    q, x = some_levels(levels, size[0] + 2, size[1] + 2)
    product = int8_doubling_product(weight, levels, torch.float32)
    assert_near(product, q, convolve_doubled(x, doubling_kernel(weight)))


def test_levels_are_the_nearest_and_cut_off_at_both_ends() -> None:
    levels = QuantParams(torch.tensor([0.0, -1.0]), torch.tensor([0.1, 0.5]))
    x = torch.tensor([[[[-5.0, 0.04, 0.06, 99.0]], [[-5.0, -0.76, -0.74, 999.0]]]])
    expected = torch.tensor([[[[0, 0, 1, 255]], [[0, 0, 1, 255]]]], dtype=torch.uint8)
    assert torch.equal(levels.of(x), expected)


def test_levels_are_those_of_a_norm_with_its_relu_worked_in() -> None:
    gamma, beta = torch.tensor([[2.0, -0.5]]), torch.tensor([[-1.0, 0.3]])
    levels = QuantParams.after_relu(gamma, beta, 8.0)
    x = torch.randn(1, 2, 30, 30)
    scale, shift = levels.of_norm(gamma, beta)
    found = (
        eight_bits(x * scale[..., None, None] + shift[..., None, None]) * levels.step[:, None, None]
    )
    expected = F.relu(x * gamma[..., None, None] + beta[..., None, None])
    assert ((found - expected).abs() <= levels.step[:, None, None] * 0.51).all()


def spread_of(x: torch.Tensor) -> Spread:
    variance, mean = torch.var_mean(x, (0, 2, 3))
    return Spread(*extremes(x), mean, variance.sqrt())


def test_levels_cover_what_was_seen_or_so_many_deviations() -> None:
    x = torch.rand(1, 2, 60, 80)
    x[0, 1] += 10
    spread = spread_of(x)
    levels = QuantParams.spanning(spread, 8.0)
    high = levels.low + 255 * levels.step
    assert ((levels.low < x.amin((0, 2, 3))) & (high > x.amax((0, 2, 3)))).all()
    assert (high - levels.low < 1.3).all()
    tight = QuantParams.spanning(spread, 1.0)
    torch.testing.assert_close(tight.low, spread.mean - spread.deviation)


def test_eight_bits_follow_outliers_so_far_and_then_give_up() -> None:
    x = torch.randn(1, 2, 90, 90)
    assert spread_of(x).range_in_sigmas() == 8
    x[0, 1, 30:33, 30:33] = 16
    assert spread_of(x).range_in_sigmas() == 16
    x[0, 1, 30:33, 30:33] = 40
    assert spread_of(x).range_in_sigmas() is None


def test_products_are_kept_while_their_levels_stay() -> None:
    products, made = Products(), []

    def make() -> ConvFn:
        made.append(lambda x: x)
        return made[-1]

    levels = QuantParams(torch.zeros(3), torch.ones(3))
    first = products.of("conv1", levels, make)
    assert products.of("conv1", QuantParams(torch.zeros(3), torch.ones(3)), make) is first
    assert products.of("conv2", levels, make) is not first
    assert (
        products.of("conv1", QuantParams(torch.zeros(3), torch.full((3,), 2.0)), make) is not first
    )
    assert len(made) == 3
