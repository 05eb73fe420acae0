"""The trunk over an image of any size, exactly, in bounded memory.

An instance norm needs the mean and variance of each channel over the whole image, which is
why tools that paint tile by tile show seams and change style from tile to tile.  Here every
layer is first measured over the whole image, strip by strip; the layer after it then computes
the strips that it needs again.  The residual body sees the image at a quarter of its size and
is kept whole.  Of the outer layers as much is kept as the memory set aside for them holds.
The result is the untiled one up to rounding.

This is not a mode: a small image fits whole, and nothing of it is computed twice.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.network.convolution import convolve, convolve_doubled, doubling_kernel
from stylepack.network.device import training_dtype
from stylepack.network.grain import grain, grain_on
from stylepack.network.int8 import (
    Levels,
    Product,
    Products,
    Spread,
    eight_bits,
    extremes,
    int8_doubling_product,
    int8_product,
)
from stylepack.network.norm import EPSILON, moments
from stylepack.network.trunk import Trunk, padded_size, photograph_logits
from stylepack.painting.regions import Regions

Advance = Callable[[float], None]  # is called with the share of the work that is done, 0..1


def in_silence(share: float) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Memory:
    """How much to work on at once.

    A strip has about `strip` pixels of the image, and at least `rows` rows.  `keep`
    activations of the outer layers, numbers of two or four bytes, may be kept rather than
    computed again.
    """

    strip: int = 1 << 18
    rows: int = 64
    keep: int = 1 << 27

    def strip_rows(self, width: int) -> int:
        """Rows of a strip of an image of this width, a multiple of 4."""
        return -(-max(self.rows, self.strip // width) // 4) * 4


class Source(Protocol):
    """Activations by rows: `rows(a, b)` is (1, C, b - a, width) for rows a to b of `height`.

    With `levels` they are uint8 and stand for those.
    """

    height: int
    width: int
    levels: Levels | None

    def rows(self, a: int, b: int) -> Tensor: ...  # noqa: D102


class Pixels:
    """A (3, H, W) uint8 image as a trunk takes it: padded, in 0..1 with grain."""

    def __init__(self, image: Tensor, work: "Work") -> None:
        self.image, self.grain = image, work.trunk.config.grain
        self.dtype = work.dtype
        self.height, self.width = padded_size(*image.shape[-2:])
        beyond = torch.full((3,), 4 * self.grain)
        coarse = work.products is not None
        self.levels = Levels.between(-beyond, 1 + beyond) if coarse else None

    def rows(self, a: int, b: int) -> Tensor:
        """Rows below and columns beyond the image repeat its last ones."""
        last = self.image.shape[-2] - 1
        strip = self.image[None, :, min(a, last) : min(b, last + 1)]
        padding = (0, self.width - strip.shape[-1], 0, b - a - strip.shape[-2])
        x = F.pad(strip.float().div_(255), padding, mode="replicate")
        if self.grain:
            x = x.add(self._grain(a, b, x.device), alpha=self.grain)
        x = x.to(self.dtype) if self.levels is None else self.levels.of(x)
        return x.contiguous(memory_format=torch.channels_last)

    def _grain(self, a: int, b: int, device: torch.device) -> Tensor:
        """On a card all of it is kept: bringing it there means waiting."""
        if device.type == "cpu":
            return grain(a, b, self.width)
        return grain_on(device, self.height, self.width)[a:b]


class Whole:
    """Activations that are there already, (1, C, H, W)."""

    def __init__(self, x: Tensor, levels: Levels | None = None) -> None:
        self.x, self.levels = x, levels
        self.height, self.width = x.shape[-2:]

    def rows(self, a: int, b: int) -> Tensor:
        """A view, or the levels of one."""
        strip = self.x[:, :, a:b]
        return strip if self.levels is None else self.levels.of(strip)


@dataclass(frozen=True)
class Style:
    """What to paint in: (K, style_size) float32 vectors, and where each applies if K > 1.

    `own` is how much of the photograph's own contrast each takes, (K,) float32; None if none does.
    """

    vectors: Tensor
    regions: Regions | None = None
    own: Tensor | None = None

    def to(self, device: torch.device) -> "Style":
        """The same on another device."""
        own = None if self.own is None else self.own.to(device)
        return replace(self, vectors=self.vectors.to(device), own=own)

    def alone(self, row: int) -> "Style":
        """One of the K, everywhere."""
        own = None if self.own is None or not self.own[row] else self.own[row, None]
        return Style(self.vectors[row, None], own=own)

    def for_photograph(self, trunk: Trunk, image: Tensor, step: int) -> "Style":
        """The style with the photograph's contrast worked in: `Trunk.with_contrast` by strips."""
        if self.own is None:
            return self
        found = Moments()
        for a, b in _strips(image.shape[-2], step):
            found.add(photograph_logits(image[None, :, a:b].float().div_(255)))
        contrast = torch.cat([found.variance.sqrt(), found.mean])
        last = trunk.slots["out"]
        vectors = self.vectors.clone()
        vectors[:, last.gamma.start : last.beta.stop] += self.own[:, None] * contrast
        return replace(self, vectors=vectors, own=None)


@dataclass(frozen=True)
class Work:
    """What one image is painted with.

    With `products` convolutions are taken in whole numbers, for as long as the image allows it.
    `dtype` is that of activations and of all other products.
    """

    trunk: Trunk
    style: Style
    dtype: torch.dtype
    products: Products | None

    @property
    def device(self) -> torch.device:
        """Where it is done."""
        return self.trunk.get_parameter("conv1.weight").device


class Layer:
    """One convolution with its norm, measured over the whole image before it gives rows."""

    def __init__(self, work: Work, name: str, source: Source, *, stride: int = 1) -> None:
        slot = work.trunk.slots[name]
        self.weight = work.trunk.get_parameter(f"{name}.weight")
        vectors = work.style.vectors
        self.gamma, self.beta = vectors[:, slot.gamma], vectors[:, slot.beta]
        self.regions = work.style.regions
        self.source, self.stride = source, stride
        self.height, self.width = source.height // stride, source.width // stride
        self.levels: Levels | None = None
        # Whether its own product is in whole numbers; only then may the next layer's be.
        self.coarse = source.levels is not None
        if work.products is None or source.levels is None:
            self.product = self._plain_product(work.dtype)
        else:
            make = partial(self._int8_product, source.levels, work.dtype)
            self.product = work.products.of(name, source.levels, make)
        self.kept: Tensor | None = None

    def _plain_product(self, dtype: torch.dtype) -> Product:
        return partial(convolve, weight=self.weight.to(dtype), stride=self.stride)

    def _int8_product(self, levels: Levels, dtype: torch.dtype) -> Product:
        return int8_product(self.weight, levels, dtype, self.stride)

    def measure(self, strip_rows: int, *, keep: bool) -> "Layer":
        """Find each channel's mean and variance, keeping the convolution's output if asked.

        If its own products are in whole numbers, also find out whether the next layer's can be.
        """
        found = Moments(with_extremes=self.coarse)
        strips = list(_strips(self.height, strip_rows))
        for a, b in strips:
            raw = self.convolve(a, b)
            found.add(raw)
            if keep and len(strips) == 1:
                self.kept = raw
            elif keep:
                if self.kept is None:
                    self.kept = _empty(raw, self.height)
                self.kept[:, :, a:b] = raw
        self.mean, self.variance = found.mean, found.variance
        if self.coarse and (reach := found.spread().reach()):
            self.levels = Levels.after_relu(self.gamma, self.beta, reach)
        return self

    def rows(self, a: int, b: int) -> Tensor:
        """Rows a to b after norm and ReLU."""
        if self.levels is None:
            return self.normalise(a, b).relu_()
        return eight_bits(self._norm(*self.levels.scaled(self.gamma, self.beta), a, b))

    def normalise(self, a: int, b: int) -> Tensor:
        """Rows a to b after the norm."""
        return self._norm(self.gamma, self.beta, a, b)

    def _norm(self, gamma: Tensor, beta: Tensor, a: int, b: int) -> Tensor:
        raw = self.convolve(a, b) if self.kept is None else self.kept[:, :, a:b]
        if self.regions is None:
            return F.batch_norm(raw, self.mean, self.variance, gamma[0], beta[0], eps=EPSILON)
        whitened = F.batch_norm(raw, self.mean, self.variance, eps=EPSILON)
        scale = self.regions.mixed(gamma, a, b, self.width).to(raw.dtype)
        shift = self.regions.mixed(beta, a, b, self.width).to(raw.dtype)
        return torch.addcmul(shift, whitened, scale)

    def convolve(self, a: int, b: int) -> Tensor:
        """Rows a to b of the convolution, reflected where it reaches over the image's border."""
        edge = self.weight.shape[-1] // 2
        first, last = a * self.stride - edge, (b - 1) * self.stride + edge + 1
        x = self.source.rows(max(first, 0), min(last, self.source.height))
        above, below = max(-first, 0), max(last - self.source.height, 0)
        return self.product(F.pad(x, (edge, edge, above, below), mode="reflect"))


class DoublingLayer(Layer):
    """A layer on its source doubled by nearest neighbour: rows 2i and 2i + 1 are its row i."""

    def __init__(self, work: Work, name: str, source: Source) -> None:
        super().__init__(work, name, source)
        self.height, self.width = 2 * source.height, 2 * source.width

    def _plain_product(self, dtype: torch.dtype) -> Product:
        return partial(convolve_doubled, kernel=doubling_kernel(self.weight.to(dtype)))

    def _int8_product(self, levels: Levels, dtype: torch.dtype) -> Product:
        return int8_doubling_product(self.weight, levels, dtype)

    def convolve(self, a: int, b: int) -> Tensor:
        """Rows a to b of the convolution, from the rows that they are copies of."""
        first, last = a // 2 - 1, -(-b // 2) + 1
        x = self.source.rows(max(first, 0), min(last, self.source.height))
        above, below = max(-first, 0), max(last - self.source.height, 0)
        x = self.product(F.pad(x, (1, 1, above, below), mode="replicate"))
        return x[:, :, a % 2 : a % 2 + b - a]


class Moments:
    """Mean and variance of each channel, gathered over strips.

    Strips are joined by Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise
    algorithm for computing sample variances", in float64.
    """

    def __init__(self, *, with_extremes: bool = False) -> None:
        self.count = 0
        self.with_extremes = with_extremes
        self.low, self.high = torch.tensor([torch.inf, -torch.inf])
        self._mean: Tensor
        self._square: Tensor  # sum of squared deviations

    def add(self, x: Tensor) -> None:
        """Take in a strip of activations, (1, C, h, W).

        Nothing waits for a card here, but for Apple's, which has no float64.
        """
        found = moments(x)
        mean, variance = (one.cpu() if x.is_mps else one for one in found)
        mean, variance = mean.double(), variance.double()
        area = x.shape[-2] * x.shape[-1]
        count = self.count + area
        if self.count == 0:
            self._mean, self._square = mean, variance * area
        else:
            apart = mean - self._mean
            between = apart.square() * (self.count * area / count)
            self._square = self._square + variance * area + between
            self._mean = self._mean + apart * (area / count)
        self.count, self.device = count, x.device
        if self.with_extremes:
            low, high = extremes(x)
            self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)

    @property
    def mean(self) -> Tensor:
        """(C,) float32."""
        return self._mean.float().to(self.device)

    @property
    def variance(self) -> Tensor:
        """(C,) float32, over the count as instance norm has it."""
        return (self._square / self.count).clamp_min(0).float().to(self.device)

    def spread(self) -> Spread:
        """The moments and the extremes, on the CPU."""
        return Spread(self.low, self.high, self.mean, self.variance.sqrt())


def paint_streaming(
    trunk: Trunk,
    style: Style,
    image: Tensor,
    memory: Memory,
    advance: Advance = in_silence,
    *,
    int8: Products | None = None,
) -> Tensor:
    """Paint one image.

    Args:
        trunk: on its device, in the dtype to compute in; float32 on the CPU with `int8`.
        style: on the same device.
        image: (3, H, W) uint8 RGB on the CPU.
        memory: the size of strips, and how much may be kept.
        advance: called with the share of the work that is done, 0..1.
        int8: convolve in whole numbers (`network/int8.py`) for as long as the image allows it, and
            keep here what the next image in this style can use.

    Returns:
        (3, H, W) uint8 RGB on the CPU.
    """
    step = memory.strip_rows(padded_size(*image.shape[-2:])[1])
    weights = trunk.get_parameter("conv1.weight")
    dtype = weights.dtype if int8 is None else training_dtype(weights.device)
    there = image.to(weights.device)
    work = Work(trunk, style.for_photograph(trunk, there, step), dtype, int8)
    pixels = Pixels(there, work)
    keep = _what_to_keep(trunk, pixels, memory.keep)

    conv1 = Layer(work, "conv1", pixels).measure(step, keep="conv1" in keep)
    if conv1.coarse and conv1.levels is None:  # even this layer had better be done in floats
        work = replace(work, products=None)
        conv1 = Layer(work, "conv1", Pixels(there, work)).measure(step, keep="conv1" in keep)
    conv2 = Layer(work, "conv2", conv1, stride=2)
    conv2.measure(step // 2, keep="conv2" in keep)
    advance(0.15)
    body = _body(work, conv2, step // 4)
    del conv1, conv2  # and what they kept
    advance(0.6)
    up1 = DoublingLayer(work, "up1", body).measure(step // 2, keep="up1" in keep)
    advance(0.7)
    up2 = DoublingLayer(work, "up2", up1).measure(step, keep="up2" in keep)
    advance(0.85)
    out = Layer(work, "out", up2).measure(step, keep=True)

    painted = torch.empty_like(image)
    height, width = image.shape[-2:]
    for a, b in _strips(height, step):
        rows = torch.sigmoid(out.normalise(a, b)[0, :, :, :width].float())
        painted[:, a:b] = rows.mul_(255).round_().to(torch.uint8)
    advance(1.0)
    return painted


def _body(work: Work, source: Source, step: int) -> Whole:
    """conv3 and the residual blocks, (1, C, H/4, W/4) whole: two such tensors at any time."""
    conv3 = Layer(work, "conv3", source, stride=2).measure(step, keep=True)
    assert conv3.kept is not None
    x = conv3.kept
    strips = list(_strips(conv3.height, step))
    for a, b in strips:
        x[:, :, a:b] = conv3.normalise(a, b).relu_()
    body = _body_source(x, conv3.coarse, step)
    for block in range(1, work.trunk.config.residual_blocks + 1):
        inner = Layer(work, f"res{block}a", body).measure(step, keep=True)
        outer = Layer(work, f"res{block}b", inner)
        _convolve_in_place(inner, outer, step)
        for a, b in strips:
            x[:, :, a:b] += outer.normalise(a, b)
        body = _body_source(x, outer.coarse, step)
        del inner, outer  # before the next block asks for its own memory
    return body


def _body_source(x: Tensor, coarse: bool, step: int) -> Whole:
    """The body's activations as the next layer takes them: levels, if `coarse` and they can be."""
    if not coarse:
        return Whole(x)
    found = Moments(with_extremes=True)
    for a, b in _strips(x.shape[-2], step):
        found.add(x[:, :, a:b])
    spread = found.spread()
    reach = spread.reach()
    return Whole(x, None if reach is None else Levels.spanning(spread, reach))


def _convolve_in_place(inner: Layer, outer: Layer, step: int) -> None:
    """Let `outer`'s output take the memory of `inner`'s, from which it is computed.

    Each strip needs one row of `inner` that the strip before has just overwritten; that row
    is put aside.
    """
    kept = inner.kept
    assert kept is not None
    found = Moments()
    overwritten: Tensor | None = None
    for a, b in _strips(outer.height, step):
        if overwritten is not None:
            ours = kept[:, :, a - 1 : a].clone()
            kept[:, :, a - 1 : a] = overwritten
        following = kept[:, :, b - 1 : b].clone()
        raw = outer.convolve(a, b)
        if overwritten is not None:
            kept[:, :, a - 1 : a] = ours
        found.add(raw)
        kept[:, :, a:b] = raw
        overwritten = following
    inner.kept, outer.kept = None, kept
    outer.mean, outer.variance = found.mean, found.variance


def _what_to_keep(trunk: Trunk, pixels: Pixels, memory: int) -> set[str]:
    """Names of the outer layers whose convolutions are kept.

    conv1 and conv2 are gone before up1 and up2 come, so each pair has the memory to itself.
    The half-size layer first: it saves more work for its memory.
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


def _empty(strip: Tensor, height: int) -> Tensor:
    """Uninitialised activations of `height` rows, else like a strip of them in shape and layout."""
    _, c, _, w = strip.shape
    if strip.is_contiguous():
        return strip.new_empty((1, c, height, w))
    return strip.new_empty((1, height, w, c)).permute(0, 3, 1, 2)


def _strips(height: int, step: int) -> Iterator[tuple[int, int]]:
    """(a, b) from 0 to `height`, `step` rows each; the last takes what is left over."""
    a = 0
    while a < height:
        b = height if height - a < 2 * step else a + step
        yield a, b
        a = b
