"""The trunk over an image of any size, exactly, in bounded memory.

An instance norm needs the mean and variance of each channel over the whole image, which is why
tools that paint tile by tile show seams.  Here every layer is first measured over the whole image,
strip by strip; the next layer recomputes the strips that it needs.  The residual body, at a quarter
of the size, is kept whole, and outer layers are kept if memory allows.  The result equals the
untiled one up to rounding.  A small image is one strip, and nothing is computed twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from stylepack.inference.kernels import Products
from stylepack.inference.layers import DoublingLayer, Layer, Style, Work, channels_first
from stylepack.inference.rows import (
    AffineCode,
    ImageRows,
    PaddedRows,
    Pages,
    QuantParams,
    TensorRows,
    tensor_of,
)
from stylepack.inference.statistics import OWN_RANGES, ChannelStatistics, strips
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk, padded_size

Advance = Callable[[float], None]  # called with the share of the work that is done, 0..1


def ignore_progress(share: float) -> None:
    """Ignore the share of the work that is done."""


def part_of(advance: Advance, start: float, end: float) -> Advance:
    """Progress of a part of the work, as progress from `start` to `end` of all of it."""
    return lambda share: advance(start + share * (end - start))


@dataclass(frozen=True)
class StripBudget:
    """Sizes of strips and of the cache.

    A strip has about `strip` pixels and at least `rows` rows; it is a quarter of the image if that
    is at most 2 x `strip` pixels.  `keep`: activations of the outer layers that may be cached.
    """

    strip: int = 1 << 18
    rows: int = 64
    keep: int = 1 << 27

    def strip_rows(self, height: int, width: int) -> int:
        """Rows of a strip of an image of this size, a multiple of 4."""
        rows, quarter = max(self.rows, self.strip // width), height // 4
        if quarter * width <= 2 * self.strip:
            rows = max(rows, quarter)
        return -(-rows // 4) * 4

    def times(self, factor: float) -> "StripBudget":
        """Smaller or larger strips, with the same cache."""
        return replace(self, strip=int(self.strip * factor), rows=int(self.rows * factor))

    def batch_size(self, size: tuple[int, int]) -> int:
        """Number of images of (width, height) that may be painted at once, 1 or more."""
        return max(1, 2 * self.strip // (size[0] * size[1]))


class Memo:
    """Cache of intermediate results shared by paintings of one image in many styles.

    `first`: the first layer, whose convolution does not depend on the style; `plain`: the image
    painted in the identity style, (3, H, W) uint8.  For one thread and one trunk.
    """

    def __init__(self) -> None:
        self.image: Tensor | None = None
        self.first: Layer | None = None
        self.plain: Tensor | None = None

    def of(self, image: Tensor) -> "Memo":
        """Clear the cache unless `image` is the last one; return the cache."""
        if image is not self.image:
            self.image, self.first, self.plain = image, None, None
        return self


def paint_streaming(
    trunk: Trunk,
    style: Style,
    image: Tensor | Pages,
    memory: StripBudget,
    advance: Advance = ignore_progress,
    *,
    int8: Products | None = None,
    memo: Memo | None = None,
) -> Tensor:
    """Paint one image.

    Args:
        trunk: on its device, in the dtype to compute in; float32 on the CPU with `int8`.
        style: on the same device.
        image: (3, H, W) uint8 RGB on the CPU; `Pages` are freed as they are read.
        memory: sizes of strips and of the cache.
        advance: called with the share of the work that is done, 0..1, at every strip of a layer;
            it may raise to stop the work.
        int8: convolve in 8 bits where the image allows it; caches convolutions for the next image
            in this style.
        memo: caches results for the next style on this image, if memory allows.

    Returns:
        (3, H, W) uint8 RGB on the CPU, without gradients: call it under `torch.no_grad()`.
    """
    pages = image if isinstance(image, Pages) else None
    image = tensor_of(image)
    step = memory.strip_rows(*padded_size(*image.shape[-2:]))
    weights = trunk.get_parameter("conv1.weight")
    dtype = weights.dtype if int8 is None else training_dtype(weights.device)
    there = image.to(weights.device)
    course = _Course(advance)
    work = Work(trunk, style.for_photograph(trunk, there, step), dtype, int8, course.tick)
    pixels = ImageRows(there, trunk.config.grain, dtype if int8 is None else torch.uint8, pages)
    keep = _what_to_keep(trunk, pixels, memory.keep)

    share = partial(part_of, course.reach)
    reusable = memo.of(image) if memo and style.regions is None else None

    conv1 = Layer(work, "conv1", pixels)
    known = reusable.first if reusable else None
    if known is not None and known.quantized == conv1.quantized:
        conv1.take_over(known)
    else:
        conv1.measure(step, keep="conv1" in keep, advance=share(0, 0.07))
    if conv1.quantized and conv1.code is None:  # 8 bits are too coarse even for this layer
        work = replace(work, products=None)
        pixels = ImageRows(there, trunk.config.grain, dtype, pages)
        conv1 = Layer(work, "conv1", pixels).measure(step, keep="conv1" in keep)
    if reusable and conv1.kept is not None:
        reusable.first = conv1
    conv2 = Layer(work, "conv2", conv1, stride=2)
    conv2.measure(
        step // 2,
        keep="conv2" in keep,
        last_reader="conv2" in keep and reusable is None,
        advance=share(0.07, 0.15),
    )
    # Whatever is no longer read is freed: pixels, rows and caches.
    channels, height, width = image.shape
    del image, pages, there, pixels, conv1
    if "conv2" in keep:
        conv2.detach()
    conv3 = Layer(work, "conv3", conv2, stride=2)
    del conv2
    body = _body(work, conv3, step // 4, share(0.15, 0.6))
    up1 = DoublingLayer(work, "up1", body)
    del conv3, body
    up1.measure(step // 2, keep="up1" in keep, last_reader="up1" in keep, advance=share(0.6, 0.7))
    if "up1" in keep:
        up1.detach()
    up2 = DoublingLayer(work, "up2", up1)
    up2.measure(step, keep="up2" in keep, advance=share(0.7, 0.85))
    out = Layer(work, "out", up2)
    buffer = None
    if step < out.height:  # strips of the result between those of up2 would fragment the heap
        room = Pages((1, out.height, out.width, out.channels), dtype, weights.device)
        buffer = channels_first(room.tensor)
    out.measure(step, keep=True, buffer=buffer, last_reader=True, advance=share(0.85, 0.99))
    out.detach()
    del up1, up2

    painted = torch.empty(channels, height, width, dtype=torch.uint8)
    for a, b in strips(height, step):
        rows = torch.sigmoid(out.normalised(a, b)[0, :, :, :width].float())
        painted[:, a:b] = rows.mul_(255).round_().to(torch.uint8)
    course.reach(1.0)
    return painted


class _Course:
    """Progress of one painting."""

    def __init__(self, advance: Advance) -> None:
        self.advance, self.share = advance, 0.0

    def reach(self, share: float) -> None:
        """Store and report the share that is done."""
        self.share = share
        self.advance(share)

    def tick(self) -> None:
        """Report the last share again."""
        self.advance(self.share)


def _body(work: Work, conv3: Layer, step: int, advance: Advance) -> TensorRows:
    """conv3 and the residual blocks, (1, C, H/4, W/4): two such tensors at any time."""
    body = Body(conv3, step)
    blocks = work.trunk.config.residual_blocks
    for block in range(1, blocks + 1):
        inner = Layer(work, f"res{block}a", body.source())
        inner.measure(step, keep=True, buffer=body.buffer)
        outer = Layer(work, f"res{block}b", inner)
        outer.measure(step, keep=True, buffer=body.buffer, reuse_buffer_of=inner)
        body.add(outer)
        del inner, outer  # before the next block asks for its own memory
        advance(block / blocks)
    return body.source(repeat=True)


class Body:
    """Activations that residual blocks add to, starting from a layer after its ReLU.

    They are `x`, (1, C, H, W), plus the per-channel constant `low`, (C,) float32.  In large images
    all later layers share one `buffer`, since reallocating it takes time.
    """

    def __init__(self, layer: Layer, step: int) -> None:
        self.strips = list(strips(layer.height, step))
        self.quantized = layer.quantized
        edge = 0 if self.quantized else 1  # rows to quantize are copied anyway
        shape = (1, layer.height + 2 * edge, layer.width + 2 * edge, layer.channels)
        self.pages = Pages(shape, layer.work_dtype, layer.weight.device)
        self.framed = channels_first(self.pages.tensor) if edge else None
        inside = self.pages.tensor[:, edge : edge + layer.height, edge : edge + layer.width]
        self.x = channels_first(inside)
        # In x, because strips of conv3 between those of conv2 would fragment what conv2 frees.
        buffer = self.x if len(self.strips) > 1 else None
        layer.measure(step, keep=True, buffer=buffer, last_reader=True)
        layer.detach()
        self.low = torch.zeros_like(layer.mean)
        for a, b in self.strips:
            self.x[:, :, a:b] = layer.normalised(a, b).relu_()
        layer.kept = None
        pages = layer.make_pages()
        self.buffer = None if pages is None else channels_first(pages.tensor)

    def add(self, layer: Layer) -> None:
        """Add a layer's norm, without a ReLU."""
        for a, b in self.strips:
            layer.add_to(self.x[:, :, a:b], a, b)
        self.low += layer.constant_term
        self.quantized = layer.quantized

    def source(self, *, repeat: bool = False) -> TensorRows:
        """Rows for the next layer, quantized if possible, with the borders of `bordered`."""
        levels = self._levels() if self.quantized else None
        code = levels or AffineCode(self.low, torch.ones_like(self.low))
        if self.framed is None:
            return TensorRows(self.x, code, self.pages)
        return PaddedRows(self.framed, code, self.pages, repeat=repeat)

    def _levels(self) -> QuantParams | None:
        found = ChannelStatistics(with_extremes=True)
        for a, b in self.strips:
            found.add(self.x[:, :, a:b])
        spread = found.spread(*found.joined())
        range_in_sigmas = spread.range_in_sigmas(OWN_RANGES)
        return None if range_in_sigmas is None else QuantParams.spanning(spread, range_in_sigmas)


def _what_to_keep(trunk: Trunk, pixels: ImageRows, memory: int) -> set[str]:
    """Names of the outer layers whose convolutions are cached.

    conv1 and conv2 are freed before up1 and up2 begin, so each pair may use all of the memory.
    The half-size layer comes first: it saves more work for its memory.
    """
    a, b, _ = trunk.config.widths
    area = pixels.height * pixels.width
    kept = set()
    for half_size, full_size in (("conv2", "conv1"), ("up1", "up2")):
        if area // 4 * b <= memory:
            kept.add(half_size)
        if area // 4 * b + area * a <= memory:
            kept.add(full_size)
    return kept
