"""Statistics of activations that are computed one strip at a time."""

from collections.abc import Iterator
from itertools import pairwise
from math import gcd
from typing import NamedTuple

import torch
from torch import Tensor

from stylepack.inference.regions import Regions

Ranges = tuple[tuple[float, float], ...]

# A channel's largest distance from its mean, and the range that its levels cover, both in sigmas.
# If a channel exceeds the last limit, 8 bits are too coarse and the layer stays in floats.  In 16
# photographs and two styles the first layers reached 7 to 18 sigmas; a moon in an empty sky, stars,
# a bar on a page and a single pixel reached 20 to 40.
RANGES = ((10.0, 8.0), (18.0, 16.0))
# Where levels span each channel's own range, an outlier makes only its own channel coarser.
OWN_RANGES = (*RANGES, (36.0, 32.0))
_EVERY = 3  # every third pixel of a large image is sampled: no kernel is narrower
_LARGE = 1 << 13  # pixels
_PART = 1 << 21  # activations that are read at once
_FEW = 16  # channels, of which
_TOGETHER = 16  # pixels are read as one
_LEAST_AREA = 1e-6  # pixels; a region without any has area 0


def strips(height: int, step: int) -> Iterator[tuple[int, int]]:
    """(a, b) of equal strips from 0 to `height`, as near to `step` rows as possible."""
    count = max(1, round(height / step))
    ends = [height * i // count for i in range(count + 1)]
    return pairwise(ends)


class Spread(NamedTuple):
    """Range, mean and standard deviation of each channel: (C,) float32 each."""

    low: Tensor
    high: Tensor
    mean: Tensor
    deviation: Tensor

    def range_in_sigmas(self, ranges: Ranges = RANGES) -> float | None:
        """Sigmas that the levels must cover; None if 8 bits are too coarse for that."""
        apart = torch.maximum(self.high - self.mean, self.mean - self.low)
        farthest = float((apart / self.deviation.clamp_min(1e-12)).max())
        return next((sigmas for seen, sigmas in ranges if farthest <= seen), None)


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel: (1, C, H, W) -> (C,), (C,), at least float32."""
    wide = torch.promote_types(x.dtype, torch.float32)
    if x.device.type != "cpu":
        variance, mean = torch.var_mean(x[0].to(wide), dim=(1, 2), correction=0)
        return mean, variance
    # Batch norm's kernel supports channels_last.  Its results have the dtype of the running
    # statistics that it also updates.
    folded = _folded(x)
    unwanted = torch.zeros(2, folded.shape[1], dtype=wide)
    found = torch.batch_norm_update_stats(folded, unwanted[0], unwanted[1], 1.0)
    if folded is x:
        return found
    means, variances = (values.view(-1, x.shape[1]) for values in found)
    return means.mean(0), variances.mean(0) + means.var(0, correction=0)


def _folded(x: Tensor) -> Tensor:
    """A few pixels as one of many channels: (1, C, H, W) -> (1, n C, 1, H W / n).

    Batch norm's inner loop runs over channels and is slow if there are few.
    """
    channels = x.shape[1]
    if channels > _FEW or not x.is_contiguous(memory_format=torch.channels_last):
        return x
    together = gcd(x.shape[2] * x.shape[3], _TOGETHER)
    pixels = x.permute(0, 2, 3, 1).view(1, 1, -1, together * channels)
    return pixels.permute(0, 3, 1, 2)


def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and highest values of each channel, sampled: (1, C, H, W) -> (C,), (C,)."""
    every = _EVERY if x.shape[-2] * x.shape[-1] >= _LARGE else 1
    rows = x[0, :, ::every, ::every].permute(1, 2, 0).contiguous()
    # Over the rows first, because reducing to a few channels at once is slow.
    low, high = rows.flatten(1).amin(0), rows.flatten(1).amax(0)
    low, high = low.view(rows.shape[1:]), high.view(rows.shape[1:])
    return low.amin(0).float(), high.amax(0).float()


class ChannelStatistics:
    """Mean and variance of each channel, gathered over strips and joined in float64.

    Chan, Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
    variances".
    """

    def __init__(self, *, with_extremes: bool = False) -> None:
        self.with_extremes = with_extremes
        self._area = 0  # of the parts so far
        self._moments: tuple[Tensor, Tensor] | None = None  # their mean and variance
        self._extremes: tuple[Tensor, Tensor] | None = None

    def add(self, x: Tensor) -> None:
        """Add a strip of activations, (1, C, h, W)."""
        # A CPU reads each part twice, the second time from a cache.
        parts = -(-x.numel() // _PART) if x.is_cpu else 1
        for part in x.chunk(parts, dim=2) if parts > 1 else [x]:
            self._join(part.shape[-2] * part.shape[-1], *moments(part))
        if self.with_extremes:
            found = extremes(x)
            if self._extremes is not None:
                low, high = self._extremes
                found = torch.minimum(low, found[0]), torch.maximum(high, found[1])
            self._extremes = found

    def _join(self, area: int, mean: Tensor, variance: Tensor) -> None:
        """Join the moments of a part of `area` pixels.

        In place, because a small tensor per part would be left between large ones on the heap.
        """
        self._area += area
        if self._moments is None:
            wide = torch.float32 if mean.is_mps else torch.float64  # the widest that there is
            self._moments = mean.to(wide, copy=True), variance.to(wide, copy=True)
            return
        share = area / self._area
        apart = mean - self._moments[0]
        self._moments[0].add_(apart, alpha=share)
        self._moments[1].lerp_(variance.to(apart), share).add_(
            apart.square_(), alpha=share * (1 - share)
        )

    def joined(self) -> tuple[Tensor, Tensor]:
        """Mean and biased variance, (C,) float32 each, like instance norm's."""
        assert self._moments is not None
        return self._moments[0].float(), self._moments[1].float()

    def spread(self, mean: Tensor, variance: Tensor) -> Spread:
        """Extremes with the `joined` mean and variance, on the CPU."""
        assert self._extremes is not None
        return Spread(*self._extremes, mean, variance.sqrt())


class RegionStatistics:
    """Mean and variance of each channel in each of K regions, gathered over strips.

    A pixel counts in each region by its weight there.  Strips are joined in float64, as in Chan,
    Golub & LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample
    variances".
    """

    def __init__(self, regions: Regions, *, with_extremes: bool = False) -> None:
        self.regions, self.with_extremes = regions, with_extremes
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []  # (K,), (K, C), (K, C) of each strip
        self._extremes: list[tuple[Tensor, Tensor]] = []  # (K, C) each

    def add(self, x: Tensor, a: int) -> None:
        """Add a strip of activations, (1, C, h, W), whose first row is a."""
        weights = self.regions.weights(a, a + x.shape[-2], x.shape[-1]).flatten(0, 1)
        rows = x[0].permute(1, 2, 0).flatten(0, 1).float()  # (h W, C)
        area = weights.sum(0)
        shares = (weights / area.clamp_min(_LEAST_AREA)).T
        middle = rows.mean(0)  # squares of differences from it lose fewer digits
        rows = rows - middle
        apart = shares @ rows
        variance = (shares @ rows.square() - apart.square()).clamp_min(0)
        self._found.append((area, middle + apart, variance))
        if self.with_extremes:
            inside = (weights > 0).T[..., None]
            low = torch.where(inside, rows, torch.inf).amin(1) + middle
            high = torch.where(inside, rows, -torch.inf).amax(1) + middle
            self._extremes.append((low, high))

    def joined(self) -> tuple[Tensor, Tensor]:
        """Mean and variance, (K, C) float32 each; 0 and 1 where a region has no pixel."""
        some = self._found[0][1]
        joining = torch.device("cpu") if some.is_mps else some.device
        mean = torch.zeros(some.shape, dtype=torch.float64, device=joining)
        variance = torch.zeros_like(mean)
        count = torch.zeros(len(some), 1, dtype=torch.float64, device=joining)
        for area, its_mean, its_variance in self._found:
            count = count + area.to(count)[:, None]
            share = area.to(count)[:, None] / count.clamp_min(_LEAST_AREA)
            apart = its_mean.to(mean) - mean
            mean = mean + share * apart
            variance = variance + share * (its_variance.to(mean) - variance)
            variance = variance + share * (1 - share) * apart.square()
        variance = torch.where(count > 0, variance, torch.ones_like(variance))
        return mean.float().to(some.device), variance.float().to(some.device)

    def spread(self, mean: Tensor, variance: Tensor) -> Spread:
        """The extremes of every region with its `joined` statistics, (K, C) each."""
        lows, highs = zip(*self._extremes, strict=True)
        low, high = torch.stack(lows).amin(0), torch.stack(highs).amax(0)
        return Spread(torch.minimum(low, mean), torch.maximum(high, mean), mean, variance.sqrt())
