"""The weights of packs between corners: bilinear, by inverse distance, or as in the report."""

import math
from collections.abc import Sequence

from stylepack.errors import UsageError
from stylepack.packs.mix import Mix, grid_mixes, merge

Place = tuple[float, float]  # across and down, both 0..1
SQUARE: tuple[Place, ...] = ((0, 0), (1, 0), (0, 1), (1, 1))
POWER = 2.0  # of the distance


def grid(corners: Sequence[str], steps: int, *, published: bool = False) -> list[list[Mix]]:
    """Rows of mixes between packs.

    Two corners make one row and four a square, bilinear; other numbers of corners stand evenly
    on a circle within the square, and the weights go by inverse distance.  All of them sum
    to 1 but the `published` ones of four corners.

    Raises:
        UsageError: fewer than two corners or steps, a corner named twice, or `published`
            without four corners.
    """
    if len(corners) < 2 or len(set(corners)) < len(corners):
        raise UsageError("--corners takes two or more different packs, like starry,scream")
    if published and len(corners) != 4:
        raise UsageError(f"{len(corners)} corners; the report's grid has four")
    if steps < 2:
        raise UsageError(f"--steps is {steps}; from corner to corner it takes 2 or more")
    if len(corners) in (2, 4) and not published:
        return grid_mixes(corners, steps)
    weigh, places = (unnormalised, SQUARE) if published else (inverse_distance, on_circle(corners))
    shares = [step / (steps - 1) for step in range(steps)]
    return [
        [
            merge(
                (corner, weight)
                for corner, weight in zip(corners, weigh((across, down), places), strict=True)
                if weight
            )
            for across in shares
        ]
        for down in shares
    ]


def inverse_distance(point: Place, places: Sequence[Place]) -> list[float]:
    """Weights of places at a point: 1 / d^2, normalised (Shepard 1968); 1 at a place itself."""
    distances = [math.dist(point, place) for place in places]
    nearest = min(distances)
    if nearest < 1e-9:
        at = [float(distance < 1e-9) for distance in distances]
        return [weight / sum(at) for weight in at]
    parts = [(nearest / distance) ** POWER for distance in distances]
    total = math.fsum(parts)
    return [part / total for part in parts]


def unnormalised(point: Place, places: Sequence[Place]) -> list[float]:
    """1 less the distance in sides of the square, from 0 up: in the middle 1.17 in all.

    The report's grid was not normalised; this is one such weight, not necessarily its own.
    """
    return [max(0.0, 1 - math.dist(point, place)) for place in places]


def on_circle(corners: Sequence[str]) -> list[Place]:
    """As many places evenly on a circle in the square, the first at its top."""
    turns = [2 * math.pi * number / len(corners) for number in range(len(corners))]
    return [(0.5 + 0.5 * math.sin(turn), 0.5 - 0.5 * math.cos(turn)) for turn in turns]
