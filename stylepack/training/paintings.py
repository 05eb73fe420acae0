"""The paintings of a folder and what is known about them."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from stylepack.errors import TrainingError, UsageError
from stylepack.images.formats import find_images
from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource, load_loss_network
from stylepack.network.device import training_dtype
from stylepack.packs.manifest import IDENTITY, checked_name
from stylepack.recipe import Recipe
from stylepack.training.dataset import file_sha256, read_painting

FACTS = ("title", "artist", "year", "licence")


@dataclass(frozen=True)
class Painting:
    """One style to be learned: the pack's name, the picture, and its facts for the pack.

    `weight` multiplies the recipe's style weight for this painting.
    """

    name: str
    path: Path
    facts: dict[str, str]
    weight: float = 1.0


def read_paintings(folder: Path) -> list[Painting]:
    """Every picture of `folder`, named by its file.

    A `paintings.csv` beside them, with a column `name` and any of title, artist, year and
    licence, says what they are.

    Raises:
        UsageError: no such folder, or no pictures in it.
        PackError: a file name that cannot be a pack's name.
        TrainingError: two paintings of one name, or one named like the identity style.
    """
    notes = _read_notes(folder / "paintings.csv")
    paintings: dict[str, Painting] = {}
    for path in find_images(folder):
        name = pack_name(path)
        if name in paintings:
            raise TrainingError(
                f"{path} and {paintings[name].path} would both be '{name}'; rename one of them"
            )
        if name == IDENTITY:
            raise TrainingError(f"{path}: '{IDENTITY}' is the identity style; rename the file")
        paintings[name] = describe(path, name, notes.get(name, {}))
    return list(paintings.values())


def balanced(paintings: Sequence[Painting], weights: Mapping[str, float]) -> list[Painting]:
    """The paintings with the weights that are given for some of them.

    Raises:
        UsageError: a weight for a painting that is not there.
    """
    names = [painting.name for painting in paintings]
    for name in weights:
        if name not in names:
            raise UsageError(
                f"--balance names '{name}'; the paintings are {', '.join(sorted(names))}"
            )
    return [replace(p, weight=weights.get(p.name, 1.0)) for p in paintings]


def describe(path: Path, name: str, facts: dict[str, str]) -> Painting:
    """A painting under a checked name, with the hash of its file among its facts."""
    return Painting(checked_name(name, path), path, {**facts, "sha256": file_sha256(path)})


def pack_name(path: Path) -> str:
    """A pack's name from a file's name: `Starry Night.jpg` -> `starry-night`."""
    name = re.sub(r"[^a-z0-9_]+", "-", path.stem.lower()).strip("-_")
    if not name:
        raise UsageError(f"{path}: nothing of its name can be a pack's name; name it like dusk.jpg")
    return checked_name(name, path)


def _read_notes(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise TrainingError(f"cannot read {path}: {error}") from error
    return {
        (row.get("name") or "").strip(): {key: row[key] for key in FACTS if row.get(key)}
        for row in rows
    }


def objective_for(
    recipe: Recipe,
    source: WeightSource,
    paintings: Sequence[Painting | None],
    device: torch.device,
) -> Objective:
    """Load the loss network and measure the paintings; None is the identity style."""
    network = load_loss_network(recipe, source, device, training_dtype(device))
    side = recipe.style_side
    pictures = [read_painting(p.path, side) if p else None for p in paintings]
    return Objective(network, recipe, pictures, [p.weight if p else 1.0 for p in paintings])
