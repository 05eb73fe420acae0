"""A new style for a finished trunk, by training only gamma and beta.

Dumoulin, Shlens & Kudlur 2017, section 3.4: a new style needs neither the old paintings nor a
gradient for the convolutions, so nothing installed changes.
"""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import takewhile
from pathlib import Path

import torch
from torch import Tensor

from stylepack.events import Event, Progress
from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.images.photo import Photo, read_rgb, resized
from stylepack.library.resolve import resolve
from stylepack.losses.weights import WeightSource
from stylepack.network.device import training_dtype
from stylepack.packs.mix import Mix
from stylepack.packs.pack import Pack
from stylepack.packs.thumbnail import thumbnail
from stylepack.recipe import Recipe
from stylepack.training.dataset import Batch, Batches, PhotoFolder, on_device
from stylepack.training.export import describe_pack, provenance
from stylepack.training.held_out import Evaluation
from stylepack.training.initial import Earlier, nearest_start
from stylepack.training.paintings import Painting, objective_for
from stylepack.training.quick import QuickStyle
from stylepack.training.trainer import Step, Trainer

# Only gamma and beta are trained, from a good start, so the learning rate is higher and updates are
# far fewer than for a trunk.  Measured in docs/training.md.
STEPS = 250  # from a mix of packs
LEARNING_RATE = 2e-2
CROP = 256
REFINING_STEPS = 60  # from a `QuickStyle`, which is nearly converged
REFINING_RATE = 1e-2
REFINING_CROP = 192  # as good as 256 at this stage, with half the work
# Upper limits: gamma and beta alone reduce these terms only by raising the other losses.
LATTICE_WEIGHT, HATCHING_WEIGHT = 0.5, 0.1
WARMUP = 10
EMA = 0.95
POOL = 16  # batches of four crops, enough for 1,606 parameters
CHECK_EVERY = 25  # updates between checks of the held-out loss
HELD_OUT_CROPS = 8
ENOUGH = 0.997  # a check is progress if the loss is below this multiple of the lowest
PATIENCE = 3  # checks without progress
AS_GOOD = 1.02  # a loss below this multiple of the lowest is as good, and the later style is kept
FINISH = 50  # updates in which the learning rate then decays to its final value
PREVIEW_WEIGHTS = (0.25, 0.5, 1.0, 2.0, 4.0)  # multiples of the recipe's style weight
PREVIEW_STEPS = 40  # updates per weight, each from the previous weight's result
PREVIEW_CELL = 256  # pixels
PREVIEW_PHOTOS = 2  # rows per painting


def finetune_recipe(recipe: Recipe, steps: int | None = None, *, refining: bool = False) -> Recipe:
    """A recipe for one new style, from the trunk's; `refining` starts from a `QuickStyle`."""
    return replace(
        recipe,
        updates=steps or (REFINING_STEPS if refining else STEPS),
        crop=min(REFINING_CROP if refining else CROP, recipe.crop),
        first_crop=0,
        learning_rate=REFINING_RATE if refining else LEARNING_RATE,
        style_rate=1.0,
        lattice_weight=min(LATTICE_WEIGHT, recipe.lattice_weight),
        hatching_weight=min(HATCHING_WEIGHT, recipe.hatching_weight),
        warmup=WARMUP,
        ema=EMA,
        identity=False,
    )


class Finetune:
    """Training of one style: `first_version()`, `train()`, `evaluation()`, then the `pack()`.

    `max_time`: seconds from now in which the learning rate decays to its final value.  `earlier`: a
    style to continue from.  Without it, learning starts from a `quick` style if there is one, else
    from the nearest mix of packs.
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
        earlier: Earlier | None = None,
        quick: QuickStyle | None = None,
    ) -> None:
        self.begun, self.max_time, self.out_of_time = time.monotonic(), max_time, False
        self.painting, self.recipe, self.source = painting, recipe, source
        self.photos, self.held_out = PhotoFolder.open(photos, [painting.path]).split()
        loaded = resolve((), trunk).load()
        self.trunk, self.digest, packs = loaded.trunk.to(device), loaded.sha256, loaded.packs
        self.device, self.quick = device, quick if earlier is None else None
        self.objective = objective_for(recipe, source, [painting], device)
        if earlier is None and quick is None:
            earlier = self._nearest(packs)
        neutral = Earlier(self.trunk.config.neutral_style(), Mix(()))  # until the first version
        self._start(earlier or neutral)

    def first_version(self) -> Generator[Progress]:
        """Learn the quick style and start from it; yield its updates, if it is not cached."""
        if self.quick:
            pack = yield from self.quick.learn(self.device, self.begun + self.max_time)
            self._start(Earlier.of(pack))

    def _start(self, earlier: Earlier) -> None:
        self.earlier = earlier
        self.best = earlier.style[None].to(self.device)
        self.lowest, self.looked_at = math.inf, 0  # lowest loss, and the update of the last check
        self.trainer = Trainer(self.trunk, self.best, self.objective, self.recipe, frozen=True)

    def _nearest(self, packs: dict[str, Pack]) -> Earlier:
        """The nearest mix of packs, without the painting's own: `--preview` compares weights."""
        digest = self.painting.facts.get("sha256")
        packs = {
            name: pack
            for name, pack in packs.items()
            if pack.manifest.style_image.get("sha256") != digest
        }
        crops = on_device(Batches(self.photos, self.recipe, styles=1).draw(0).photos, self.device)
        return nearest_start(self.trunk, packs, self.objective, crops)

    def begin_again(self, style: Tensor, weight: float) -> None:
        """Restart training from `style`, (1, style_size), with another style weight."""
        self.objective.style_weights.fill_(weight)
        self.trainer = Trainer(self.trunk, style, self.objective, self.recipe, frozen=True)

    def train(self) -> Generator[Event]:
        """Yield each update until the held-out loss no longer falls, or the time is up.

        Once the loss no longer falls, the learning rate decays to its final value in `FINISH`
        updates.
        """
        return self.photos.journal.around(self._steps())

    def _steps(self) -> Generator[Step]:
        trainer, checks_since = self.trainer, 0
        end, before = self.recipe.updates, 0
        self.lowest, self.looked_at = math.inf, 0
        start = time.monotonic()
        planned = takewhile(lambda batch: batch.update < trainer.planned, self._batches())
        for steps in trainer.groups(planned):
            yield from steps
            update, now = trainer.update, time.monotonic()
            if self.max_time < math.inf and update < trainer.planned:
                left = self.begun + self.max_time - now
                in_time = update + int(left * update / max(now - start, 1e-9))
                trainer.planned = max(update, min(end, in_time))
                self.out_of_time = in_time < end
            last = update >= trainer.planned
            due = update // CHECK_EVERY > before // CHECK_EVERY
            before = update
            if not (due or last):
                continue
            checks_since = 0 if self._look() else checks_since + 1
            if last:
                return
            if checks_since == PATIENCE:
                end = min(trainer.planned, update + FINISH)
                trainer.planned = end

    def _look(self) -> bool:
        """Take the moving average as `best` unless it is worse; return whether the loss falls."""
        loss = self._loss(self._unseen)
        falls = loss < self.lowest * ENOUGH
        self.lowest, self.looked_at = min(self.lowest, loss), self.trainer.update
        if loss <= self.lowest * AS_GOOD:
            self.best = self.trainer.average["style"].clone()
        return falls

    def settle(self) -> None:
        """After `train()` was stopped early, take the latest style as `best` unless it is worse."""
        if self.trainer.update > self.looked_at:
            self._look()

    @property
    def updates(self) -> int:
        """Number of updates of the style, including earlier ones."""
        return self.earlier.updates + self.trainer.update

    @cached_property
    def _unseen(self) -> Batch:
        """Crops of held-out photographs, always the same ones."""
        held_out = Batches(self.held_out, replace(self.recipe, batch=HELD_OUT_CROPS), styles=1)
        return self._with_targets(held_out.draw(0))

    @torch.no_grad()
    def _loss(self, batch: Batch) -> float:
        """The weighted loss of the moving average on held-out photographs."""
        photos = on_device(batch.photos, self.trainer.device)
        style = self.trainer.average["style"].expand(len(photos), -1)
        painted = self.trunk(photos.to(self.trainer.dtype), style).float()
        terms = self.objective(painted, photos, batch.styles, targets=batch.targets)
        return terms.total.item()

    def _batches(self) -> Iterator[Batch]:
        """A few batches in turn, so that their targets are computed only once."""
        drawn = []
        few = replace(self.recipe, updates=min(POOL, self.recipe.updates))
        for batch in Batches(self.photos, few, styles=1):
            drawn.append(self._with_targets(batch))
            yield drawn[-1]
        for update in range(len(drawn), self.recipe.updates):
            yield replace(drawn[update % len(drawn)], update=update)

    def _with_targets(self, batch: Batch) -> Batch:
        """The batch with its targets, on the device."""
        device = self.trainer.device
        photos, styles = batch.photos.to(device), batch.styles.to(device)
        targets = self.objective.content_targets(on_device(photos, device))
        return replace(batch, photos=photos, styles=styles, targets=targets)

    def evaluation(self) -> Evaluation:
        """The evaluation of the best style on the held-out photographs, not yet measured."""
        return Evaluation(self.trunk, self.best, self.objective, self.held_out)

    def pack(self, evaluation: Evaluation | None, author: str, license: str) -> Pack:
        """The trained pack, with its held-out losses if they are measured; nothing is written."""
        facts = provenance(
            self.recipe,
            self.source,
            updates=self.updates,
            styles=1,
            photographs=len(self.photos.paths),
        )
        (metrics,) = evaluation.metrics() if evaluation else ({},)
        (style,) = self.best
        manifest = describe_pack(
            self.painting,
            self.digest,
            {**facts, "started_from": str(self.earlier.started_from)},
            metrics,
            thumbnail(self.trunk, style),
            author,
            license,
        )
        return Pack(manifest, style.cpu())


class Preview:
    """A painting at several style weights: iterate `train()`, then call `paint_previews`."""

    def __init__(self, work: Finetune) -> None:
        self.work = work
        self.weights = [share * work.recipe.style_weight for share in PREVIEW_WEIGHTS]
        self.styles: list[Tensor] = []

    def train(self) -> Generator[Event]:
        """Yield each update, from the smallest weight to the largest."""
        done = 0
        for weight in self.weights:
            self.work.begin_again(self.work.best, weight)
            for event in self.work.train():
                if isinstance(event, Step):
                    done += 1
                    yield Progress(done, event.words)
                else:
                    yield event
            self.styles.append(self.work.best)

    def __len__(self) -> int:
        return len(self.weights) * self.work.recipe.updates


@torch.no_grad()
def paint_previews(path: Path, previews: Sequence[Preview]) -> None:
    """Write a PNG of photographs at every weight, with a block of rows per painting."""
    rows, captions = [], []
    for preview in previews:
        work = preview.work
        dtype = training_dtype(work.trainer.device)
        painting = read_rgb(work.painting.path)
        for index in range(min(PREVIEW_PHOTOS, len(work.held_out.paths))):
            photo = work.held_out.read_first(index, lambda photo: resized(photo, PREVIEW_CELL))
            images = photo[None].to(work.trainer.device, dtype)
            painted = [work.trunk(images, style)[0] for style in preview.styles]
            rows.append([painting, *(Photo.from_float(x).to_image() for x in (photo, *painted))])
            words = [f"style weight {weight:g}" for weight in preview.weights]
            captions.append([work.painting.name, "the photograph", *words])
    save_png(contact_sheet(rows, captions, PREVIEW_CELL), path)
