"""Distilling a loss network: a small one learns to answer as VGG does.

What matters of a loss network is where the packs end that are learned with it.  Content and
style losses are distances, and learning goes by how they change; so the small network learns
differences above all: those of VGG's Gram matrices between any two images that it is shown,
and those of the activations between a photograph and what is painted of it, each relative to its
own size (Czarnecki et al. 2017, "Sobolev Training", with differences in place of gradients).
It is shown photographs, paintings, and photographs painted well, badly and in the styles of packs
that are being learned with the small network itself (`learners.py`), at every scale that style
is measured at.
"""

import json
import shutil
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.errors import UsageError
from stylepack.files import NAME as LOCK
from stylepack.files import FolderLock, make_folder
from stylepack.lab.distill.data import DistillationData, Folders
from stylepack.lab.distill.initial import inherit
from stylepack.lab.distill.students import StudentBatch, StyleStudents
from stylepack.losses import functional as losses
from stylepack.losses.distilled import Distilled, DistilledConfig, save_distilled
from stylepack.losses.objective import Grams, pyramid_grams
from stylepack.losses.teachers import Teachers
from stylepack.losses.weights import WeightSource
from stylepack.network.device import keep_large_blocks, training_dtype
from stylepack.recipe import Recipe
from stylepack.training.checkpoint import (
    has_checkpoint,
    load_checkpoint,
    restore_training,
    save_checkpoint,
    training_state,
)
from stylepack.training.settings import versions
from stylepack.training.trainer import follow, scheduled

CHECKPOINT_EVERY = 250  # updates
FIRST_LOOK = 8  # batches that the first guess is made from


@dataclass(frozen=True)
class DistillRecipe:
    """How a loss network is distilled.

    Of the images of a batch a quarter are photographs, a quarter paintings; the rest are the
    same photographs painted, twice each.
    """

    updates: int = 600
    batch: int = 8
    crop: int = 128
    learning_rate: float = 3e-4
    most_gradient: float = 1.0  # norm; one hard batch can undo a deep network
    warmup: int = 50
    ema: float = 0.995
    activation_weight: float = 0.5
    difference_weight: float = 2.0  # of the Gram matrices' differences
    content_weight: float = 1.0  # of the activations' differences from the photographs'
    least_difference: float = 0.01  # squared, of the matrices' own size: what counts as none
    seed: int = 0


@dataclass(frozen=True)
class DistillStep:
    """One finished update: relative squared errors a layer.

    `activations` are those of the activations, `grams` of the differences of Gram matrices, the
    mean of all scales, and `content` that of the activations' differences at the content layer.
    """

    update: int
    activations: dict[str, float]
    grams: dict[str, float]
    content: float

    @property
    def done(self) -> int:
        """How many updates are done."""
        return self.update

    @property
    def words(self) -> str:
        """Relative errors a layer: of the activations, and of the Gram matrices."""
        shown = []
        for layer, error in self.activations.items():
            gram = f"/{self.grams[layer]:.3f}" if layer in self.grams else ""
            shown.append(f"{layer.removeprefix('relu')} {error:.2f}{gram}")
        return "  ".join(shown)


@dataclass(frozen=True)
class Errors:
    """The errors of a batch, as tensors that carry gradients: see `DistillStep`."""

    activations: dict[str, Tensor]
    grams: dict[str, Tensor]
    content: Tensor


class Distillation:
    """Training a small loss network: iterate `train()` to its end, `write()` and `close()`.

    Until then no other process can work on the same file.
    """

    def __init__(
        self,
        output: Path,
        folders: Folders,
        recipe: DistillRecipe,
        source: WeightSource,
        deep: Path | None,
        device: torch.device,
    ) -> None:
        self.output, self.recipe, self.source, self.deep = output, recipe, source, deep
        self.device = device
        self.wanted = Recipe()  # its layers are those that the small network answers for
        style, content = self.wanted.style_layers, self.wanted.content_layers
        config = DistilledConfig(self.wanted.loss_network, tuple(dict.fromkeys(style + content)))
        self.teacher = Teachers.load(self.wanted, source, deep, device, training_dtype(device))
        draws = Recipe(
            updates=recipe.updates,
            batch=recipe.batch // 4,
            crop=recipe.crop,
            photo_side=3 * recipe.crop,
            seed=recipe.seed,
        )
        self.diet = DistillationData(folders, draws, device)
        self.learners = StyleStudents(
            self.diet.trunk, self.diet.styles, self.diet.picture, self.teacher, recipe.seed
        )
        self.network = Distilled(config, training_dtype(device)).to(device)
        self.sizes = self._first_guess()
        self.parameters = dict(self.network.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.adam = torch.optim.Adam(self.network.parameters())
        self.update = 0
        self.lock: FolderLock | None = None
        keep_large_blocks()

    @classmethod
    def start(
        cls,
        output: Path,
        folders: Folders,
        recipe: DistillRecipe,
        source: WeightSource,
        deep: Path | None,
        device: torch.device,
        *,
        resume: bool,
    ) -> "Distillation":
        """Begin, or go on from the checkpoint beside `output`.

        Raises:
            UsageError: there is a checkpoint and `resume` is not set, or there is none.
            TrainingError: another process is at work on it.
        """
        place = checkpoint_folder(output)
        if resume and not has_checkpoint(place):
            raise UsageError(f"{place} holds no checkpoint to go on from; leave out --resume")
        make_folder(place, "choose another file with -o")
        lock = FolderLock(place)
        try:
            if has_checkpoint(place) and not resume:
                raise UsageError(f"{place} holds a checkpoint; add --resume to go on, or delete it")
            work = cls(output, folders, recipe, source, deep, device)
            if resume:
                work.restore(load_checkpoint(place))
        except BaseException:
            with suppress(OSError):  # the folder goes if nothing else lies there
                (place / LOCK).unlink()
                place.rmdir()
            lock.release()
            raise
        work.lock = lock
        return work

    def train(self) -> Generator[DistillStep]:
        """Yield each update; a checkpoint is saved on the way and when the iterator is closed."""
        saved = self.update
        try:
            for update, photos, paintings in self.diet.batches(self.update):
                yield self.step(update, photos, paintings)
                if self.update % CHECKPOINT_EVERY == 0:
                    self.checkpoint()
                    saved = self.update
        finally:
            if self.update > saved:
                self.checkpoint()

    def checkpoint(self) -> None:
        """Write the state of this moment."""
        save_checkpoint(checkpoint_folder(self.output), self.state())

    def write(self) -> int:
        """Write the network's file, drop the checkpoint, and return the file's size in bytes."""
        facts = {
            "updates": self.update,
            "seed": self.recipe.seed,
            "teacher_weights": self.source.file.name if self.source.file else "torchvision",
            "deep_teacher": self.deep.name if self.deep else "",
            **versions(),
        }
        save_distilled(self.output, self.finished(), {"stylepack.train": json.dumps(facts)})
        shutil.rmtree(checkpoint_folder(self.output), ignore_errors=True)
        return self.output.stat().st_size

    def close(self) -> None:
        """Let other processes have the file."""
        if self.lock:
            self.lock.release()

    def step(self, update: int, photos: Tensor, paintings: Tensor) -> DistillStep:
        """One update on the photographs and paintings of a batch, (N, 3, crop, crop) each."""
        recipe = self.recipe
        rate = scheduled(recipe.learning_rate, update, recipe.updates, recipe.warmup, "cosine")
        self.adam.param_groups[0]["lr"] = rate
        sitting = self.learners.sit(update, photos, self.network)
        others = self.diet.painted(update, photos, sitting.style)
        errors = self.errors(torch.cat([photos, sitting.painted, others, paintings]), sitting)
        total = (
            recipe.activation_weight * torch.stack([*errors.activations.values()]).sum()
            + recipe.difference_weight * torch.stack([*errors.grams.values()]).sum()
            + recipe.content_weight * errors.content
        )
        self.adam.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), recipe.most_gradient)
        self.adam.step()
        self.update = update + 1
        follow(self.average, self.parameters, recipe.ema, self.update)
        return DistillStep(
            self.update,
            {layer: error.item() for layer, error in errors.activations.items()},
            {layer: error.item() for layer, error in errors.grams.items()},
            errors.content.item(),
        )

    def errors(self, images: Tensor, sitting: StudentBatch) -> Errors:
        """Errors on a batch: photographs, the same painted, painted otherwise, and paintings."""
        with torch.no_grad():
            true = self.teacher(images)
            true_grams = pyramid_grams(self.teacher, self.wanted, images, true)
        own = self.network(images)
        own_grams = pyramid_grams(self.network, self.wanted, images, own)
        activations, content = {}, []
        for layer in self.network.config.layers:
            some = _some_pixels(layer, self.update)
            predicted = self.network.predict(layer, own[layer][some])
            target = true[layer][some] / self.sizes[layer]
            activations[layer] = losses.content_loss(predicted, target, relative=True).mean()
            if layer in self.wanted.content_layers:
                content.append(_content_error(predicted, target))
        grams = self._gram_errors(own_grams, true_grams, sitting)
        return Errors(activations, grams, torch.stack(content).sum())

    def _gram_errors(self, own: Grams, true: Grams, sitting: StudentBatch) -> dict[str, Tensor]:
        """Errors of the differences of Gram matrices a layer, the mean over the scales."""
        return {
            layer: torch.stack(
                [
                    difference_error(
                        torch.cat([own[level][layer], sitting.believed[level][layer]]),
                        torch.cat([true[level][layer], sitting.wanted[level][layer]])
                        / self.sizes[layer] ** 2,
                        self.recipe.least_difference,
                    )
                    for level in range(self.wanted.scales)
                ]
            ).mean()
            for layer in self.wanted.style_layers
        }

    @torch.no_grad()
    def _first_guess(self) -> dict[str, float]:
        """Start from the teacher; the root mean square of its activations at each layer."""
        images = []
        for update in range(FIRST_LOOK):
            _, photos, paintings = self.diet.draw(update)
            images += [photos, paintings, self.diet.painted(update, photos, self.diet.styles[0])]
        seen = torch.cat(images)
        sizes = {
            layer: float(activations.float().square().mean().sqrt())
            for layer, activations in self.teacher(seen).items()
        }
        inherit(self.network, self.teacher, seen, sizes)
        return sizes

    def state(self) -> dict[str, Tensor]:
        """Everything that `restore` needs to go on exactly here."""
        averages = {f"average/{name}": tensor for name, tensor in self.average.items()}
        own = training_state(self.update, self.parameters, self.adam)
        return own | averages | self.learners.state()

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a `state`.

        Raises:
            TrainingError: it belongs to a network of other sizes.
        """
        self.update = restore_training(tensors, self.parameters, self.adam)
        for name, average in self.average.items():
            average.copy_(tensors[f"average/{name}"])
        self.learners.restore(tensors)

    def finished(self) -> Distilled:
        """A copy of the average that predicts VGG's activations in their own sizes."""
        network = Distilled(self.network.config)
        network.load_state_dict(self.average)
        with torch.no_grad():
            for layer, size in self.sizes.items():
                for kind in ("weight", "bias"):
                    network.get_parameter(f"head_{layer}.{kind}").mul_(size)
        return network.requires_grad_(False).eval()


def difference_error(found: Tensor, true: Tensor, least: float) -> Tensor:
    """How wrong the differences between Gram matrices are, a scalar.

    For each pair of images: the squared error of the difference of their matrices, over the
    squared difference itself, but at least the share `least` of the matrices' own squared size.
    A blank image, whose matrix is zero, is paired with every other: that is the error of each
    matrix by itself.  `found` and `true` are (N, C, C), the mean is over all pairs.
    """
    wrong = _apart(F.pad((found - true).flatten(1), (0, 0, 0, 1)))
    wanted = F.pad(true.flatten(1), (0, 0, 0, 1))
    size = wanted.square().sum(1)
    relative = wrong / (_apart(wanted) + least / 2 * (size[:, None] + size)).clamp_min(1e-12)
    upper = torch.ones_like(relative, dtype=torch.bool).triu(1)
    return relative[upper].mean()


def _apart(rows: Tensor) -> Tensor:
    """Squared distances between all rows: (N, D) -> (N, N)."""
    products = rows @ rows.T
    own = products.diagonal()
    return (own[:, None] + own - 2 * products).clamp_min(0)


def _content_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Error of the changes of activations by painting, relative to the changes themselves.

    Of the (4 N, C, H, W) the first N are of photographs, the next 2 N of the same painted.
    """
    photos = len(true) // 4
    changes = [x[photos : 3 * photos] - x[:photos].repeat(2, 1, 1, 1) for x in (predicted, true)]
    return losses.content_loss(changes[0], changes[1], relative=True).mean()


def _some_pixels(layer: str, update: int) -> tuple[slice, slice, slice, slice]:
    """As many pixels of every layer: one in 4x4 of block 1, one in 2x2 of block 2, then all."""
    step = {"1": 4, "2": 2}.get(layer[4], 1)
    row, column = divmod(update % step**2, step)
    return slice(None), slice(None), slice(row, None, step), slice(column, None, step)


def checkpoint_folder(output: Path) -> Path:
    """Where the state is kept until the network is finished."""
    return output.with_suffix(".checkpoint")
