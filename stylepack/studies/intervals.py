"""Intervals where both the networks' seeds and the photographs are samples."""

import numpy as np

from stylepack.training.evaluate import RESAMPLES, Figure

Values = np.ndarray  # (seeds, photographs)


def crossed(values: Values) -> Figure:
    """The mean of (seeds, photographs) values and its 95 % interval.

    Seeds and photographs are resampled independently, every photograph being measured with
    every seed (the percentile bootstrap of a crossed design: Owen 2007, "The pigeonhole
    bootstrap").  Of few seeds the interval is too narrow rather than too wide.
    """
    return _figure(float(values.mean()), _resampled(values), values.size)


def ratio(above: Values, below: Values) -> Figure:
    """The ratio of two means over the same seeds and photographs, resampled together."""
    means = _resampled(above) / _resampled(below)
    return _figure(float(above.mean() / below.mean()), means, above.size)


def _resampled(values: Values) -> np.ndarray:
    """Means of `RESAMPLES` samples with replacement, the same draws every time."""
    generator = np.random.default_rng(0)
    seeds, photographs = (
        generator.multinomial(size, np.full(size, 1 / size), RESAMPLES) / size
        for size in values.shape
    )
    means: np.ndarray = np.einsum("rs,sp,rp->r", seeds, values, photographs)
    return means


def _figure(mean: float, means: np.ndarray, size: int) -> Figure:
    if size < 2:
        return Figure(mean, None)
    low, high = np.percentile(means, (2.5, 97.5))
    return Figure(mean, (float(low), float(high)))
