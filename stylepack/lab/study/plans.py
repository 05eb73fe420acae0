"""How large each study is: every number in one place.  No torch here.

The defaults are the full scale, meant for a GPU, with the report's numbers where it gives them;
`QUICK` is what fits into five minutes on one processor core.
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
    """`study losses`: one network for each way to select styles, all with the same budget."""

    styles: int = 10
    updates: int = 40_000
    selections: tuple[Selection, ...] = SELECTIONS
    moments: int = 20  # how often a network is measured on held-out photographs
    photographs: int = 24
    seed: int = 0
    block_norms: int = 2  # of a residual block; the report's block uses one norm twice


@dataclass(frozen=True)
class ComparePlan:
    """`study compare`: one network of n styles against n networks of one style."""

    styles: int = 5
    updates: int = 10_000
    seeds: int = 3
    photographs: int = 24
    new_style_updates: int = 1_000  # of gamma and beta alone, for one style more
    new_style_moments: int = 8
    block_norms: int = 2  # as `LossesPlan`'s


@dataclass(frozen=True)
class ReconstructPlan:
    """`study reconstruct`: an image from noise for each tau_n."""

    layers: tuple[str, ...] = REPORT_LAYERS
    side: int = 256  # pixels of the image; the painting's short side is the same
    updates: int = 3_000  # at most
    optimizer: Optimizer = "adam"
    learning_rate: float = 0.2  # of what the sigmoid makes pixels of; of pixels as published
    patience: int = 200  # updates without progress after which it stops early
    seed: int = 0


@dataclass(frozen=True)
class InterpolatePlan:
    """`study interpolate`: the grid between corners, and the sweep between two packs."""

    corners: tuple[str, ...] = CORNERS
    steps: int = 5  # pictures from corner to corner
    cell: int = 256  # pixels of the long side of a picture of the grid
    alphas: int = 11
    photographs: int = 24
    side: int = 256  # pixels of the photographs that are measured


# The report's procedure where it is not the default's.  How long it lets an image take before
# it stops early is not known here; 20,000 is ours.
PUBLISHED: dict[type, dict[str, Any]] = {
    LossesPlan: {"selections": ("round-robin",), "block_norms": 1},
    ComparePlan: {"seeds": 1, "new_style_updates": 0, "block_norms": 1},
    ReconstructPlan: {"learning_rate": 1e-3, "updates": 20_000},
    InterpolatePlan: {"photographs": 1},
}

# Under five minutes on one core with VGG-19's first three blocks.
QUICK: dict[type, dict[str, Any]] = {
    LossesPlan: {"styles": 5, "updates": 200, "moments": 5, "photographs": 8},
    ComparePlan: {
        "styles": 3,
        "updates": 60,
        "seeds": 2,
        "photographs": 8,
        "new_style_updates": 60,
        "new_style_moments": 5,
    },
    ReconstructPlan: {"side": 128, "updates": 300, "patience": 50},
    InterpolatePlan: {"cell": 160, "alphas": 6, "photographs": 6, "side": 128},
}
# At the report's rate noise is left slowly.
QUICK_PUBLISHED: dict[type, dict[str, Any]] = {ReconstructPlan: {"updates": 600}}
QUICK_RECIPE: dict[str, Any] = {"crop": 64, "photo_side": 96, "style_side": 192, "warmup": 20}
OPTIONS = {"photographs": "limit"}  # what the command line calls a plan's number otherwise


def planned(kind: type[Plan], *, published: bool, quick: bool, changes: dict[str, Any]) -> Plan:
    """The plan of a study; of `changes`, those that are not None go before everything else.

    Raises:
        UsageError: a number that is too small, or not finite.
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
    """Refuse a number that no plan can have; a seed alone may be 0."""
    if option == "seed" and value < 0:
        raise UsageError(f"--seed is {value}; it must be 0 or more")
    if option != "seed" and not value > 0:
        raise UsageError(f"--{option} is {value}; it must be above 0")
    if math.isinf(value):
        raise UsageError(f"--{option} is {value}; it must be finite")


def study_recipe(recipe: Recipe, *, quick: bool, changes: RecipeChanges) -> Recipe:
    """A recipe for networks that are compared: no identity style, and a rate that does not fall.

    With a constant learning rate a network can be read at any moment, not only at the end.
    """
    if quick:
        warmup = QUICK_RECIPE["warmup"] if recipe.warmup else 0
        recipe = replace(recipe, **QUICK_RECIPE | {"warmup": warmup})
    return replace(recipe, identity=False, decay="none", first_crop=0).changed(changes)
