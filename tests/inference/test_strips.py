"""Painting in strips equals painting whole, at any size and with any memory."""

import mmap
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from conftest import HostWork, Storages, picture
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.errors import DeviceError
from stylepack.images.photo import Photo, read_photo
from stylepack.inference import layers
from stylepack.inference import rows as rows_module
from stylepack.inference.kernels import Products, int8_is_fast
from stylepack.inference.layers import StripCache, Style
from stylepack.inference.regions import Regions
from stylepack.inference.rows import AffineCode, PaddedRows, Pages, TensorRows, bordered
from stylepack.inference.statistics import ChannelStatistics
from stylepack.inference.strips import StripBudget, paint_streaming
from stylepack.network import grain as grain_module
from stylepack.network.norm import EPSILON
from stylepack.network.trunk import Trunk, TrunkConfig, pad_to_stride, photograph_logits
from stylepack.painting import stylizer as module

NEEDS_INT8 = pytest.mark.skipif(not int8_is_fast(), reason="no instructions for it here")
SMALL = TrunkConfig(widths=(8, 12, 16), residual_blocks=2, edge_kernel=9)
torch.manual_seed(0)
TRUNK = Trunk(SMALL).requires_grad_(False).eval()
NARROW = Trunk(replace(SMALL, edge_kernel=5)).requires_grad_(False).eval()
GRAINY = Trunk(replace(SMALL, grain=0.05)).requires_grad_(False).eval()
GRAINY.load_state_dict(TRUNK.state_dict())


@settings(max_examples=80, deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    rows=st.sampled_from([4, 8, 12, 64]),
    keep=st.sampled_from([0, 20_000, 60_000, 1 << 30]),
    seed=st.integers(0, 1000),
    trunk=st.sampled_from([TRUNK, NARROW, GRAINY]),
    own=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_streaming_equals_whole(
    height: int, width: int, rows: int, keep: int, seed: int, trunk: Trunk, own: float
) -> None:
    # One pixel is a constant image: norm after norm blows its rounding errors up.
    assume(height * width > 1)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    style = torch.randn(SMALL.style_size, generator=generator)
    with torch.inference_mode():
        # Of images of a few pixels the whole in float32 is itself too far off now and then.
        exact = deepcopy(trunk).double()
        whole = exact(image[None].double() / 255, style.double(), own)[0] * 255
        streamed = Style(style[None], photo_contrast=torch.tensor([own]))
        painted = paint_streaming(trunk, streamed, image, StripBudget(1, rows, keep))
    assert painted.shape == image.shape
    assert (painted - whole).abs().max() <= 1


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(5, 20),
    first=st.integers(-4, 10),
    rows=st.integers(1, 12),
    edge=st.sampled_from([1, 2, 4]),
)
def test_borders_are_those_that_padding_makes(
    height: int, first: int, rows: int, edge: int
) -> None:
    last = first + rows
    assume(-edge <= first < height - edge and edge < last <= height + edge)
    framed = torch.randn(1, 3, height + 2, 9).contiguous(memory_format=torch.channels_last)
    x, code = framed[:, :, 1:-1, 1:-1], AffineCode(torch.zeros(3), torch.ones(3))
    for repeat in (False, True) if edge == 1 else (False,):
        padded = F.pad(x, (edge,) * 4, mode="replicate" if repeat else "reflect")
        rows = padded[:, :, edge + first : edge + last]
        for source in (TensorRows(x, code), PaddedRows(framed, code, repeat=repeat)):
            assert torch.equal(bordered(source, first, last, edge, x.device, repeat=repeat), rows)


@pytest.mark.parametrize("room", [False, True])
def test_what_is_kept_is_given_back_piece_by_piece_until_it_is_forgotten(room: bool) -> None:
    x, kept = (
        torch.arange(10.0).view(1, 1, 10, 1),
        StripCache(torch.empty(1, 1, 10, 1) if room else None),
    )
    for a, b in ((0, 4), (4, 7), (7, 10)):
        kept.add(a, x[:, :, a:b])
    pieces = list(kept.pieces(3, 8))
    assert [(a, b) for a, b, _ in pieces] == [(3, 4), (4, 7), (7, 8)]
    assert torch.equal(torch.cat([piece for _, _, piece in pieces], dim=2), x[:, :, 3:8])
    kept.make_way(6)  # cuts a strip
    pieces = list(kept.pieces(6, 10))
    assert torch.equal(torch.cat([piece for _, _, piece in pieces], dim=2), x[:, :, 6:])
    kept.forget(8)  # leaves the last strip whole
    assert [(a, b) for a, b, _ in kept.pieces(7, 10)] == [(7, 10)]
    with pytest.raises(AssertionError, match="forgotten"):
        list(kept.pieces(5, 10))


@pytest.mark.parametrize("keep", [0, 200_000, 1 << 30])  # nothing, half-size layers, everything
@pytest.mark.parametrize("height", [40, 44, 90])  # the body in strips of two rows, and of one
@pytest.mark.parametrize("int8", [False, pytest.param(True, marks=NEEDS_INT8)])
def test_large_images_are_painted_in_pages_that_are_freed_as_they_are_read(
    height: int, keep: int, int8: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.randint(0, 256, (3, height, 600), dtype=torch.uint8)
    style, budget = Style(torch.randn(1, SMALL.style_size)), StripBudget(1, 8, keep)

    def paint(pixels: torch.Tensor | Pages) -> torch.Tensor:
        products = Products() if int8 else None
        return paint_streaming(TRUNK, style, pixels, budget, int8=products)

    expected = paint(image)
    monkeypatch.setattr(layers, "LARGE", 0)
    monkeypatch.setattr(rows_module, "SMALLEST", 0)
    pages = Pages(image.shape, torch.uint8, image.device)
    pages.tensor.copy_(image)
    assert torch.equal(paint(pages), expected)
    assert torch.equal(pages.tensor[:, -1], image[:, -1])
    if hasattr(mmap, "MADV_DONTNEED") and keep < 1 << 30:  # with all layers it is only read once
        assert not torch.equal(pages.tensor[:, : height // 2], image[:, : height // 2])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux reports memory")
def test_rows_that_are_forgotten_go_back_to_the_system() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE

    pages = Pages((2, 100, 1 << 20), torch.uint8, torch.device("cpu"))
    pages.tensor.fill_(7)
    full = resident()
    pages.forget(60)
    assert full - resident() > 110 << 20
    assert bool((pages.tensor[:, 60:] == 7).all())
    pages.forget(30)  # they are gone already
    full = resident()
    del pages
    assert full - resident() > 70 << 20


def test_pages_beyond_all_memory_are_refused_as_such() -> None:
    with pytest.raises(MemoryError, match="bytes"):
        Pages((1, 1 << 40, 1 << 20), torch.uint8, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_gamma_of_nothing_leaves_its_beta(dtype: torch.dtype) -> None:
    # In float16 its threshold is beyond all numbers.
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 48, 48), generator=generator, dtype=torch.uint8)
    style = SMALL.neutral_style()
    for slot in SMALL.layout()[:-1]:
        style[slot.gamma.start : slot.gamma.start + 3] = torch.tensor([0.0, 1e-9, -1e-7])
        style[slot.beta.start : slot.beta.start + 3] = torch.tensor([2.0, -2.0, 0.5])
    exact = paint_streaming(TRUNK, Style(style[None]), image, StripBudget())
    narrow = Trunk(SMALL).requires_grad_(False)
    narrow.load_state_dict(TRUNK.state_dict())
    fast = paint_streaming(narrow.to(dtype), Style(style[None]), image, StripBudget())
    assert (exact.float() - fast.float()).square().mean().sqrt() < 3


def test_moments_over_strips_are_those_of_the_whole_even_far_from_zero() -> None:
    x = torch.randn(1, 5, 40, 7) * torch.tensor([3, 10, 30, 30, 99]).view(1, 5, 1, 1) + 300
    moments = ChannelStatistics()
    for strip in x.split([3, 20, 1, 16], dim=2):
        moments.add(strip.contiguous(memory_format=torch.channels_last))
    mean, variance = moments.joined()
    torch.testing.assert_close(mean, x.mean((0, 2, 3)))
    exact = x.double().var((0, 2, 3), correction=0).float()
    torch.testing.assert_close(variance, exact, rtol=2e-2, atol=0)


@pytest.fixture
def no_grain_kept() -> Iterator[None]:
    """Pretended tensors among what is kept would meet real ones later, and the other way round."""
    for kept in (grain_module._tile, grain_module.grain_on):
        kept.cache_clear()
    yield
    for kept in (grain_module._tile, grain_module.grain_on):
        kept.cache_clear()


@pytest.mark.parametrize("own", [0.0, 1.0])
@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("trunk_grain", [0.0, 0.05])
@pytest.mark.parametrize(("memory", "strips"), [(StripBudget(), 1), (StripBudget(1, 16, 0), 4)])
def test_on_cuda_only_the_picture_itself_is_waited_for(
    memory: StripBudget,
    strips: int,
    trunk_grain: float,
    regions: bool,
    own: float,
    no_grain_kept: None,
    pretended: None,
) -> None:
    cuda = torch.device("cuda:0")
    with FakeTensorMode():  # no card is needed to pretend
        image = torch.zeros(3, 66, 70, dtype=torch.uint8)
        with cuda:
            torch.set_default_dtype(torch.float16)
            trunk = Trunk(replace(SMALL, grain=trunk_grain)).requires_grad_(False)
            torch.set_default_dtype(torch.float32)
            style = Style(torch.ones(1 + regions, SMALL.style_size))
        if regions:
            style = replace(style, regions=Regions([image[0]], cuda))
        if own:
            style = replace(style, photo_contrast=torch.full((1 + regions,), own, device=cuda))
        with torch.no_grad():
            with HostWork() as first:
                paint_streaming(trunk, style, image, memory)
            with HostWork() as work:
                painted = paint_streaming(trunk, style, image, memory)
    assert (painted.device.type, painted.shape, painted.dtype) == ("cpu", image.shape, torch.uint8)
    there, back = "aten._to_copy.default", "aten.copy_.default"
    assert work.found == [there, *[back] * strips]
    # The grain is brought there for the first image alone.
    assert sorted(first.found) == sorted([*work.found, *[there] * bool(trunk_grain)])


def test_a_constant_image_is_painted() -> None:
    image = torch.full((3, 40, 40), 128, dtype=torch.uint8)
    painted = paint_streaming(
        TRUNK, Style(SMALL.neutral_style()[None]), image, StripBudget(1, 8, 0)
    )
    assert painted.shape == image.shape


def test_progress_rises_to_one() -> None:
    image = torch.zeros((3, 40, 40), dtype=torch.uint8)
    shares: list[float] = []
    paint_streaming(TRUNK, Style(SMALL.neutral_style()[None]), image, StripBudget(), shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1


@pytest.mark.parametrize("precision", ["bfloat16", pytest.param("int8", marks=NEEDS_INT8)])
@pytest.mark.parametrize("mix", ["starry", "scream", "wave", "composition", "photo"])
def test_the_fast_precisions_are_within_40_decibels_of_float32(mix: str, precision: str) -> None:
    photo = read_photo(BUNDLED_PHOTOS / "china.jpg").resized(240)
    exact = Stylizer.load(mix, device="cpu", precision="float32").paint(photo).to_float()
    fast = Stylizer.load(mix, device="cpu", precision=precision).paint(photo).to_float()
    assert -10 * (exact - fast).square().mean().log10() >= 40


@NEEDS_INT8
@pytest.mark.parametrize("mix", ["starry", "wave"])
@pytest.mark.parametrize(("side", "decibels"), [(16, 30), (64, 40)])
def test_whole_numbers_do_for_small_images_too(mix: str, side: int, decibels: int) -> None:
    pixels = read_photo(BUNDLED_PHOTOS / "china.jpg").pixels[:, 100 : 100 + side, 200 : 200 + side]
    exact, whole = (
        Stylizer.load(mix, device="cpu", precision=precision).paint(Photo(pixels)).to_float()
        for precision in ("float32", "int8")
    )
    assert -10 * (exact - whole).square().mean().log10() >= decibels


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("memory", [StripBudget(1, 8, 0), StripBudget(1, 20, 1 << 30)])
def test_narrow_floats_in_strips_are_those_in_one_piece(
    precision: str, memory: StripBudget
) -> None:
    photo = read_photo(BUNDLED_PHOTOS / "china.jpg").resized(160)
    painter = Stylizer.load("starry", device="cpu", precision=precision)
    whole = painter.paint(photo).to_float()
    painter.memory = memory
    assert -10 * (whole - painter.paint(photo).to_float()).square().mean().log10() >= 45


def painted_in_regions(
    trunk: Trunk, styles: torch.Tensor, own: torch.Tensor, image: torch.Tensor, masks: torch.Tensor
) -> torch.Tensor:
    """The network in plain operations in float64, each style's norms over its own region.

    Masks are (K, H, W) and sum to 1; the result is (3, H, W) in 0..255.
    """
    height, width = image.shape[-2:]
    pixels = pad_to_stride(image[None].double() / 255)
    weights = pad_to_stride(masks[None].double())
    trunk, styles = deepcopy(trunk).double(), styles.double()

    def moments(x: torch.Tensor, share: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mean = (x * share).sum((2, 3)) / share.sum()
        return mean, ((x - mean[..., None, None]).square() * share).sum((2, 3)) / share.sum()

    def norm(name: str, x: torch.Tensor) -> torch.Tensor:
        slot, result = trunk.slots[name], torch.zeros_like(x)
        shares = F.avg_pool2d(weights, weights.shape[-1] // x.shape[-1])
        for k, style in enumerate(styles):
            share = shares[:, k : k + 1]
            if not share.sum():
                continue
            mean, variance = moments(x, share)
            gamma, beta = style[slot.gamma], style[slot.beta]
            if name == "out":
                middle, spread = moments(photograph_logits(pixels).double(), weights[:, k : k + 1])
                gamma, beta = gamma + own[k] * spread[0].sqrt(), beta + own[k] * middle[0]
            whitened = (x - mean[..., None, None]) / (variance[..., None, None] + EPSILON).sqrt()
            result += share * (whitened * gamma[:, None, None] + beta[:, None, None])
        return result

    def layer(name: str, x: torch.Tensor, stride: int = 1) -> torch.Tensor:
        kernel = trunk.get_parameter(f"{name}.weight")
        edge = [kernel.shape[-1] // 2] * 4
        return norm(name, F.conv2d(F.pad(x, edge, mode="reflect"), kernel, stride=stride))

    def doubled(name: str, x: torch.Tensor) -> torch.Tensor:
        kernel = trunk.get_parameter(f"{name}.weight")
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return norm(name, F.conv2d(F.pad(x, [1] * 4, mode="replicate"), kernel))

    grainy = pixels + trunk.config.grain * grain_module.grain(0, *pixels.shape[-2:]).double()
    x = layer("conv1", grainy).relu()
    x = layer("conv3", layer("conv2", x, 2).relu(), 2).relu()
    for block in range(1, trunk.config.residual_blocks + 1):
        x = x + layer(f"res{block}b", layer(f"res{block}a", x).relu())
    x = layer("out", doubled("up2", doubled("up1", x).relu()).relu())
    return 255 * torch.sigmoid(x[0, :, :height, :width])


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(9, 60),
    width=st.integers(9, 60),
    rows=st.sampled_from([4, 12, 64]),
    keep=st.sampled_from([0, 1 << 30]),
    seed=st.integers(0, 1000),
    trunk=st.sampled_from([TRUNK, GRAINY]),
    hard=st.booleans(),
)
def test_each_region_is_normalised_by_itself(
    height: int, width: int, rows: int, keep: int, seed: int, trunk: Trunk, hard: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)
    styles = torch.randn(3, SMALL.style_size, generator=generator)
    own = torch.tensor([0.0, 1.0, 0.5])
    masks = torch.randint(0, 128, (2, height, width), generator=generator, dtype=torch.uint8)
    if hard:  # one region is a half of the picture, one is nowhere
        masks = torch.zeros_like(masks)
        masks[0, :, : width // 2] = 255
    regions = Regions([*masks], torch.device("cpu"))
    painted = paint_streaming(trunk, Style(styles, regions, own), image, StripBudget(1, rows, keep))
    claimed = masks.double() / 255
    whole = torch.cat([1 - claimed.sum(0, keepdim=True), claimed])
    assert (painted - painted_in_regions(trunk, styles, own, image, whole)).abs().max() <= 1


def test_regions_of_one_style_everywhere_are_that_style() -> None:
    # One path takes maxima and the other norms, gammas below 0 among them.
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 50, 70), generator=generator, dtype=torch.uint8)
    styles = torch.randn(2, SMALL.style_size, generator=generator)
    white = torch.full((50, 70), 255, dtype=torch.uint8)
    alone = paint_streaming(TRUNK, Style(styles[1:]), image, StripBudget(1, 12, 0))
    regions = Regions([white], torch.device("cpu"))
    everywhere = paint_streaming(TRUNK, Style(styles, regions), image, StripBudget(1, 12, 0))
    assert (alone.int() - everywhere.int()).abs().max() <= 1


def test_of_the_body_two_tensors_are_there_at_any_time() -> None:
    config = TrunkConfig(widths=(2, 4, 128), residual_blocks=2, edge_kernel=3)
    trunk = Trunk(config).requires_grad_(False)
    image = torch.zeros(3, 1024, 256, dtype=torch.uint8)
    sizes = Storages()
    with sizes:
        paint_streaming(trunk, Style(config.neutral_style()[None]), image, StripBudget(1, 64, 0))
    body = 128 * (1024 // 4) * (256 // 4) * 4
    assert 2 * body <= sizes.most < 2.6 * body


@NEEDS_INT8
@pytest.mark.parametrize("mix", ["starry", "scream", "photo"])
def test_a_small_thing_on_a_flat_ground_is_within_40_decibels_of_float32(mix: str) -> None:
    page = torch.full((3, 120, 400), 20, dtype=torch.uint8)
    page[:, 50:65, 200:230] = 250
    exact, fast = (
        Stylizer.load(mix, device="cpu", precision=precision).paint(Photo(page)).to_float()
        for precision in ("float32", "int8")
    )
    assert -10 * (exact - fast).square().mean().log10() >= 40


@NEEDS_INT8
@pytest.mark.parametrize("memory", [StripBudget(1, 8, 0), StripBudget(1, 20, 1 << 30)])
def test_whole_numbers_in_strips_and_regions_are_within_40_decibels_of_float32(
    memory: StripBudget,
) -> None:
    photo = read_photo(BUNDLED_PHOTOS / "china.jpg").resized(240)
    mask = torch.zeros(photo.size[::-1], dtype=torch.uint8)
    mask[:, 100:180] = torch.linspace(0, 255, 80).to(torch.uint8)
    mask[:, 180:] = 255
    painted = []
    for precision in ("float32", "int8"):
        painter = Stylizer.load("starry", regions=["wave"], device="cpu", precision=precision)
        painter.memory = memory
        painted.append(painter.paint(photo, region_masks=[mask]).to_float())
    assert -10 * (painted[0] - painted[1]).square().mean().log10() >= 40


def test_running_out_of_memory_falls_back_to_smaller_strips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[StripBudget] = []

    def greedy(trunk, style, image, memory, advance, *, int8, memo):
        tried.append(memory)
        if memory.keep:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return paint_streaming(trunk, style, image, memory, advance, int8=int8, memo=memo)

    monkeypatch.setattr(module, "paint_streaming", greedy)
    photo = Photo.from_image(picture(60, 40))
    painter = Stylizer.load("starry", device="cpu", precision="float32")
    fallen = painter.paint(photo).to_float()
    assert len(tried) == 2
    assert tried[1].strip < tried[0].strip
    monkeypatch.undo()
    torch.testing.assert_close(fallen, painter.paint(photo).to_float(), atol=2 / 255, rtol=0)


def test_a_photograph_that_never_fits_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")

    monkeypatch.setattr(module, "paint_streaming", never)
    painter = Stylizer.load("starry", device="cpu")
    with pytest.raises(DeviceError, match="60x40 pixels do not fit in the memory of cpu"):
        painter.paint(Photo.from_image(picture(60, 40)))
