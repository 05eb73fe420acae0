"""One painting more on a finished trunk: gamma and beta alone are trained.

Dumoulin, Shlens & Kudlur 2017, section 3.4: a new style needs neither the old paintings
nor a gradient for the convolutions, so nothing that is installed changes.
"""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import torch

from stylepack.packs.pack import Pack
from stylepack.packs.shelf import IDENTITY
from stylepack.packs.trunkfile import load_trunk
from stylepack.training.evaluate import Evaluation
from stylepack.training.export import describe_pack, provenance, thumbnail
from stylepack.training.loss_network import WeightSource
from stylepack.training.objective import Objective
from stylepack.training.paintings import Painting
from stylepack.training.photos import Batches, PhotoFolder
from stylepack.training.recipe import Recipe
from stylepack.training.start import mean_style, packs_of
from stylepack.training.trainer import Step, Trainer

# Only 3,206 numbers are learned, from a good start: they take a higher rate and far fewer
# updates than a trunk.  Measured in docs/training.md.
STEPS = 200
CROP = 192
LEARNING_RATE = 5e-3
WARMUP = 10
EMA = 0.95


def finetune_recipe(recipe: Recipe, steps: int | None = None) -> Recipe:
    """A trunk's recipe turned into one for a single new style."""
    return replace(
        recipe,
        updates=steps or STEPS,
        crop=min(CROP, recipe.crop),
        first_crop=0,
        learning_rate=LEARNING_RATE,
        style_rate=1.0,
        warmup=WARMUP,
        ema=EMA,
        identity=False,
    )


class Finetune:
    """Training one style: iterate `train()`, then `evaluation()`, then take the `pack()`."""

    def __init__(
        self,
        painting: Painting,
        photos: Path,
        trunk: Path,
        recipe: Recipe,
        source: WeightSource,
        device: torch.device,
    ) -> None:
        self.painting = painting
        self.recipe = recipe
        self.source = source
        self.photos, self.held_out = PhotoFolder.open(photos, [painting.path]).split()
        self.trunk, self.digest = load_trunk(trunk)
        self.trunk.to(device)
        packs = packs_of(trunk, self.digest, self.trunk.config)
        start, self.started_from = (
            mean_style(packs, self.trunk.config),
            [name for name in packs if name != IDENTITY],
        )
        objective = Objective.for_paintings(recipe, source, [painting], device)
        self.trainer = Trainer(self.trunk, start[None].to(device), objective, recipe, frozen=True)

    def train(self) -> Generator[Step]:
        """Yield each update."""
        return self.trainer.steps(Batches(self.photos, self.recipe, styles=1))

    def evaluation(self) -> Evaluation:
        """Iterated, it measures the style on the held-out photographs."""
        styles = self.trainer.average["style"]
        return Evaluation(self.trunk, styles, self.trainer.objective, self.held_out)

    def pack(self, evaluation: Evaluation, author: str, license: str) -> Pack:
        """The trained pack with its held-out losses; nothing is written."""
        facts = provenance(
            self.recipe,
            self.source,
            updates=self.trainer.update,
            styles=1,
            photographs=len(self.photos.paths),
        )
        (metrics,) = evaluation.metrics()
        (style,) = evaluation.styles
        manifest = describe_pack(
            self.painting,
            self.digest,
            {**facts, "started_from": self.started_from},
            metrics,
            thumbnail(self.trunk, style),
            author,
            license,
        )
        return Pack(manifest, style.cpu())
