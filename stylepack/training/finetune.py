"""One painting more on a finished trunk: gamma and beta alone are trained.

Dumoulin, Shlens & Kudlur 2017, section 3.4: a new style needs neither the old paintings
nor a gradient for the convolutions, so nothing that is installed changes.
"""

import math
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor

from stylepack.events import Event
from stylepack.library.resolve import resolve
from stylepack.losses.weights import WeightSource
from stylepack.packs.mix import Mix
from stylepack.packs.pack import Pack, blend
from stylepack.packs.thumbnail import thumbnail
from stylepack.recipe import Recipe
from stylepack.training.dataset import Batch, Batches, PhotoFolder, on_device
from stylepack.training.export import describe_pack, provenance
from stylepack.training.held_out import Evaluation
from stylepack.training.initial import nearest_mix
from stylepack.training.paintings import Painting, objective_for
from stylepack.training.trainer import Step, Trainer

# Only 1,606 numbers are learned, from a good start: they take a higher rate and far fewer
# updates than a trunk.  Measured in docs/training.md.
STEPS = 250
CROP = 256
LEARNING_RATE = 2e-2
# At most: gamma and beta alone pay for these with more of the other losses.
LATTICE_WEIGHT, HATCHING_WEIGHT = 0.5, 0.1
WARMUP = 10
EMA = 0.95
POOL = 16  # batches that are drawn; with four crops each, enough for 1,606 numbers
CHECK_EVERY = 25  # updates between looks at the held-out loss
HELD_OUT_CROPS = 8
ENOUGH = 0.997  # a check counts as progress if the loss fell below this share of the lowest
PATIENCE = 3  # checks without progress
AS_GOOD = 1.02  # of styles whose losses differ by less the later is taken: few crops are looked at
FINISH = 50  # updates in which the learning rate then falls to its end


def finetune_recipe(recipe: Recipe, steps: int | None = None) -> Recipe:
    """A trunk's recipe turned into one for a single new style."""
    return replace(
        recipe,
        updates=steps or STEPS,
        crop=min(CROP, recipe.crop),
        first_crop=0,
        learning_rate=LEARNING_RATE,
        style_rate=1.0,
        lattice_weight=min(LATTICE_WEIGHT, recipe.lattice_weight),
        hatching_weight=min(HATCHING_WEIGHT, recipe.hatching_weight),
        warmup=WARMUP,
        ema=EMA,
        identity=False,
    )


class Finetune:
    """Training one style: iterate `train()`, then `evaluation()`, then take the `pack()`.

    `max_time` is in seconds from here on; the learning rate falls to its end in that time.
    """

    def __init__(
        self,
        painting: Painting,
        photos: Path,
        trunk: Path,
        recipe: Recipe,
        source: WeightSource,
        device: torch.device,
        max_time: float = math.inf,
    ) -> None:
        self.begun, self.max_time = time.monotonic(), max_time
        self.painting, self.recipe, self.source = painting, recipe, source
        self.photos, self.held_out = PhotoFolder.open(photos, [painting.path]).split()
        loaded = resolve((), trunk).load()
        self.trunk, self.digest, packs = loaded.trunk.to(device), loaded.sha256, loaded.packs
        objective = objective_for(recipe, source, [painting], device)
        crops = on_device(Batches(self.photos, recipe, styles=1).draw(0).photos, device)
        self.started_from = nearest_mix(self.trunk, packs, objective, crops)
        start = blend(
            [packs[name].style for name in self.started_from]
            or [self.trunk.config.neutral_style()],
            [*self.started_from.values()] or [1.0],
        )
        self.best = start[None].to(device)
        self.trainer = Trainer(self.trunk, self.best, objective, recipe, frozen=True)

    def begin_again(self, style: Tensor, weight: float) -> None:
        """Train anew from `style`, (1, style_size), with another style weight."""
        objective = self.trainer.objective
        objective.style_weights.fill_(weight)
        self.trainer = Trainer(self.trunk, style, objective, self.recipe, frozen=True)

    def train(self) -> Generator[Event]:
        """Report each update, until the held-out loss no longer falls or the time is over.

        When it no longer falls the learning rate still may: it falls to its end, and that is it.
        """
        return self.photos.journal.around(self._steps())

    def _steps(self) -> Generator[Step]:
        trainer, lowest, checks_since = self.trainer, math.inf, 0
        end, before = self.recipe.updates, 0
        held_out = Batches(self.held_out, replace(self.recipe, batch=HELD_OUT_CROPS), styles=1)
        unseen = self._with_targets(held_out.draw(0))
        start = time.monotonic()
        planned = takewhile(lambda batch: batch.update < trainer.planned, self._batches())
        for steps in trainer.groups(planned):
            yield from steps
            update, now = trainer.update, time.monotonic()
            if self.max_time < math.inf and update < trainer.planned:
                left = self.begun + self.max_time - now
                in_time = update + int(left * update / max(now - start, 1e-9))
                trainer.planned = max(update, min(end, in_time))
            last = update >= trainer.planned
            due = update // CHECK_EVERY > before // CHECK_EVERY
            before = update
            if not (due or last):
                continue
            loss = self._loss(unseen)
            checks_since = 0 if loss < lowest * ENOUGH else checks_since + 1
            lowest = min(lowest, loss)
            if loss <= lowest * AS_GOOD:
                self.best = trainer.average["style"].clone()
            if last:
                return
            if checks_since == PATIENCE:
                end = min(trainer.planned, update + FINISH)
                trainer.planned = end

    @torch.no_grad()
    def _loss(self, batch: Batch) -> float:
        """The weighted losses of the moving average on photographs that it is not trained on."""
        photos = on_device(batch.photos, self.trainer.device)
        style = self.trainer.average["style"].expand(len(photos), -1)
        painted = self.trunk(photos.to(self.trainer.dtype), style).float()
        terms = self.trainer.objective(painted, photos, batch.styles, targets=batch.targets)
        return terms.total.item()

    def _batches(self) -> Iterator[Batch]:
        """A few batches, drawn once and taken in turn: their targets need computing only once."""
        drawn = []
        few = replace(self.recipe, updates=min(POOL, self.recipe.updates))
        for batch in Batches(self.photos, few, styles=1):
            drawn.append(self._with_targets(batch))
            yield drawn[-1]
        for update in range(len(drawn), self.recipe.updates):
            yield replace(drawn[update % len(drawn)], update=update)

    def _with_targets(self, batch: Batch) -> Batch:
        """The batch with its targets, all on the device: it is used again and again."""
        device = self.trainer.device
        photos, styles = batch.photos.to(device), batch.styles.to(device)
        targets = self.trainer.objective.content_targets(on_device(photos, device))
        return replace(batch, photos=photos, styles=styles, targets=targets)

    def evaluation(self) -> Evaluation:
        """Measurements of the style on the held-out photographs, still to be made."""
        return Evaluation(self.trunk, self.best, self.trainer.objective, self.held_out)

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
            {**facts, "started_from": str(Mix(tuple(self.started_from.items())))},
            metrics,
            thumbnail(self.trunk, style),
            author,
            license,
        )
        return Pack(manifest, style.cpu())
