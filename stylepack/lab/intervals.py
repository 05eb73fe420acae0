"""Means with bootstrap intervals, over photographs or over seeds and photographs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Values = np.ndarray  # (seeds, photographs)
RESAMPLES = 10_000  # of the bootstrap


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval, None for a single value."""

    mean: float
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Estimate":
        """The mean of at least one value, with a percentile bootstrap interval.

        Efron & Tibshirani 1993, chapter 13: the 2.5th to 97.5th percentile of the means of
        `RESAMPLES` samples with replacement, the same draws every time.
        """
        return crossed(np.asarray(values, dtype=np.float64)[None])


def crossed(values: Values) -> Estimate:
    """The mean of (seeds, photographs) values and its 95 % interval.

    Seeds and photographs are resampled independently, since every photograph is measured with every
    seed (Owen 2007, "The pigeonhole bootstrap").  With few seeds the interval tends to be too
    narrow.
    """
    return _estimate(float(values.mean()), _resampled(values), values.size)


def ratio(above: Values, below: Values) -> Estimate:
    """The ratio of two means over the same seeds and photographs, resampled together."""
    means = _resampled(above) / _resampled(below)
    return _estimate(float(above.mean() / below.mean()), means, above.size)


def _resampled(values: Values) -> np.ndarray:
    """Means of `RESAMPLES` samples with replacement, the same draws every time."""
    generator = np.random.default_rng(0)
    seeds, photographs = (
        generator.multinomial(size, np.full(size, 1 / size), RESAMPLES) / size
        for size in values.shape
    )
    means: np.ndarray = np.einsum("rs,sp,rp->r", seeds, values, photographs)
    return means


def _estimate(mean: float, means: np.ndarray, size: int) -> Estimate:
    if size < 2:
        return Estimate(mean, None)
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(mean, (float(low), float(high)))
