"""Mixes of packs, and grids of mixes.  Does not import torch."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stylepack.errors import UsageError
from stylepack.packs.header import shown

EXAMPLE = "starry=0.5,scream=0.5"
Point = tuple[float, float]  # across and down, both in 0..1
SQUARE: tuple[Point, ...] = ((0, 0), (1, 0), (0, 1), (1, 1))
POWER = 2.0  # exponent of the distance


@dataclass(frozen=True)
class Mix:
    """Packs by name or path, each once, with weights; `str()` is its form on the command line."""

    parts: tuple[tuple[str, float], ...]

    @property
    def references(self) -> list[str]:
        """Names or paths, in order."""
        return [reference for reference, _ in self.parts]

    @property
    def weights(self) -> list[float]:
        """Weights in the order of `references`."""
        return [weight for _, weight in self.parts]

    def normalised(self) -> "Mix":
        """The same mix with weights that sum to 1.

        Raises:
            UsageError: every weight is zero.
        """
        largest = max(self.weights, default=0.0)
        if math.isinf(largest):
            raise UsageError(
                f"the weights of '{shown(str(self))}' are too large to add; give smaller ones"
            )
        if largest == 0:
            raise UsageError(
                f"the weights of '{shown(str(self))}' are all zero; give one of them a weight"
            )
        # Divided by the largest first, since a sum of huge weights may be infinite.
        scaled = [weight / largest for weight in self.weights]
        total = math.fsum(scaled)
        return Mix(tuple(zip(self.references, (weight / total for weight in scaled), strict=True)))

    def __str__(self) -> str:
        return ",".join(f"{reference}={weight:.4g}" for reference, weight in self.parts)


AnyMix = str | Path | Mapping[str, float] | Sequence[str | Path] | Mix


def parse_mix(text: str) -> Mix:
    """Parse `starry=0.5,scream=0.5`; a part without a weight counts 1.

    The same pack named twice counts once, with the sum of its weights.

    Raises:
        UsageError: an empty part, or a weight that is not a number from 0 up.
    """
    return merge(_parse_part(part.strip(), text) for part in text.split(","))


def as_mix(mix: object) -> Mix:
    """A mix from a string, a path, a dictionary, or a list of packs in equal parts.

    Raises:
        UsageError: another type, or invalid weights.
    """
    if isinstance(mix, Mix):
        return mix
    if isinstance(mix, str):
        return parse_mix(mix)
    if isinstance(mix, Path):
        return Mix(((str(mix), 1.0),))
    if isinstance(mix, Mapping):
        return parse_mix(",".join(f"{name}={weight}" for name, weight in mix.items()))
    if isinstance(mix, Sequence) and mix:
        return merge(part for one in mix for part in as_mix(one).parts)
    raise UsageError(
        f"a mix cannot be {'an empty' if mix in ([], ()) else 'a'} {type(mix).__name__}; give a "
        "string like 'starry=0.5,wave=0.5', a dict, a list of packs, or the path of a pack"
    )


def merge(parts: Iterable[tuple[str, float]]) -> Mix:
    """A mix of (name or path, weight) pairs, adding up repeated names."""
    weights: dict[str, float] = {}
    for reference, weight in parts:
        weights[reference] = weights.get(reference, 0.0) + weight
    return Mix(tuple(weights.items()))


def _parse_part(part: str, whole: str) -> tuple[str, float]:
    reference, equals, number = part.rpartition("=")
    if not equals:
        reference, number = part, "1"
    reference = reference.strip()
    if not reference:
        raise UsageError(f"'{shown(whole)}' has a part without a pack; write it like {EXAMPLE}")
    try:
        weight = float(number)
    except ValueError:
        raise UsageError(
            f"the weight of '{shown(reference)}' is '{shown(number.strip())}', not a number; "
            f"write it like {EXAMPLE}"
        ) from None
    if not math.isfinite(weight) or weight < 0:
        raise UsageError(
            f"the weight of '{shown(reference)}' is {shown(number.strip())}; it must be 0 or more"
        )
    return reference, weight


def grid_mixes(corners: Sequence[str], steps: int) -> list[list[Mix]]:
    """`grid` of two or four corners, which may be equal.

    Raises:
        UsageError: not two or four corners, or fewer than two steps.
    """
    if len(corners) not in (2, 4):
        raise UsageError(f"{len(corners)} corners; give two or four, like --corners starry,scream")
    return _rows(corners, steps, bilinear, SQUARE)


def grid(corners: Sequence[str], steps: int, *, published: bool = False) -> list[list[Mix]]:
    """Rows of mixes from corner to corner.

    Two corners make one row of `steps` mixes; four a square with bilinear weights: top left, top
    right, bottom left, bottom right.  Other numbers are on a circle in the square, with weights by
    inverse distance.  Weights sum to 1, except the `published` ones of four corners.

    Raises:
        UsageError: fewer than two corners or steps, a corner given twice, or `published`
            without four corners.
    """
    if len(corners) < 2 or len(set(corners)) < len(corners):
        raise UsageError("--corners takes two or more different packs, like starry,scream")
    if published and len(corners) != 4:
        raise UsageError(f"{len(corners)} corners; the report's grid has four")
    if published:
        return _rows(corners, steps, unnormalised, SQUARE)
    if len(corners) in (2, 4):
        return grid_mixes(corners, steps)
    return _rows(corners, steps, inverse_distance, on_circle(corners))


def _rows(
    corners: Sequence[str],
    steps: int,
    weigh: Callable[[Point, Sequence[Point]], list[float]],
    points: Sequence[Point],
) -> list[list[Mix]]:
    if steps < 2:
        raise UsageError(f"--steps is {steps}; it must be 2 or more")
    shares = [step / (steps - 1) for step in range(steps)]

    def mix(point: Point) -> Mix:
        weights = zip(corners, weigh(point, points), strict=False)
        return merge((corner, weight) for corner, weight in weights if weight)

    downs = [0.0] if len(corners) == 2 else shares
    return [[mix((across, down)) for across in shares] for down in downs]


def bilinear(point: Point, points: Sequence[Point]) -> list[float]:
    """Weights of the four corners of the square at a point."""
    across, down = point
    return [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across]


def inverse_distance(point: Point, points: Sequence[Point]) -> list[float]:
    """Weights of points: 1 / d^2, normalized (Shepard 1968); 1 at a point itself."""
    distances = [math.dist(point, other) for other in points]
    nearest = min(distances)
    if nearest < 1e-9:
        at = [float(distance < 1e-9) for distance in distances]
        return [weight / sum(at) for weight in at]
    parts = [(nearest / distance) ** POWER for distance in distances]
    total = math.fsum(parts)
    return [part / total for part in parts]


def unnormalised(point: Point, points: Sequence[Point]) -> list[float]:
    """Weights: 1 minus the distance in sides of the square, at least 0; 1.17 in all at its centre.

    The report's grid was not normalized; its exact weights are unknown.
    """
    return [max(0.0, 1 - math.dist(point, other)) for other in points]


def on_circle(corners: Sequence[str]) -> list[Point]:
    """One point per corner, evenly on a circle in the square, the first at the top."""
    angles = [2 * math.pi * index / len(corners) for index in range(len(corners))]
    return [(0.5 + 0.5 * math.sin(angle), 0.5 - 0.5 * math.cos(angle)) for angle in angles]
