"""One layer of the trunk over an image in strips: measured first, then given row by row."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.inference.int8 import (
    Levels,
    Products,
    eight_bits,
    int8_doubling_product,
    int8_product,
)
from stylepack.inference.kernels import Code, Product, doubling_product, product
from stylepack.inference.regions import Regions
from stylepack.inference.rows import Source, bordered
from stylepack.inference.statistics import Moments, strips
from stylepack.network.norm import EPSILON
from stylepack.network.trunk import Trunk, photograph_logits

LARGE = 1 << 26  # numbers that a layer keeps, from which on holes in the heap matter
_SMALLEST_STEP = 1e-9  # of a `Code`, in place of a gamma of 0


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
        for a, b in strips(image.shape[-2], step):
            found.add(photograph_logits(image[None, :, a:b].float().div_(255)))
        mean, variance = found.joined()
        contrast = torch.cat([variance.sqrt(), mean])
        last = trunk.slots["out"]
        vectors = self.vectors.clone()
        vectors[:, last.gamma.start : last.beta.stop] += self.own[:, None] * contrast
        return replace(self, vectors=vectors, own=None)


@dataclass(frozen=True)
class Work:
    """What one image is painted with.

    With `products` convolutions are taken in whole numbers, for as long as the image allows it.
    `dtype` is that of activations and of all other products.  `tick` is called for every strip of
    every layer: it may wait, or raise to stop the work.
    """

    trunk: Trunk
    style: Style
    dtype: torch.dtype
    products: Products | None
    tick: Callable[[], None] = lambda: None


class Kept:
    """A layer's convolution in the strips in which it was computed, (1, C, h, W) each.

    With `room`, (1, C, H, W), strips are copied there.  Many long-lived strips between short-lived
    ones would leave holes in the heap, which for large images are as large as what is kept.
    """

    def __init__(self, room: Tensor | None = None) -> None:
        self.room = room
        self._strips: dict[int, Tensor] = {}  # by their first row

    def add(self, a: int, strip: Tensor) -> None:
        """The next strip, which begins at row a."""
        if self.room is not None:
            strip = self.room[:, :, a : a + strip.shape[-2]].copy_(strip)
        self._strips[a] = strip

    def times(self, factors: Tensor) -> "Kept":
        """The same with each channel multiplied by one of `factors`, (C,)."""
        scaled = Kept()
        for a, strip in self._strips.items():
            scaled.add(a, strip * factors.to(strip.dtype)[:, None, None])
        return scaled

    def pieces(self, a: int, b: int) -> Iterator[tuple[int, int, Tensor]]:
        """Rows a to b: (first, last, rows) of every strip that has some of them."""
        found = 0
        for start, strip in sorted(self._strips.items()):
            first, last = max(a, start), min(b, start + strip.shape[-2])
            if first < last:
                yield first, last, strip[:, :, first - start : last - start]
                found += last - first
        assert found == b - a, "rows that are asked for have been forgotten"

    def forget(self, before: int) -> None:
        """Give back the memory of the strips up to this row's, of which the rest is copied."""
        for a, strip in list(self._strips.items()):
            b = a + strip.shape[-2]
            if a <= before:
                del self._strips[a]
            if a <= before < b:
                self._strips[before] = strip[:, :, before - a :].clone()


class Layer:
    """One convolution with its norm, measured over the whole image before it gives rows.

    Its rows are those after a ReLU.  In one style everywhere they need no arithmetic but a maximum:
    relu(g x + c) = g max(x, -c / g) + c for g > 0, and g and c are left to the next layer's weights
    (`Code`).  Where gamma is below 0 the convolution is computed with the opposite sign.
    """

    def __init__(self, work: Work, name: str, source: Source, *, stride: int = 1) -> None:
        slot = work.trunk.slots[name]
        self.weight: Tensor = work.trunk.get_parameter(f"{name}.weight")
        vectors = work.style.vectors
        self.gamma, self.beta = vectors[:, slot.gamma], vectors[:, slot.beta]
        self.regions = work.style.regions
        self.source, self.stride = source, stride
        self.channels = slot.channels
        self.height, self.width = source.height // stride, source.width // stride
        # Whether its own product is in whole numbers; only then may the next layer's be.
        self.coarse = isinstance(source.code, Levels)
        self.by_maximum = not self.coarse and self.regions is None
        self.sign = torch.ones_like(self.gamma[0])
        if self.by_maximum:
            self.sign = torch.where(self.gamma[0] < 0, -1.0, 1.0)
            self.weight = self.weight * self.sign.to(self.weight.dtype)[:, None, None, None]
            self.gamma = self.gamma.abs()
        self.work_dtype, self.tick = work.dtype, work.tick
        if isinstance(source.code, Levels):
            assert work.products is not None
            make = partial(self._int8_product, source.code)
            self.product = work.products.of(name, source.code, make)
        else:
            self.product = self._plain_product(source.code)
        self.kept: Kept | None = None

    def _plain_product(self, code: Code | None) -> Product:
        return product(self.weight, code, self.work_dtype, self.stride)

    def _int8_product(self, levels: Levels) -> Product:
        return int8_product(self.weight, levels, self.work_dtype, self.stride)

    @property
    def dtype(self) -> torch.dtype:
        """Of its rows."""
        return torch.uint8 if isinstance(self.code, Levels) else self.work_dtype

    def measure(
        self,
        strip_rows: int,
        *,
        keep: bool,
        room: Tensor | None = None,
        using_up: "Layer | None" = None,
    ) -> "Layer":
        """Find each channel's mean and variance, keeping the convolution's output if asked.

        If its own products are in whole numbers, also find out whether the next layer's can be.

        Args:
            strip_rows: how many rows are convolved at once.
            keep: whether to keep them, in
            room: (1, C, H, W), or one that is made if they are many.
            using_up: the layer before, as large as this one, if nothing else needs what that has
                kept; then this one's may go into the same room.  For 3x3 kernels of stride 1.
        """
        found = Moments(with_extremes=self.coarse)
        before = None if using_up is None else using_up.kept
        kept = Kept(self.make_room() if room is None else room) if keep else None
        for a, b in strips(self.height, strip_rows):
            self.tick()
            raw = self.convolve(a, b)
            found.add(raw)
            if before is not None:
                before.forget(b - 1)
            if kept is not None:
                kept.add(a, raw)
        self.kept = kept
        self.mean, self.variance = found.joined()
        self.reach = None
        if self.coarse:
            self.reach = found.spread(self.mean, self.variance).reach()
        return self

    def take_over(self, other: "Layer") -> "Layer":
        """Take what `measure` has found and kept in another style, of the same source and weights.

        The convolutions of the two differ in their channels' signs at most.
        """
        factors = self.sign * other.sign
        same = bool((factors > 0).all())
        assert other.kept is not None
        self.kept = other.kept if same else other.kept.times(factors)
        self.mean = other.mean if same else other.mean * factors
        self.variance, self.reach = other.variance, other.reach
        return self

    def make_room(self) -> Tensor | None:
        """Where to keep what this layer convolves, if that is so much that holes would matter."""
        shape = (1, self.height, self.width, self.channels)
        if math.prod(shape) <= LARGE:
            return None
        room = torch.empty(shape, dtype=self.work_dtype, device=self.weight.device)
        return room.permute(0, 3, 1, 2)

    @cached_property
    def code(self) -> Code | None:
        """What its rows stand for, once it is measured."""
        if self.reach is not None:
            return Levels.after_relu(self.gamma, self.beta, self.reach)
        if not self.by_maximum:
            return None
        step = (self.gamma[0] * (self.variance + EPSILON).rsqrt()).clamp_min(_SMALLEST_STEP)
        return Code(self.beta[0] - step * self.mean, step)

    @cached_property
    def thresholds(self) -> Tensor:
        """What stands for 0 in each channel, for a row of pixels as they lie in memory."""
        assert self.code is not None
        # Where gamma is nearly 0 that may be beyond all numbers of this size, above or below.  Cut
        # off there it makes the channel a constant or lets all pixels pass; which constant is the
        # same to the next layer, whose norm takes it away again.
        most = torch.finfo(self.work_dtype).max / 2
        threshold = (-self.code.low / self.code.step).clamp(-most, most)
        return threshold.to(self.work_dtype).repeat(self.width)

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Rows a to b after norm and ReLU, as `code` has them."""
        for first, last, raw in self._pieces(a, b):
            rows = into[:, :, first - a : last - a]
            if isinstance(self.code, Levels):
                scaled = self.code.of_norm(self.gamma, self.beta)
                rows.copy_(eight_bits(self._norm(raw, *scaled, first)))
            elif self.code is not None:
                lines = raw.permute(0, 2, 3, 1).flatten(2)  # as they lie in memory
                there = rows.permute(0, 2, 3, 1).view(lines.shape)
                torch.maximum(lines, self.thresholds, out=there)
            else:
                rows.copy_(self._norm(raw, self.gamma, self.beta, first).relu_())

    def normalised(self, a: int, b: int) -> Tensor:
        """Rows a to b after the norm alone."""
        pieces = [
            self._norm(raw, self.gamma, self.beta, first) for first, _, raw in self._pieces(a, b)
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)

    def add_to(self, x: Tensor, a: int, b: int) -> None:
        """Add rows a to b after the norm alone, without `left_out`, to a tensor of their shape."""
        for first, last, raw in self._pieces(a, b):
            rows = x[:, :, first - a : last - a]
            if self.by_maximum:
                assert self.code is not None
                rows.addcmul_(raw, self.code.step.to(raw.dtype)[:, None, None])
            else:
                rows += self._norm(raw, self.gamma, self.beta, first)

    @property
    def left_out(self) -> Tensor:
        """What `add_to` does not add to any pixel, (C,) float32."""
        return self.code.low if self.by_maximum and self.code else torch.zeros_like(self.mean)

    def _pieces(self, a: int, b: int) -> Iterator[tuple[int, int, Tensor]]:
        return iter([(a, b, self.convolve(a, b))]) if self.kept is None else self.kept.pieces(a, b)

    def _norm(self, raw: Tensor, gamma: Tensor, beta: Tensor, a: int) -> Tensor:
        """The norm of the rows from a on."""
        if self.regions is None:
            return F.batch_norm(raw, self.mean, self.variance, gamma[0], beta[0], eps=EPSILON)
        whitened = F.batch_norm(raw, self.mean, self.variance, eps=EPSILON)
        b = a + raw.shape[-2]
        scale = self.regions.mixed(gamma.to(raw.dtype), a, b, self.width)
        shift = self.regions.mixed(beta.to(raw.dtype), a, b, self.width)
        return torch.addcmul(shift, whitened, scale)

    def convolve(self, a: int, b: int) -> Tensor:
        """Rows a to b of the convolution, reflected where it reaches over the image's border."""
        edge = self.weight.shape[-1] // 2
        first, last = a * self.stride - edge, (b - 1) * self.stride + edge + 1
        return self.product(bordered(self.source, first, last, edge, self.weight.device))


class DoublingLayer(Layer):
    """A layer on its source doubled by nearest neighbour: rows 2i and 2i + 1 are its row i."""

    def __init__(self, work: Work, name: str, source: Source) -> None:
        super().__init__(work, name, source)
        self.height, self.width = 2 * source.height, 2 * source.width

    def _plain_product(self, code: Code | None) -> Product:
        return doubling_product(self.weight, code, self.work_dtype)

    def _int8_product(self, levels: Levels) -> Product:
        return int8_doubling_product(self.weight, levels, self.work_dtype)

    def convolve(self, a: int, b: int) -> Tensor:
        """Rows a to b of the convolution, from the rows that they are copies of."""
        first, last = a // 2 - 1, -(-b // 2) + 1
        x = self.product(bordered(self.source, first, last, 1, self.weight.device, repeat=True))
        return x[:, :, a % 2 : a % 2 + b - a]
