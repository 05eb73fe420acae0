"""Sizes of the studies.  No torch here.

The defaults are the full scale, meant for a GPU, with the report's numbers where it gives them;
`QUICK` takes less than five minutes on one processor core.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from stylepack.errors import UsageError
from stylepack.recipe import Recipe, RecipeChanges, Selection

Plan = TypeVar("Plan", "LossesPlan", "ComparePlan", "ReconstructPlan", "InterpolatePlan")
Optimizer = Literal["adam", "lbfgs"]
SELECTIONS: tuple[Selection, ...] = ("random", "round-robin", "sequence")

REPORT_LAYERS = ("conv1_1", "conv2_1", "conv3_1", "conv4_1")
CORNERS = ("starry", "scream", "wave", "composition")


@dataclass(frozen=True)
class LossesPlan:
    """`study losses`: one network per way to select styles, all with the same budget."""

    styles: int = 10
    updates: int = 40_000
    selections: tuple[Selection, ...] = SELECTIONS
    readouts: int = 20  # measurements of a network on held-out photographs
    photographs: int = 24
    seed: int = 0
    block_norms: int = 2  # per residual block; the report's block uses one norm twice


@dataclass(frozen=True)
class ComparePlan:
    """`study compare`: one network of n styles against n networks of one style."""

    styles: int = 5
    updates: int = 10_000
    seeds: int = 3
    photographs: int = 24
    new_style_updates: int = 1_000  # of gamma and beta alone, for one more style
    new_style_readouts: int = 8
    block_norms: int = 2  # see `LossesPlan`


@dataclass(frozen=True)
class ReconstructPlan:
    """`study reconstruct`: an image from noise for each tau_n."""

    layers: tuple[str, ...] = REPORT_LAYERS
    side: int = 256  # pixels of the image; the painting's short side is the same
    updates: int = 3_000  # at most
    optimizer: Optimizer = "adam"
    learning_rate: float = 0.2  # on logits; as published, on pixels
    patience: int = 200  # updates without progress after which it stops early
    seed: int = 0


@dataclass(frozen=True)
class InterpolatePlan:
    """`study interpolate`: a grid between corners, a sweep between two packs, and trained mixes."""

    corners: tuple[str, ...] = CORNERS
    steps: int = 5  # pictures from corner to corner
    cell: int = 256  # pixels of the long side of the grid's pictures
    alphas: int = 11
    photographs: int = 24
    side: int = 256  # pixels of the sweep's photographs
    mixes: int = 5  # alphas for which a pack is trained
    mix_updates: int = 200  # of gamma and beta for each of them


# The report's procedure where it differs.  Its limit of updates is unknown; 20,000 is ours.
PUBLISHED: dict[type, dict[str, Any]] = {
    LossesPlan: {"selections": ("round-robin",), "block_norms": 1},
    ComparePlan: {"seeds": 1, "new_style_updates": 0, "block_norms": 1},
    ReconstructPlan: {"learning_rate": 1e-3, "updates": 20_000},
    InterpolatePlan: {"photographs": 1, "mixes": 0},
}

# Under five minutes on one core with VGG-19's first three blocks.
QUICK: dict[type, dict[str, Any]] = {
    LossesPlan: {"styles": 5, "updates": 200, "readouts": 5, "photographs": 8},
    ComparePlan: {
        "styles": 3,
        "updates": 60,
        "seeds": 2,
        "photographs": 8,
        "new_style_updates": 60,
        "new_style_readouts": 5,
    },
    ReconstructPlan: {"side": 128, "updates": 300, "patience": 50},
    InterpolatePlan: {
        "cell": 160,
        "alphas": 6,
        "photographs": 6,
        "side": 128,
        "mixes": 3,
        "mix_updates": 40,
    },
}
# The report's learning rate is slow.
QUICK_PUBLISHED: dict[type, dict[str, Any]] = {ReconstructPlan: {"updates": 600}}
QUICK_RECIPE: dict[str, Any] = {"crop": 64, "photo_side": 96, "style_side": 192, "warmup": 20}
OPTIONS = {"photographs": "limit"}  # options that are not named like the plan's field


def planned(kind: type[Plan], *, published: bool, quick: bool, changes: dict[str, Any]) -> Plan:
    """The plan of a study; `changes` that are not None take precedence.

    Raises:
        UsageError: a number is too small or not finite.
    """
    given = {key: value for key, value in changes.items() if value is not None}
    values = {**(QUICK[kind] if quick else {}), **(PUBLISHED[kind] if published else {})}
    if quick and published:
        values |= QUICK_PUBLISHED.get(kind, {})
    for key, value in given.items():
        if isinstance(value, int | float):
            _check(OPTIONS.get(key, key.replace("_", "-")), value)
    return kind(**{**values, **given})


def _check(option: str, value: float) -> None:
    """Refuse numbers that are infinite or not above 0; a seed may be 0."""
    if option == "seed" and value < 0:
        raise UsageError(f"--seed is {value}; it must be 0 or more")
    if option != "seed" and not value > 0:
        raise UsageError(f"--{option} is {value}; it must be above 0")
    if math.isinf(value):
        raise UsageError(f"--{option} is {value}; it must be finite")


def study_recipe(recipe: Recipe, *, quick: bool, changes: RecipeChanges) -> Recipe:
    """A recipe for compared networks: no identity style, and a constant learning rate.

    With a constant rate a network can be measured at any update, not only at the end.
    """
    if quick:
        warmup = QUICK_RECIPE["warmup"] if recipe.warmup else 0
        recipe = replace(recipe, **QUICK_RECIPE | {"warmup": warmup})
    return replace(recipe, identity=False, decay="none", first_crop=0).changed(changes)
