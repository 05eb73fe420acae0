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
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.network.convolution import convolve, convolve_doubled, doubling_kernel
from stylepack.network.grain import grain
from stylepack.network.norm import EPSILON, whiten
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

    strip: int = 1 << 17
    rows: int = 64
    keep: int = 1 << 27

    def strip_rows(self, width: int) -> int:
        """Rows of a strip of an image of this width, a multiple of 4."""
        return -(-max(self.rows, self.strip // width) // 4) * 4


class Source(Protocol):
    """Activations by rows: `rows(a, b)` is (1, C, b - a, width) for rows a to b of `height`."""

    height: int
    width: int

    def rows(self, a: int, b: int) -> Tensor: ...  # noqa: D102


class Pixels:
    """A (3, H, W) uint8 image as a trunk takes it: padded, in 0..1 with grain, on its device."""

    def __init__(self, image: Tensor, trunk: Trunk) -> None:
        weight = trunk.get_parameter("conv1.weight")
        self.image, self.grain = image, trunk.config.grain
        self.device, self.dtype = weight.device, weight.dtype
        self.height, self.width = padded_size(*image.shape[-2:])

    def rows(self, a: int, b: int) -> Tensor:
        """Rows below and columns beyond the image repeat its last ones."""
        last = self.image.shape[-2] - 1
        strip = self.image[None, :, min(a, last) : min(b, last + 1)].to(self.device)
        padding = (0, self.width - strip.shape[-1], 0, b - a - strip.shape[-2])
        x = F.pad(strip.float().div_(255), padding, mode="replicate")
        if self.grain:
            x = x + self.grain * grain(a, b, self.width).to(x)
        return x.to(self.dtype).contiguous(memory_format=torch.channels_last)


class Whole:
    """Activations that are there already, (1, C, H, W)."""

    def __init__(self, x: Tensor) -> None:
        self.x = x
        self.height, self.width = x.shape[-2:]

    def rows(self, a: int, b: int) -> Tensor:
        """A view."""
        return self.x[:, :, a:b]


@dataclass(frozen=True)
class Style:
    """What to paint in: (K, style_size) float32 vectors, and where each applies if K > 1.

    `own` is how much of the photograph's own contrast each takes, (K,) float32 or None.
    """

    vectors: Tensor
    regions: Regions | None = None
    own: Tensor | None = None

    def to(self, device: torch.device) -> "Style":
        """The same on another device."""
        own = None if self.own is None else self.own.to(device)
        return replace(self, vectors=self.vectors.to(device), own=own)

    def for_photograph(self, trunk: Trunk, image: Tensor, step: int) -> "Style":
        """The style with the photograph's contrast worked in: `Trunk.with_contrast` by strips."""
        if self.own is None or not self.own.any():
            return self
        moments = Moments()
        for a, b in _strips(image.shape[-2], step):
            moments.add(photograph_logits(image[None, :, a:b].float().div_(255)))
        contrast = torch.cat([moments.variance.sqrt(), moments.mean]).to(self.vectors)
        last = trunk.slots["out"]
        vectors = self.vectors.clone()
        vectors[:, last.gamma.start : last.beta.stop] += self.own[:, None] * contrast
        return replace(self, vectors=vectors, own=None)


class Layer:
    """One convolution with its norm, measured over the whole image before it gives rows."""

    def __init__(
        self, trunk: Trunk, name: str, style: Style, source: Source, *, stride: int = 1
    ) -> None:
        slot = trunk.slots[name]
        self.weight = trunk.get_parameter(f"{name}.weight")
        self.gamma, self.beta = style.vectors[:, slot.gamma], style.vectors[:, slot.beta]
        self.regions = style.regions
        self.source, self.stride = source, stride
        self.height, self.width = source.height // stride, source.width // stride
        self.kept: Tensor | None = None

    def measure(self, strip_rows: int, *, keep: bool) -> "Layer":
        """Find each channel's mean and variance, keeping the convolution's output if asked."""
        moments = Moments()
        strips = list(_strips(self.height, strip_rows))
        for a, b in strips:
            raw = self.convolve(a, b)
            moments.add(raw)
            if keep and len(strips) == 1:
                self.kept = raw
            elif keep:
                if self.kept is None:
                    self.kept = _empty(raw, self.height)
                self.kept[:, :, a:b] = raw
        self.mean, self.variance = moments.mean, moments.variance
        return self

    def rows(self, a: int, b: int) -> Tensor:
        """Rows a to b after norm and ReLU."""
        return self.normalise(a, b).relu_()

    def normalise(self, a: int, b: int) -> Tensor:
        """Rows a to b after the norm."""
        raw = self.convolve(a, b) if self.kept is None else self.kept[:, :, a:b]
        if self.regions is None:
            gamma, beta = self.gamma[0], self.beta[0]
            return F.batch_norm(raw, self.mean, self.variance, gamma, beta, eps=EPSILON)
        whitened = F.batch_norm(raw, self.mean, self.variance, eps=EPSILON)
        gamma = self.regions.mixed(self.gamma, a, b, self.width).to(raw.dtype)
        beta = self.regions.mixed(self.beta, a, b, self.width).to(raw.dtype)
        return torch.addcmul(beta, whitened, gamma)

    def convolve(self, a: int, b: int) -> Tensor:
        """Rows a to b of the convolution, reflected where it reaches over the image's border."""
        edge = self.weight.shape[-1] // 2
        first, last = a * self.stride - edge, (b - 1) * self.stride + edge + 1
        x = self.source.rows(max(first, 0), min(last, self.source.height))
        above, below = max(-first, 0), max(last - self.source.height, 0)
        x = F.pad(x, (edge, edge, above, below), mode="reflect")
        return convolve(x, self.weight, self.stride)


class DoublingLayer(Layer):
    """A layer on its source doubled by nearest neighbour: rows 2i and 2i + 1 are its row i."""

    def __init__(self, trunk: Trunk, name: str, style: Style, source: Source) -> None:
        super().__init__(trunk, name, style, source)
        self.kernel = doubling_kernel(self.weight)
        self.height, self.width = 2 * source.height, 2 * source.width

    def convolve(self, a: int, b: int) -> Tensor:
        """Rows a to b of the convolution, from the rows that they are copies of."""
        first, last = a // 2 - 1, -(-b // 2) + 1
        x = self.source.rows(max(first, 0), min(last, self.source.height))
        above, below = max(-first, 0), max(last - self.source.height, 0)
        x = convolve_doubled(F.pad(x, (1, 1, above, below), mode="replicate"), self.kernel)
        return x[:, :, a % 2 : a % 2 + b - a]


class Moments:
    """Mean and variance of each channel, gathered over strips.

    Strips are joined by Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise
    algorithm for computing sample variances", in float64.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = torch.zeros(1, dtype=torch.float64)
        self._square = torch.zeros(1, dtype=torch.float64)  # sum of squared deviations

    def add(self, x: Tensor) -> None:
        """Take in a strip of activations, (1, C, h, W)."""
        _, mean, inverse_std = whiten(x)
        mean = mean[0].cpu().double()
        variance = inverse_std[0].cpu().double().pow(-2) - EPSILON
        area = x.shape[-2] * x.shape[-1]
        count = self.count + area
        apart = mean - self._mean
        self._square = self._square + variance * area + apart.square() * (self.count * area / count)
        self._mean = self._mean + apart * (area / count)
        self.count, self.device = count, x.device

    @property
    def mean(self) -> Tensor:
        """(C,) float32."""
        return self._mean.float().to(self.device)

    @property
    def variance(self) -> Tensor:
        """(C,) float32, over the count as instance norm has it."""
        return (self._square / self.count).clamp_min(0).float().to(self.device)


def paint_streaming(
    trunk: Trunk,
    style: Style,
    image: Tensor,
    memory: Memory,
    advance: Advance = in_silence,
) -> Tensor:
    """Paint one image.

    Args:
        trunk: on its device, in the dtype to compute in.
        style: on the same device.
        image: (3, H, W) uint8 RGB on the CPU.
        memory: the size of strips, and how much may be kept.
        advance: called with the share of the work that is done, 0..1.

    Returns:
        (3, H, W) uint8 RGB on the CPU.
    """
    pixels = Pixels(image, trunk)
    step = memory.strip_rows(pixels.width)
    style = style.for_photograph(trunk, image, step)
    keep = _what_to_keep(trunk, pixels, memory.keep)

    conv1 = Layer(trunk, "conv1", style, pixels).measure(step, keep="conv1" in keep)
    conv2 = Layer(trunk, "conv2", style, conv1, stride=2)
    conv2.measure(step // 2, keep="conv2" in keep)
    advance(0.15)
    x = _body(trunk, style, conv2, step // 4)
    del conv1, conv2  # and what they kept
    advance(0.6)
    up1 = DoublingLayer(trunk, "up1", style, Whole(x)).measure(step // 2, keep="up1" in keep)
    advance(0.7)
    up2 = DoublingLayer(trunk, "up2", style, up1).measure(step, keep="up2" in keep)
    advance(0.85)
    out = Layer(trunk, "out", style, up2).measure(step, keep=True)

    painted = torch.empty_like(image)
    height, width = image.shape[-2:]
    for a, b in _strips(height, step):
        rows = torch.sigmoid(out.normalise(a, b)[0, :, :, :width].float())
        painted[:, a:b] = rows.mul_(255).round_().to(torch.uint8)
    advance(1.0)
    return painted


def _body(trunk: Trunk, style: Style, source: Source, step: int) -> Tensor:
    """conv3 and the residual blocks, (1, C, H/4, W/4) whole: two such tensors at any time."""
    conv3 = Layer(trunk, "conv3", style, source, stride=2).measure(step, keep=True)
    assert conv3.kept is not None
    x = conv3.kept
    for a, b in _strips(conv3.height, step):
        x[:, :, a:b] = conv3.rows(a, b)
    for block in range(1, trunk.config.residual_blocks + 1):
        inner = Layer(trunk, f"res{block}a", style, Whole(x)).measure(step, keep=True)
        outer = Layer(trunk, f"res{block}b", style, inner)
        _convolve_in_place(inner, outer, step)
        for a, b in _strips(conv3.height, step):
            x[:, :, a:b] += outer.normalise(a, b)
        del inner, outer  # before the next block asks for its own memory
    return x


def _convolve_in_place(inner: Layer, outer: Layer, step: int) -> None:
    """Let `outer`'s output take the memory of `inner`'s, from which it is computed.

    Each strip needs one row of `inner` that the strip before has just overwritten; that row
    is put aside.
    """
    kept = inner.kept
    assert kept is not None
    moments = Moments()
    overwritten: Tensor | None = None
    for a, b in _strips(outer.height, step):
        if overwritten is not None:
            ours = kept[:, :, a - 1 : a].clone()
            kept[:, :, a - 1 : a] = overwritten
        following = kept[:, :, b - 1 : b].clone()
        raw = outer.convolve(a, b)
        if overwritten is not None:
            kept[:, :, a - 1 : a] = ours
        moments.add(raw)
        kept[:, :, a:b] = raw
        overwritten = following
    inner.kept, outer.kept = None, kept
    outer.mean, outer.variance = moments.mean, moments.variance


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
    """Uninitialised activations of `height` rows, else like a strip of them, channels_last."""
    _, c, _, w = strip.shape
    return strip.new_empty((1, height, w, c)).permute(0, 3, 1, 2)


def _strips(height: int, step: int) -> Iterator[tuple[int, int]]:
    """(a, b) from 0 to `height`, `step` rows each; the last takes what is left over."""
    a = 0
    while a < height:
        b = height if height - a < 2 * step else a + step
        yield a, b
        a = b
