"""The network: shapes, styles, and its instance norm against torch's own."""

import pytest
import torch
import torch.nn.functional as F
from conftest import TINY

from stylepack.errors import DeviceError
from stylepack.inference import kernels
from stylepack.inference.kernels import painting_dtype
from stylepack.network.device import training_dtype
from stylepack.network.norm import EPSILON, conditional_instance_norm, whiten, whiten_by_parts
from stylepack.network.trunk import (
    Trunk,
    TrunkConfig,
    pad_to_stride,
    photograph_contrast,
    photograph_logits,
)


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    torch.manual_seed(0)
    return Trunk(TINY).requires_grad_(False).eval()


def random_styles(count: int) -> torch.Tensor:
    return torch.randn(count, TINY.style_size, generator=torch.Generator().manual_seed(1))


def test_the_papers_sizes_give_3206_numbers_a_style_and_16_norms() -> None:
    config = TrunkConfig()
    assert config.style_size == 3206
    assert len(config.layout()) == 16
    assert sum(weight.numel() for weight in Trunk(config).parameters()) == 1_674_432


def test_the_layout_covers_the_style_vector_once() -> None:
    covered = torch.zeros(TINY.style_size)
    for slot in TINY.layout():
        covered[slot.gamma] += 1
        covered[slot.beta] += 1
    assert torch.equal(covered, torch.ones(TINY.style_size))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 8), (33, 50), (64, 31), (1, 40)])
def test_output_has_exactly_the_inputs_size_and_range(trunk: Trunk, size: tuple[int, int]) -> None:
    painted = trunk(torch.rand(2, 3, *size), TINY.neutral_style())
    assert painted.shape == (2, 3, *size)
    assert torch.isfinite(painted).all()
    assert painted.min() >= 0
    assert painted.max() <= 1


def test_one_style_an_image_equals_painting_them_one_by_one(trunk: Trunk) -> None:
    images, styles = torch.rand(3, 3, 32, 40), random_styles(3)
    together = trunk(images, styles)
    apart = [trunk(image[None], style)[0] for image, style in zip(images, styles, strict=True)]
    torch.testing.assert_close(together, torch.stack(apart), atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], trunk(images[:1], styles[1])[0], atol=1e-2)


def test_training_and_painting_compute_the_same(trunk: Trunk) -> None:
    images, style = torch.rand(2, 3, 32, 32), random_styles(1)[0]
    with torch.enable_grad():
        trained = trunk(images, style.requires_grad_()).detach()
    with torch.inference_mode():
        painted = trunk(images, style)
    torch.testing.assert_close(trained, painted, atol=1e-5, rtol=1e-4)


def test_it_computes_in_the_dtype_of_the_images(trunk: Trunk) -> None:
    images = torch.rand(1, 3, 32, 32)
    style = TINY.neutral_style()
    rough = trunk(images.bfloat16(), style)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), trunk(images, style), atol=0.1, rtol=0.1)


def test_padding_repeats_the_last_row_and_column() -> None:
    padded = pad_to_stride(torch.arange(9.0).view(1, 1, 3, 3))
    assert padded.shape == (1, 1, 8, 8)
    assert (padded[..., 2:, :3] == torch.tensor([6.0, 7.0, 8.0])).all()
    assert (padded[..., :3, 2:] == torch.tensor([[2.0], [5.0], [8.0]])).all()


@pytest.mark.parametrize("styles", [1, 3])
def test_the_norm_and_its_gradient_are_instance_norms(styles: int) -> None:
    generator = torch.Generator().manual_seed(2)
    inputs = [
        torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for shape in ((3, 4, 6, 5), (styles, 4), (styles, 4))
    ]
    x, gamma, beta = inputs
    ours = conditional_instance_norm(x, gamma, beta)
    theirs = F.instance_norm(x, eps=EPSILON) * gamma[..., None, None] + beta[..., None, None]
    torch.testing.assert_close(ours, theirs)
    upstream = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    for mine, reference in zip(
        torch.autograd.grad(ours, inputs, upstream),
        torch.autograd.grad(theirs, inputs, upstream),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_device_whitens_alike(dtype: torch.dtype) -> None:
    x = (torch.randn(2, 4, 9, 7) * 3 + 5).to(dtype).to(memory_format=torch.channels_last)
    ours, plain = whiten(x), whiten_by_parts(x)
    torch.testing.assert_close(ours[0].float(), plain[0].float(), atol=2e-2, rtol=1e-2)
    for mine, reference in zip(ours[1:], plain[1:], strict=True):
        assert mine.dtype == torch.float32
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)


def test_the_norm_keeps_channels_last() -> None:
    x = torch.rand(2, 4, 6, 6).to(memory_format=torch.channels_last)
    ones, zeros = torch.ones(2, 4), torch.zeros(2, 4)
    assert conditional_instance_norm(x, ones, zeros).is_contiguous(
        memory_format=torch.channels_last
    )


def test_a_photographs_own_contrast_gives_it_back() -> None:
    photo = torch.rand(2, 3, 24, 20) * torch.tensor([0.3, 0.9]).view(2, 1, 1, 1) + 0.05
    contrast = photograph_contrast(photo)
    whitened, _, _ = whiten(photograph_logits(photo) * 3 - 1)  # any contrast will do
    gamma, beta = contrast[:, :3, None, None], contrast[:, 3:, None, None]
    torch.testing.assert_close(torch.sigmoid(whitened * gamma + beta), photo, atol=1e-3, rtol=1e-3)


def test_own_contrast_is_added_to_the_last_norm_alone(trunk: Trunk) -> None:
    style, photo = TINY.neutral_style(), torch.rand(1, 3, 16, 16)
    last = trunk.slots["out"].gamma.start
    changed = trunk.with_contrast(style, photo, torch.tensor([0.5]))[0]
    assert torch.equal(changed[:last], style[:last])
    torch.testing.assert_close(changed[last:] - style[last:], 0.5 * photograph_contrast(photo)[0])


def test_grain_gives_a_flat_photograph_something_to_paint() -> None:
    torch.manual_seed(0)
    grainy = Trunk(TrunkConfig((4, 6, 8), 1, 9, grain=0.02)).requires_grad_(False)
    flat = torch.full((1, 3, 40, 40), 0.5)
    painted = grainy(flat, random_styles(1)[0])
    assert painted.std(dim=(2, 3)).min() > 0.01
    assert torch.equal(painted, grainy(flat, random_styles(1)[0]))


def test_painting_takes_the_fastest_numbers_that_the_processor_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(kernels, "int8_is_fast", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert painting_dtype(cpu) == torch.bfloat16
    assert painting_dtype(cpu, "int8") == torch.int8
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert painting_dtype(cpu) == torch.int8
    assert painting_dtype(cpu, "float32") == torch.float32
    assert painting_dtype(torch.device("cuda")) == torch.float16
    with pytest.raises(DeviceError, match="int8 needs a processor with VNNI or AMX, not cuda"):
        painting_dtype(torch.device("cuda"), "int8")
    monkeypatch.setattr(kernels, "int8_is_fast", lambda: False)
    assert painting_dtype(cpu) == training_dtype(cpu)
    with pytest.raises(DeviceError, match="needs a processor with VNNI or AMX"):
        painting_dtype(cpu, "int8")
