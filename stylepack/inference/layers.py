"""One layer of the trunk over an image in strips: measured first, then read row by row."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.inference.kernels import (
    ConvFn,
    Products,
    doubling_product,
    int8_doubling_product,
    int8_product,
    product,
)
from stylepack.inference.regions import Regions
from stylepack.inference.rows import (
    AffineCode,
    Pages,
    QuantParams,
    Source,
    bordered,
    eight_bits,
    padded_rows,
)
from stylepack.inference.statistics import ChannelStatistics, RegionStatistics, strips
from stylepack.network.norm import EPSILON
from stylepack.network.trunk import Trunk, padded_size, photograph_logits

LARGE = 30_000_000  # cached activations above which memory matters more than page faults
_SMALLEST_STEP = 1e-9  # of an `AffineCode`, in place of a gamma of 0


@dataclass(frozen=True)
class Style:
    """Styles to paint in: (K, style_size) float32 vectors, and where each applies if K > 1.

    `photo_contrast`: share of the photograph's contrast that each takes, (K,) float32, or None.
    """

    vectors: Tensor
    regions: Regions | None = None
    photo_contrast: Tensor | None = None

    def to(self, device: torch.device) -> "Style":
        """The style on another device."""
        contrast = None if self.photo_contrast is None else self.photo_contrast.to(device)
        return replace(self, vectors=self.vectors.to(device), photo_contrast=contrast)

    def alone(self, row: int) -> "Style":
        """One of the K styles, everywhere."""
        share = self.photo_contrast
        contrast = None if share is None or not share[row] else share[row, None]
        return Style(self.vectors[row, None], photo_contrast=contrast)

    def towards(self, other: "Style", share: float) -> "Style":
        """Interpolate linearly to another style with as many rows; `share` is the other's, 0..1."""
        contrasts = (self.photo_contrast, other.photo_contrast)
        contrast = None
        if any(one is not None for one in contrasts):
            none = torch.zeros_like(self.vectors[:, 0])
            own, others = (none if one is None else one for one in contrasts)
            contrast = torch.lerp(own, others, share)
        vectors = torch.lerp(self.vectors, other.vectors, share)
        return replace(self, vectors=vectors, photo_contrast=contrast)

    def for_photograph(self, trunk: Trunk, image: Tensor, step: int) -> "Style":
        """The style with the photograph's contrast applied: `Trunk.with_contrast` by strips."""
        if self.photo_contrast is None:
            return self
        mean, variance = self._photo_statistics(image, step)
        contrast = torch.cat([variance.sqrt(), mean], dim=-1)  # (6,), or (K, 6)
        last = trunk.slots["out"]
        vectors = self.vectors.clone()
        vectors[:, last.gamma.start : last.beta.stop] += self.photo_contrast[:, None] * contrast
        return replace(self, vectors=vectors, photo_contrast=None)

    def _photo_statistics(self, image: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of the photograph's logits, (3,) each, or (K, 3) of the regions."""
        if self.regions is None:
            whole = ChannelStatistics()
            for a, b in strips(image.shape[-2], step):
                whole.add(photograph_logits(image[None, :, a:b].float().div_(255)))
            return whole.joined()
        regions = RegionStatistics(self.regions)
        height, width = padded_size(*image.shape[-2:])
        for a, b in strips(height, step):
            regions.add(photograph_logits(padded_rows(image, a, b, width)), a)
        return regions.joined()


@dataclass(frozen=True)
class Work:
    """The trunk, style and precision that one image is painted with.

    `products` caches 8-bit convolutions, which are used where the image allows; all other
    convolutions and the activations are in `dtype`.  `tick` is called for every strip of every
    layer; it may wait, or raise to stop the work.
    """

    trunk: Trunk
    style: Style
    dtype: torch.dtype
    products: Products | None
    tick: Callable[[], None] = lambda: None


class StripCache:
    """A layer's convolution output in the strips that were computed, (1, C, h, W) each.

    With `buffer`, (1, C, H, W), strips are copied there: in large images, long-lived strips between
    short-lived ones fragment the heap.  `pages`: those of the buffer, if no other layer uses it.
    """

    def __init__(self, buffer: Tensor | None = None, pages: Pages | None = None) -> None:
        self.buffer, self.pages = buffer, pages
        self._strips: dict[int, Tensor] = {}  # by their first row

    def add(self, a: int, strip: Tensor) -> None:
        """Add the next strip, which begins at row a."""
        if self.buffer is not None:
            strip = self.buffer[:, :, a : a + strip.shape[-2]].copy_(strip)
        self._strips[a] = strip

    def times(self, factors: Tensor) -> "StripCache":
        """A copy with channels multiplied by `factors`, (C,)."""
        scaled = StripCache()
        for a, strip in self._strips.items():
            scaled.add(a, strip * factors.to(strip.dtype)[:, None, None])
        return scaled

    def pieces(self, a: int, b: int) -> Iterator[tuple[int, int, Tensor]]:
        """Yield rows a to b as (first, last, rows) of every strip that contains some of them."""
        count = 0
        for start, strip in sorted(self._strips.items()):
            first, last = max(a, start), min(b, start + strip.shape[-2])
            if first < last:
                yield first, last, strip[:, :, first - start : last - start]
                count += last - first
        assert count == b - a, "some of the rows have been forgotten"

    def forget(self, before: int) -> None:
        """Free the rows before `before`, at least those of whole strips or pages."""
        for a, strip in list(self._strips.items()):
            if a + strip.shape[-2] <= before:
                del self._strips[a]
        if self.pages is not None:
            self.pages.forget(before)

    def make_way(self, before: int) -> None:
        """Forget the rows before `before`; copy the rest of a strip that is cut."""
        for a, strip in list(self._strips.items()):
            b = a + strip.shape[-2]
            if a <= before:
                del self._strips[a]
            if a <= before < b:
                self._strips[before] = strip[:, :, before - a :].clone()


class Layer:
    """A convolution with its norm, measured over the whole image before it is read; a `Source`.

    Its rows are activations after a ReLU.  With one style everywhere, a maximum is enough:
    relu(g x + c) = g max(x, -c / g) + c for g > 0, where g and c go into the next layer's weights
    (`AffineCode`).  Where gamma is below 0 the convolution is computed with the opposite sign.
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
        self.quantized = isinstance(source.code, QuantParams)  # else the next layer cannot be
        self.relu_folded = not self.quantized and self.regions is None
        self.sign = torch.ones_like(self.gamma[0])
        if self.relu_folded:
            self.sign = torch.where(self.gamma[0] < 0, -1.0, 1.0)
            self.weight = self.weight * self.sign.to(self.weight.dtype)[:, None, None, None]
            self.gamma = self.gamma.abs()
        self.work_dtype, self.tick = work.dtype, work.tick
        if isinstance(source.code, QuantParams):
            assert work.products is not None
            make = partial(self._int8_product, source.code)
            self.product = work.products.of(name, source.code, make)
        else:
            self.product = self._plain_product(source.code)
        self.kept: StripCache | None = None

    def _plain_product(self, code: AffineCode | None) -> ConvFn:
        return product(self.weight, code, self.work_dtype, self.stride)

    def _int8_product(self, levels: QuantParams) -> ConvFn:
        return int8_product(self.weight, levels, self.work_dtype, self.stride)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of its rows."""
        return torch.uint8 if isinstance(self.code, QuantParams) else self.work_dtype

    def measure(
        self,
        strip_rows: int,
        *,
        keep: bool,
        buffer: Tensor | None = None,
        reuse_buffer_of: "Layer | None" = None,
        last_reader: bool = False,
        advance: Callable[[float], None] = lambda share: None,
    ) -> "Layer":
        """Find each channel's mean and variance, and for a quantized layer its range.

        Args:
            strip_rows: rows that are convolved at once.
            keep: cache the convolution's output.
            buffer: memory for the cache, (1, C, H, W); if None, allocated for large layers.
            reuse_buffer_of: the previous layer, of the same size, whose cache is overwritten.  For
                3x3 kernels of stride 1.
            last_reader: free the source's rows as they are read.
            advance: called with the share of the rows that are done, 0..1.
        """
        quantized, regions = self.quantized, self.regions
        statistics = ChannelStatistics(with_extremes=quantized and regions is None)
        inside = RegionStatistics(regions, with_extremes=quantized) if regions else None
        before = None if reuse_buffer_of is None else reuse_buffer_of.kept
        kept = self._cache(buffer) if keep else None
        for a, b in strips(self.height, strip_rows):
            self.tick()
            raw = self.convolve(a, b)
            statistics.add(raw)
            if inside is not None:
                inside.add(raw, a)
            if before is not None:
                before.make_way(b - 1)
            if kept is not None:
                kept.add(a, raw)
            if last_reader:
                self.source.forget(self.first_row(b))
            advance(b / self.height)
        self.kept = kept
        self.mean, self.variance = mean, variance = statistics.joined()
        if inside is not None:
            mean, variance = inside.joined()
            inverse_std = (variance + EPSILON).rsqrt()
            self.rescale = (self.variance + EPSILON).sqrt() * inverse_std
            self.recentre = (self.mean - mean) * inverse_std
        self.range_in_sigmas = None
        if quantized:
            self.range_in_sigmas = (inside or statistics).spread(mean, variance).range_in_sigmas()
        return self

    def detach(self) -> None:
        """Drop the source, whose memory is needed, once the cache has all of the convolution."""
        assert self.kept is not None
        del self.source

    def take_over(self, other: "Layer") -> "Layer":
        """Reuse `measure`'s result from another style, with the same source and weights.

        The two convolutions differ at most in the signs of their channels.
        """
        factors = self.sign * other.sign
        same = bool((factors > 0).all())
        assert other.kept is not None
        self.kept = other.kept if same else other.kept.times(factors)
        self.mean = other.mean if same else other.mean * factors
        self.variance, self.range_in_sigmas = other.variance, other.range_in_sigmas
        return self

    def forget(self, before: int) -> None:
        """Free what rows from `before` on are not computed from."""
        if self.kept is None:
            self.source.forget(self.first_row(before))
        else:
            self.kept.forget(before)

    def first_row(self, a: int) -> int:
        """The first row of the source that rows from a on are computed from."""
        return max(0, a * self.stride - self.weight.shape[-1] // 2)

    def _cache(self, buffer: Tensor | None) -> StripCache:
        if buffer is not None:
            return StripCache(buffer)
        pages = self.make_pages()
        return StripCache() if pages is None else StripCache(channels_first(pages.tensor), pages)

    def make_pages(self) -> Pages | None:
        """Room for this layer's convolution, (1, H, W, C); None if it is small."""
        shape = (1, self.height, self.width, self.channels)
        if math.prod(shape) <= LARGE:
            return None
        return Pages(shape, self.work_dtype, self.weight.device)

    @cached_property
    def code(self) -> AffineCode | None:
        """The code of its rows, once it is measured."""
        if self.range_in_sigmas is not None:
            return QuantParams.after_relu(self.gamma, self.beta, self.range_in_sigmas)
        if not self.relu_folded:
            return None
        step = (self.gamma[0] * (self.variance + EPSILON).rsqrt()).clamp_min(_SMALLEST_STEP)
        return AffineCode(self.beta[0] - step * self.mean, step)

    @cached_property
    def thresholds(self) -> Tensor:
        """The code of 0 in each channel, repeated over a row of pixels in channels_last order."""
        assert self.code is not None
        # Where gamma is nearly 0 it may overflow the dtype.  Clamped, it makes the channel constant
        # or lets all pixels pass; the next layer's norm subtracts the constant.
        most = torch.finfo(self.work_dtype).max / 2
        threshold = (-self.code.low / self.code.step).clamp(-most, most)
        return threshold.to(self.work_dtype).repeat(self.width)

    def write(self, into: Tensor, a: int, b: int) -> None:
        """Write rows a to b after norm and ReLU, in `code`."""
        for first, last, raw in self._pieces(a, b):
            rows = into[:, :, first - a : last - a]
            if isinstance(self.code, QuantParams):
                scaled = self.code.of_norm(self.gamma, self.beta)
                rows.copy_(eight_bits(self._norm(raw, *scaled, first)))
            elif self.code is not None:
                lines = raw.permute(0, 2, 3, 1).flatten(2)  # in memory order
                there = rows.permute(0, 2, 3, 1).view(lines.shape)
                torch.maximum(lines, self.thresholds, out=there)
            else:
                rows.copy_(self._norm(raw, self.gamma, self.beta, first).relu_())

    def normalised(self, a: int, b: int) -> Tensor:
        """Rows a to b after the norm, without a ReLU."""
        pieces = [
            self._norm(raw, self.gamma, self.beta, first) for first, _, raw in self._pieces(a, b)
        ]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=2)

    def add_to(self, x: Tensor, a: int, b: int) -> None:
        """Add rows a to b, after the norm and without `constant_term`, to `x` of their shape."""
        for first, last, raw in self._pieces(a, b):
            rows = x[:, :, first - a : last - a]
            if self.relu_folded:
                assert self.code is not None
                rows.addcmul_(raw, self.code.step.to(raw.dtype)[:, None, None])
            else:
                rows += self._norm(raw, self.gamma, self.beta, first)

    @property
    def constant_term(self) -> Tensor:
        """The constant that `add_to` leaves out, (C,) float32."""
        return self.code.low if self.relu_folded and self.code else torch.zeros_like(self.mean)

    def _pieces(self, a: int, b: int) -> Iterator[tuple[int, int, Tensor]]:
        return iter([(a, b, self.convolve(a, b))]) if self.kept is None else self.kept.pieces(a, b)

    def _norm(self, raw: Tensor, gamma: Tensor, beta: Tensor, a: int) -> Tensor:
        """The norm of rows that begin at row a of the layer."""
        if self.regions is None:
            return F.batch_norm(raw, self.mean, self.variance, gamma[0], beta[0], eps=EPSILON)
        whitened = F.batch_norm(raw, self.mean, self.variance, eps=EPSILON)
        b = a + raw.shape[-2]
        # From the whole picture's mean and deviation to those of each region.
        scale, shift = gamma * self.rescale, beta + gamma * self.recentre
        scale = self.regions.mixed(scale.to(raw.dtype), a, b, self.width)
        shift = self.regions.mixed(shift.to(raw.dtype), a, b, self.width)
        return torch.addcmul(shift, whitened, scale)

    def convolve(self, a: int, b: int) -> Tensor:
        """Rows a to b of the convolution, with reflected borders."""
        edge = self.weight.shape[-1] // 2
        first, last = a * self.stride - edge, (b - 1) * self.stride + edge + 1
        return self.product(bordered(self.source, first, last, edge, self.weight.device))


class DoublingLayer(Layer):
    """A layer on its source doubled by nearest neighbour: row i becomes rows 2i and 2i + 1."""

    def __init__(self, work: Work, name: str, source: Source) -> None:
        super().__init__(work, name, source)
        self.height, self.width = 2 * source.height, 2 * source.width

    def _plain_product(self, code: AffineCode | None) -> ConvFn:
        return doubling_product(self.weight, code, self.work_dtype)

    def _int8_product(self, levels: QuantParams) -> ConvFn:
        return int8_doubling_product(self.weight, levels, self.work_dtype)

    def first_row(self, a: int) -> int:
        """The first row of the source that rows from a on are computed from."""
        return max(0, a // 2 - 1)

    def convolve(self, a: int, b: int) -> Tensor:
        """Rows a to b of the convolution, computed from the source's rows without doubling them."""
        first, last = a // 2 - 1, -(-b // 2) + 1
        x = self.product(bordered(self.source, first, last, 1, self.weight.device, repeat=True))
        return x[:, :, a % 2 : a % 2 + b - a]


def channels_first(x: Tensor) -> Tensor:
    """(N, H, W, C) as (N, C, H, W), in the same memory."""
    return x.permute(0, 3, 1, 2)
