"""Paintings of a folder, their metadata, and the objective for them."""

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
    """A painting: the pack's name, the picture, facts for the pack's metadata.

    `weight` multiplies the recipe's style weight.
    """

    name: str
    path: Path
    facts: dict[str, str]
    weight: float = 1.0


def read_paintings(folder: Path) -> list[Painting]:
    """Every picture of `folder`, named after its file.

    Facts come from `paintings.csv` in it, with a column `name` and any of title, artist, year and
    licence.

    Raises:
        UsageError: no such folder, or no pictures in it.
        PackError: a file name that cannot be a pack's name.
        TrainingError: two paintings with one name, or one named like the identity style.
    """
    facts = _read_facts(folder / "paintings.csv")
    paintings: dict[str, Painting] = {}
    for path in find_images(folder):
        name = pack_name(path)
        if name in paintings:
            raise TrainingError(
                f"{path} and {paintings[name].path} would both be '{name}'; rename one of them"
            )
        if name == IDENTITY:
            raise TrainingError(f"{path}: '{IDENTITY}' is the identity style; rename the file")
        paintings[name] = describe(path, name, facts.get(name, {}))
    return list(paintings.values())


def balanced(paintings: Sequence[Painting], weights: Mapping[str, float]) -> list[Painting]:
    """The paintings with `weights` by name, 1 for the others.

    Raises:
        UsageError: a weight for an unknown painting.
    """
    names = [painting.name for painting in paintings]
    for name in weights:
        if name not in names:
            raise UsageError(
                f"--balance names '{name}'; the paintings are {', '.join(sorted(names))}"
            )
    return [replace(p, weight=weights.get(p.name, 1.0)) for p in paintings]


def describe(path: Path, name: str, facts: dict[str, str]) -> Painting:
    """A painting with a checked name, and its file's SHA-256 among its facts."""
    return Painting(checked_name(name, path), path, {**facts, "sha256": file_sha256(path)})


def need_painting(path: Path) -> None:
    """Refuse a path that cannot be the picture of a painting.

    Raises:
        UsageError: it is a folder, or there is no such file.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the picture of one painting")
    if not path.is_file():
        raise UsageError(f"no such file: {path}; give the picture of one painting")


def pack_name(path: Path) -> str:
    """A pack's name from a file's name: `Starry Night.jpg` -> `starry-night`."""
    name = re.sub(r"[^a-z0-9_]+", "-", path.stem.lower()).strip("-_")
    if not name:
        raise UsageError(f"{path} gives no name for a pack; rename it, for example to dusk.jpg")
    return checked_name(name, path)


def _read_facts(path: Path) -> dict[str, dict[str, str]]:
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
    """The objective for paintings, with its loss network loaded; None is the identity style."""
    network = load_loss_network(recipe, source, device, training_dtype(device))
    side = recipe.style_side
    pictures = [read_painting(p.path, side) if p else None for p in paintings]
    return Objective(network, recipe, pictures, [p.weight if p else 1.0 for p in paintings])
