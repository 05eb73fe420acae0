"""`distill`: train a small loss network to imitate VGG.

Packs are trained on changes of content and style losses, so the small network mainly learns
differences: those of VGG's Gram matrices between any two images, and those of activations between a
photograph and its paintings, each relative to its own size (Czarnecki et al. 2017, "Sobolev
Training", with differences in place of gradients).  The images are photographs, paintings, and
photographs painted well, badly and in styles that are trained with the small network itself
(`students.py`), at every scale of the style loss.
"""

import json
import shutil
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.errors import UsageError
from stylepack.events import Progress
from stylepack.files import NAME as LOCK
from stylepack.files import FolderLock, make_folder
from stylepack.lab.distill.corrections import Corrections
from stylepack.lab.distill.data import DistillationData, Folders
from stylepack.lab.distill.initial import inherit
from stylepack.lab.distill.students import PER_UPDATE, StudentBatch, StyleStudents
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
FIRST_LOOK = 8  # batches for the initial weights
PAINTED = PER_UPDATE + 1  # times that each photograph is painted: by students, and otherwise


@dataclass(frozen=True)
class DistillRecipe:
    """Settings for distilling a loss network.

    A batch is one fifth photographs and one fifth paintings; the rest is the same photographs, each
    painted three times.
    """

    updates: int = 2000
    batch: int = 10
    crop: int = 128
    learning_rate: float = 1.5e-4  # 4e-4 first raises the errors of deep layers
    most_gradient: float = 1.0  # norm; larger gradients are clipped
    warmup: int = 50
    ema: float = 0.995
    activation_weight: float = 0.5
    difference_weight: float = 2.0  # of the Gram matrices' differences
    fitted_weight: float = 2.0  # of those between students' paintings and their pictures
    content_weight: float = 1.0  # of the activations' differences from the photographs'
    least_difference: float = 0.01  # squared, relative to the matrices; see `difference_errors`
    corrected_styles: int = 12  # trained at the end; see `Corrections`
    corrected_updates: int = 120  # of each of these styles
    corrected_crop: int = 192  # pixels, nearer to what styles are trained on than `crop`
    seed: int = 0


@dataclass(frozen=True)
class DistillStep:
    """A finished update, with relative squared errors by layer.

    `activations`: of the activations.  `grams`: of differences of Gram matrices, the mean over
    scales.  `content`: of differences of activations at the content layers.
    """

    update: int
    activations: dict[str, float]
    grams: dict[str, float]
    content: float

    @property
    def done(self) -> int:
        """Number of finished updates."""
        return self.update

    @property
    def words(self) -> str:
        """Relative errors of activations and Gram matrices, by layer."""
        shown = []
        for layer, error in self.activations.items():
            gram = f"/{self.grams[layer]:.3f}" if layer in self.grams else ""
            shown.append(f"{layer.removeprefix('relu')} {error:.2f}{gram}")
        return "  ".join(shown)


@dataclass(frozen=True)
class Errors:
    """The errors of a batch, tensors with gradients: see `DistillStep`.

    `fitted`: of differences of Gram matrices between students' paintings and their pictures.
    """

    activations: dict[str, Tensor]
    grams: dict[str, Tensor]
    fitted: dict[str, Tensor]
    content: Tensor


class Distillation:
    """Training of a small loss network.

    Iterate `train()` and `correct()` to their ends, then `write()` and `close()`.  Until it is
    closed, no other process can work on the same file.
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
        self.wanted = Recipe()  # for its layers
        style, content = self.wanted.style_layers, self.wanted.content_layers
        config = DistilledConfig(self.wanted.loss_network, tuple(dict.fromkeys(style + content)))
        self.teacher = Teachers.load(self.wanted, source, deep, device, training_dtype(device))
        self.folders = folders
        self.data = self._data(recipe.crop)
        self.students = StyleStudents(self.data, self.teacher, recipe.seed)
        self.network = Distilled(config, training_dtype(device)).to(device)
        self.sizes = self._first_guess()
        self.parameters = dict(self.network.named_parameters())
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        self.adam = torch.optim.Adam(self.network.parameters())
        self.update = 0
        self.corrections: tuple[float, ...] = ()
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
        """Start, or resume from the checkpoint beside `output`.

        Raises:
            UsageError: there is a checkpoint and `resume` is not set, or there is none.
            TrainingError: another process is working on it.
        """
        folder = checkpoint_folder(output)
        if resume and not has_checkpoint(folder):
            raise UsageError(f"{folder} has no checkpoint to resume from; leave out --resume")
        make_folder(folder, "choose another file with -o")
        lock = FolderLock(folder)
        try:
            if has_checkpoint(folder) and not resume:
                raise UsageError(f"{folder} has a checkpoint; add --resume, or delete it")
            work = cls(output, folders, recipe, source, deep, device)
            if resume:
                work.restore(load_checkpoint(folder))
        except BaseException:
            with suppress(OSError):  # removes the folder if it is otherwise empty
                (folder / LOCK).unlink()
                folder.rmdir()
            lock.release()
            raise
        work.lock = lock
        return work

    def _data(self, crop: int) -> DistillationData:
        draws = Recipe(
            updates=self.recipe.updates,
            batch=self.recipe.batch // (2 + PAINTED),
            crop=crop,
            photo_side=3 * self.recipe.crop,
            seed=self.recipe.seed,
        )
        return DistillationData(self.folders, draws, self.device)

    def train(self) -> Generator[DistillStep]:
        """Yield each update; save checkpoints regularly and when the iterator is closed."""
        saved = self.update
        try:
            for update, photos, paintings in self.data.batches(self.update):
                yield self.step(update, photos, paintings)
                if self.update % CHECKPOINT_EVERY == 0:
                    self.checkpoint()
                    saved = self.update
        finally:
            if self.update > saved:
                self.checkpoint()

    def checkpoint(self) -> None:
        """Write the current state."""
        save_checkpoint(checkpoint_folder(self.output), self.state())

    def write(self) -> int:
        """Write the network's file, delete the checkpoint, and return the file's size in bytes."""
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
        """Unlock the file."""
        if self.lock:
            self.lock.release()

    def step(self, update: int, photos: Tensor, paintings: Tensor) -> DistillStep:
        """Do one update on photographs and paintings, (N, 3, crop, crop) each."""
        recipe = self.recipe
        rate = scheduled(recipe.learning_rate, update, recipe.updates, recipe.warmup, "cosine")
        self.adam.param_groups[0]["lr"] = rate
        students = self.students.update(update, photos, self.network)
        others = self.data.painted(update, photos, torch.stack([one.style for one in students]))
        painted = [one.painted for one in students]
        errors = self.errors(torch.cat([photos, *painted, others, paintings]), students)
        total = (
            recipe.activation_weight * torch.stack([*errors.activations.values()]).sum()
            + recipe.difference_weight * torch.stack([*errors.grams.values()]).sum()
            + recipe.fitted_weight * torch.stack([*errors.fitted.values()]).sum()
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

    def errors(self, images: Tensor, students: list[StudentBatch]) -> Errors:
        """Errors on photographs, those painted by students and in other styles, and paintings."""
        with torch.no_grad():
            true = self.teacher(images)
            true_grams = pyramid_grams(self.teacher, self.wanted, images, true)
        own = self.network(images)
        own_grams = pyramid_grams(self.network, self.wanted, images, own)
        activations, content = {}, []
        for layer in self.network.config.layers:
            pixels = _some_pixels(layer, self.update)
            predicted = self.network.predict(layer, own[layer][pixels])
            target = true[layer][pixels] / self.sizes[layer]
            activations[layer] = losses.content_loss(predicted, target, relative=True).mean()
            if layer in self.wanted.content_layers:
                content.append(_content_error(predicted, target))
        grams, fitted = self._gram_errors(own_grams, true_grams, students)
        return Errors(activations, grams, fitted, torch.stack(content).sum())

    def _gram_errors(
        self, own: Grams, true: Grams, students: list[StudentBatch]
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Errors of the differences of Gram matrices by layer, the mean over the scales.

        Returns:
            The mean of all pairs, and that of the pairs that students are trained on.
        """
        believed = [pyramid_grams(self.network, self.wanted, one.picture[None]) for one in students]
        grams, fitted = {}, {}
        for layer in self.wanted.style_layers:
            scales = [
                difference_errors(
                    torch.cat([own[level][layer], *(one[level][layer] for one in believed)]),
                    torch.cat([true[level][layer], *(one.wanted[level][layer] for one in students)])
                    / self.sizes[layer] ** 2,
                    self.recipe.least_difference,
                )
                for level in range(self.wanted.scales)
            ]
            errors = torch.stack(scales).mean(0)
            grams[layer] = mean_of_pairs(errors)
            fitted[layer] = _own_pairs(errors, students).mean()
        return grams, fitted

    @torch.no_grad()
    def _first_guess(self) -> dict[str, float]:
        """Set initial weights; return the RMS of the teacher's activations by layer."""
        images = []
        for update in range(FIRST_LOOK):
            _, photos, paintings = self.data.draw(update)
            images += [photos, paintings, self.data.painted(update, photos, self.data.styles[:1])]
        seen = torch.cat(images)
        sizes = {
            layer: float(activations.float().square().mean().sqrt())
            for layer, activations in self.teacher(seen).items()
        }
        inherit(self.network, self.teacher, seen, sizes)
        return sizes

    def correct(self) -> Generator[Progress]:
        """Measure the finished network's corrections; a step is an update of a style."""
        found = Corrections(
            self.finished(training_dtype(self.device)).to(self.device).frozen(),
            self.teacher,
            self._data(self.recipe.corrected_crop),
            self.recipe.corrected_updates,
        )
        yield from found.measure(self.recipe.corrected_styles, self.recipe.updates)
        self.corrections = found.factors()

    def state(self) -> dict[str, Tensor]:
        """The state from which `restore` continues exactly."""
        own = training_state(self.update, self.parameters, self.adam, self.average)
        return own | self.students.state()

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore a `state`.

        Raises:
            TrainingError: it belongs to a network of another size.
        """
        self.update = restore_training(tensors, self.parameters, self.adam, self.average)
        self.students.restore(tensors)

    def finished(self, dtype: torch.dtype = torch.float32) -> Distilled:
        """A copy with averaged weights that predicts VGG's activations at their own scale."""
        network = Distilled(replace(self.network.config, corrections=self.corrections), dtype)
        network.load_state_dict(self.average)
        with torch.no_grad():
            for layer, size in self.sizes.items():
                for kind in ("weight", "bias"):
                    network.get_parameter(f"head_{layer}.{kind}").mul_(size)
        return network.requires_grad_(False).eval()


def difference_errors(predicted: Tensor, true: Tensor, least: float) -> Tensor:
    """Errors of the differences between Gram matrices, (N, C, C) each: (N + 1, N + 1).

    For each pair of images: the squared error of the difference of their matrices, over the squared
    difference plus `least` times the mean squared size of both.  The last row and column pair each
    with a zero matrix, which gives the error of a matrix alone.
    """
    wrong = _distances(F.pad((predicted - true).flatten(1), (0, 0, 0, 1)))
    wanted = F.pad(true.flatten(1), (0, 0, 0, 1))
    size = wanted.square().sum(1)
    return wrong / (_distances(wanted) + least / 2 * (size[:, None] + size)).clamp_min(1e-12)


def mean_of_pairs(errors: Tensor) -> Tensor:
    """Mean of a symmetric matrix above the diagonal: (N, N) -> scalar."""
    return errors[torch.ones_like(errors, dtype=torch.bool).triu(1)].mean()


def _own_pairs(errors: Tensor, students: list[StudentBatch]) -> Tensor:
    """The errors between each student's paintings and its picture: (students, N).

    The rows are the photographs, N each painted by the students in turn, others, the students'
    pictures and a zero matrix.
    """
    photos, first = len(students[0].painted), len(errors) - 1 - len(students)
    own = [errors[(k + 1) * photos : (k + 2) * photos, first + k] for k in range(len(students))]
    return torch.stack(own)


def _distances(rows: Tensor) -> Tensor:
    """Squared distances between all rows: (N, D) -> (N, N)."""
    products = rows @ rows.T
    own = products.diagonal()
    return (own[:, None] + own - 2 * products).clamp_min(0)


def _content_error(predicted: Tensor, true: Tensor) -> Tensor:
    """Relative error of the changes of activations from photographs to their paintings.

    The first N of (5 N, C, H, W) are of photographs, the next 3 N of the same painted.
    """
    photos = len(true) // (2 + PAINTED)
    end = (1 + PAINTED) * photos
    changes = [x[photos:end] - x[:photos].repeat(PAINTED, 1, 1, 1) for x in (predicted, true)]
    return losses.content_loss(changes[0], changes[1], relative=True).mean()


def _some_pixels(layer: str, update: int) -> tuple[slice, slice, slice, slice]:
    """Slices for one pixel per 4x4 in block 1, one per 2x2 in block 2, and all in other blocks."""
    step = {"1": 4, "2": 2}.get(layer[4], 1)
    row, column = divmod(update % step**2, step)
    return slice(None), slice(None), slice(row, None, step), slice(column, None, step)


def checkpoint_folder(output: Path) -> Path:
    """The folder of the checkpoint beside `output`."""
    return output.with_suffix(".checkpoint")
