"""Mixes: which packs, and how much of each.  No torch here."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stylepack.errors import UsageError
from stylepack.packs.header import shown

EXAMPLE = "starry=0.5,scream=0.5"
Place = tuple[float, float]  # across and down, both 0..1
SQUARE: tuple[Place, ...] = ((0, 0), (1, 0), (0, 1), (1, 1))
POWER = 2.0  # of the distance


@dataclass(frozen=True)
class Mix:
    """Packs by name or path, each once, with weights; `str()` shows it as it is typed."""

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
        # By the largest first: a sum of huge weights may be infinite.
        scaled = [weight / largest for weight in self.weights]
        total = math.fsum(scaled)
        return Mix(tuple(zip(self.references, (weight / total for weight in scaled), strict=True)))

    def __str__(self) -> str:
        return ",".join(f"{reference}={weight:.4g}" for reference, weight in self.parts)


def parse_mix(text: str) -> Mix:
    """Parse `starry=0.5,scream=0.5`; a part without a weight counts 1.

    The same pack named twice counts once, with the sum of its weights.

    Raises:
        UsageError: an empty part, or a weight that is not a number from 0 up.
    """
    return merge(_parse_part(part.strip(), text) for part in text.split(","))


def merge(parts: Iterable[tuple[str, float]]) -> Mix:
    """A mix of (name or path, weight) pairs; repeated names are added up."""
    weights: dict[str, float] = {}
    for reference, weight in parts:
        weights[reference] = weights.get(reference, 0.0) + weight
    return Mix(tuple(weights.items()))


def grid_mixes(corners: Sequence[str], steps: int) -> list[list[Mix]]:
    """Rows of mixes that go from corner to corner; their weights sum to 1.

    Two corners make one row of `steps` mixes.  Four make a square of them, bilinear: the first
    at the top left, the second at the top right, the third and fourth below them.

    Raises:
        UsageError: not two or four corners, or fewer than two steps.
    """
    if len(corners) not in (2, 4):
        raise UsageError(f"{len(corners)} corners; give two or four, like --corners starry,scream")
    if steps < 2:
        raise UsageError(f"--steps is {steps}; from corner to corner it takes 2 or more")
    shares = [step / (steps - 1) for step in range(steps)]
    return [
        [_between(corners, across, down) for across in shares]
        for down in (shares if len(corners) == 4 else [0.0])
    ]


def _between(corners: Sequence[str], across: float, down: float) -> Mix:
    weights = [(1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across]
    return merge(
        (corner, weight) for corner, weight in zip(corners, weights, strict=False) if weight
    )


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
