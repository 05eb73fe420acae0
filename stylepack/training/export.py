"""Trunk and pack files from trained weights, and sheets of their paintings."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from stylepack.events import Saved
from stylepack.images.photo import Photo, resized
from stylepack.losses.weights import WeightSource
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import IDENTITY, SUFFIX, Manifest
from stylepack.packs.pack import Pack
from stylepack.packs.thumbnail import thumbnail, today
from stylepack.packs.trunk_file import load_trunk, save_trunk
from stylepack.recipe import Recipe
from stylepack.training.dataset import PhotoFolder
from stylepack.training.held_out import Evaluation
from stylepack.training.paintings import Painting
from stylepack.training.settings import versions

SHEET_PHOTOS = 4
SHEET_CELL = 224
RECORDED = (  # fields of the recipe that a pack's metadata contains
    *("batch", "crop", "seed", "content_weight", "similarity_weight"),
    *("tone_weight", "palette_weight", "color_weight"),
    *("lattice_weight", "hatching_weight", "style_weight", "scales", "loss_network"),
)
Rows = list[list[Image.Image]]


def write_trunk(folder: Path, trunk: Trunk, author: str) -> tuple[Trunk, str]:
    """Write trunk.safetensors, rounded to float16, and read it back: (trunk, SHA-256).

    Measurements and thumbnails then use exactly the weights that were hashed.
    """
    path = folder / "trunk.safetensors"
    save_trunk(path, trunk, {"modelspec.date": today(), "modelspec.author": author})
    return load_trunk(path)


def write_packs(
    folder: Path,
    evaluation: Evaluation,
    paintings: Sequence[Painting | None],
    trunk_sha256: str,
    facts: dict[str, Any],
    *,
    author: str,
    license: str,
) -> Generator[Saved]:
    """Write packs/NAME.safetensors for every measured style; None is the identity style."""
    (folder / "packs").mkdir(exist_ok=True)
    for painting, style, metrics in zip(
        paintings, evaluation.styles, evaluation.metrics(), strict=True
    ):
        picture = thumbnail(evaluation.trunk, style, photo_contrast(painting))
        weight = facts["style_weight"] * (painting.weight if painting else 0.0)
        train = {**facts, "style_weight": weight}
        manifest = describe_pack(painting, trunk_sha256, train, metrics, picture, author, license)
        path = folder / "packs" / f"{manifest.name}{SUFFIX}"
        Pack(manifest, style.cpu()).save(path, evaluation.trunk.config)
        yield Saved(path, metrics_in_words(manifest))


def metrics_in_words(manifest: Manifest) -> str:
    """A sentence on a pack's held-out losses."""
    metrics = manifest.metrics
    return (
        f"{manifest.name}: content loss {metrics['content']:.3f}, style loss "
        f"{metrics['style']:.3f} on {metrics['photographs']} held-out "
        f"photograph{'s' * (metrics['photographs'] != 1)}"
    )


def describe_pack(
    painting: Painting | None,
    trunk_sha256: str,
    train: dict[str, Any],
    metrics: dict[str, Any],
    picture: str,
    author: str,
    license: str,
) -> Manifest:
    """The manifest of a newly trained style; None is the identity style."""
    facts = painting.facts if painting else {}
    if painting:
        title = facts.get("title", painting.name)
        by = f" by {facts['artist']}" if "artist" in facts else ""
        description = f"Paints a photograph in the style of {title}{by}."
    else:
        title, description = "Photograph", "The identity style: reproduces the photograph."
    return Manifest(
        name=painting.name if painting else IDENTITY,
        trunk_sha256=trunk_sha256,
        title=title,
        description=description,
        author=author,
        date=today(),
        license=license,
        tags="style transfer",
        thumbnail=picture,
        style_image=dict(facts),
        train=train,
        metrics=metrics,
        own_contrast=photo_contrast(painting),
    )


def photo_contrast(painting: Painting | None) -> float:
    """Share of the photograph's contrast that a style takes: all for the identity style."""
    return 0.0 if painting else 1.0


@torch.no_grad()
def paint_rows(
    trunk: Trunk, styles: Tensor, names: Sequence[str], photos: PhotoFolder
) -> tuple[Rows, list[list[str]]]:
    """Rows of up to four photographs and their paintings in every style, and the captions."""
    dtype = training_dtype(styles.device)
    rows, captions = [], []
    for index in range(min(SHEET_PHOTOS, len(photos.paths))):
        photo = photos.read_first(index, lambda path: resized(path, SHEET_CELL))
        images = photo[None].to(styles.device, dtype)
        painted = [
            Photo.from_float(trunk(images, style, float(name == IDENTITY))[0]).to_image()
            for name, style in zip(names, styles, strict=True)
        ]
        rows.append([Photo.from_float(photo).to_image(), *painted])
        captions.append(["the photograph", *names])
    return rows, captions


def provenance(
    recipe: Recipe, source: WeightSource, *, updates: int, styles: int, photographs: int
) -> dict[str, Any]:
    """A record of a style's training, for its pack's metadata."""
    return {
        "recipe": recipe.name,
        "updates": updates,
        "styles": styles,
        "photographs": photographs,
        **{name: getattr(recipe, name) for name in RECORDED},
        "content_layers": list(recipe.content_layers),
        "style_layers": list(recipe.style_layers),
        "layer_weights": list(recipe.layer_weights),
        "loss_weights": source.file.name if source.file else recipe.loss_weights,
        **versions(),
    }
