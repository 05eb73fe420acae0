"""Distilling a loss network: a small one learns to answer as VGG does.

It is shown what a loss network meets while packs are trained: photographs, paintings,
photographs painted well, badly and not at all, and noise.  It learns VGG's activations
(Hinton, Vinyals & Dean 2015; Romero et al. 2015, "FitNets", for inner layers) and, because
styles are judged by them, VGG's Gram matrices.
"""

import json
import shutil
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from stylepack.errors import TrainingError, UsageError
from stylepack.network.device import keep_large_blocks, training_dtype
from stylepack.network.trunk import Trunk
from stylepack.packs.shelf import IDENTITY
from stylepack.packs.trunkfile import load_trunk
from stylepack.training import losses
from stylepack.training.checkpoint import (
    has_checkpoint,
    load_checkpoint,
    restore_training,
    save_checkpoint,
    training_state,
)
from stylepack.training.distilled import Distilled, DistilledConfig, save_distilled
from stylepack.training.loss_network import WeightSource, load_vgg
from stylepack.training.photos import Batches, PhotoFolder, on_device, seeded
from stylepack.training.recipe import Recipe
from stylepack.training.settings import versions
from stylepack.training.start import packs_of
from stylepack.training.trainer import scheduled

CHECKPOINT_EVERY = 250  # updates


@dataclass(frozen=True)
class DistillRecipe:
    """How a loss network is distilled."""

    updates: int = 6000
    batch: int = 8
    crop: int = 160
    learning_rate: float = 2e-3
    warmup: int = 100
    gram_weight: float = 1.0  # of the Gram matrices' relative error; the activations' has 1
    seed: int = 0


@dataclass(frozen=True)
class DistillStep:
    """One finished update: relative squared errors a layer, of activations and Gram matrices."""

    update: int
    activations: dict[str, float]
    grams: dict[str, float]


@dataclass(frozen=True)
class Folders:
    """Where the images come from: two folders, and a trunk file whose packs paint."""

    photos: Path
    paintings: Path
    trunk: Path


class Diet:
    """What the small network is shown: batches of images as a loss network meets them.

    Of every eight images two are photographs, one is a painting, four are painted
    photographs and one is a photograph under noise.  Styles are mixes of a trunk's packs,
    extrapolated and shaken, so that they range from finished to hopeless.
    """

    def __init__(self, folders: Folders, recipe: DistillRecipe, device: torch.device) -> None:
        self.trunk, digest = load_trunk(folders.trunk)
        self.trunk.to(device)
        packs = packs_of(folders.trunk, digest, self.trunk.config)
        if not packs:
            raise TrainingError(f"{folders.trunk} has no packs to paint with; give another --trunk")
        neutral = self.trunk.config.neutral_style()
        self.styles = torch.stack(
            [neutral, *(pack.style for name, pack in packs.items() if name != IDENTITY)]
        ).to(device)
        torch.manual_seed(recipe.seed)
        self.untrained = Trunk(self.trunk.config).to(device).requires_grad_(False)
        self.recipe = recipe
        self.device = device
        draws = Recipe(
            updates=recipe.updates,
            batch=recipe.batch,
            crop=recipe.crop,
            photo_side=2 * recipe.crop,
            seed=recipe.seed,
        )
        self.photos = Batches(PhotoFolder.open(folders.photos), draws, styles=1)
        self.paintings = Batches(PhotoFolder.open(folders.paintings), draws, styles=1)

    def batches(self, first: int) -> Iterator[tuple[int, Tensor]]:
        """(update, (N, 3, crop, crop) RGB in 0..1) from update `first` on."""
        self.photos.first = self.paintings.first = first
        for photos, paintings in zip(self.photos, self.paintings, strict=True):
            yield photos.update, self.serve(photos.update, photos.photos, paintings.photos)

    @torch.no_grad()
    def serve(self, update: int, photos: Tensor, paintings: Tensor) -> Tensor:
        """One batch, made of as many photographs and paintings, (N, 3, H, W) uint8 each."""
        images = on_device(photos, self.device)
        pictures = on_device(paintings, self.device)
        generator = seeded(self.recipe.seed, f"diet/{update}")
        served = []
        for place, image in enumerate(images):
            kind = place % 8
            if kind < 2:
                served.append(image)
            elif kind == 2:
                served.append(pictures[place])
            elif kind == 7:
                amount = torch.rand(1, generator=generator).item()
                noise = torch.rand(image.shape, generator=generator).to(image)
                served.append(torch.lerp(image, noise, amount))
            else:
                served.append(self._painted(image, generator))
        return torch.stack(served)

    def _painted(self, image: Tensor, generator: torch.Generator) -> Tensor:
        """A photograph in some style, which need not be a good one."""
        a, b = torch.randint(len(self.styles), (2,), generator=generator).tolist()
        share, shake, which = torch.rand(3, generator=generator).tolist()
        style = torch.lerp(self.styles[a], self.styles[b], 1.6 * share - 0.3)
        noise = torch.randn(style.shape, generator=generator).to(style)
        style = style + 0.5 * shake**2 * noise * style.abs().mean()
        trunk = self.untrained if which < 0.1 else self.trunk
        painted: Tensor = trunk(image[None].to(training_dtype(self.device)), style)
        return painted[0].float()


class Distillation:
    """Training a small loss network: iterate `train()` to its end, then `write()`."""

    def __init__(
        self,
        output: Path,
        folders: Folders,
        recipe: DistillRecipe,
        source: WeightSource,
        device: torch.device,
    ) -> None:
        self.output, self.recipe, self.source, self.device = output, recipe, source, device
        wanted = Recipe()  # its layers are those that the small network answers for
        config = DistilledConfig(
            wanted.loss_network, tuple(dict.fromkeys(wanted.style_layers + wanted.content_layers))
        )
        self.style_layers = wanted.style_layers
        self.teacher = load_vgg(wanted, source, device, training_dtype(device))
        self.diet = Diet(folders, recipe, device)
        torch.manual_seed(recipe.seed)
        self.network = Distilled(config).to(device)
        for name, _, _ in config.convolutions():
            nn.init.kaiming_normal_(self.network.get_parameter(f"{name}.weight"))
        self.adam = torch.optim.Adam(self.network.parameters())
        self.update = 0
        self.sizes = self._measure()
        keep_large_blocks()

    @classmethod
    def start(
        cls,
        output: Path,
        folders: Folders,
        recipe: DistillRecipe,
        source: WeightSource,
        device: torch.device,
        *,
        resume: bool,
    ) -> "Distillation":
        """Begin, or go on from the checkpoint beside `output`.

        Raises:
            UsageError: there is a checkpoint and `resume` is not set, or there is none.
        """
        place = checkpoint_folder(output)
        if has_checkpoint(place) and not resume:
            raise UsageError(f"{place} holds a checkpoint; add --resume to go on, or delete it")
        work = cls(output, folders, recipe, source, device)
        if resume:
            work.restore(load_checkpoint(place))
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make {place}: {error.strerror}") from error
        return work

    def train(self) -> Generator[DistillStep]:
        """Yield each update; a checkpoint is saved on the way and when the iterator is closed."""
        saved = self.update
        try:
            for update, images in self.diet.batches(self.update):
                yield self.step(update, images)
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
            **versions(),
        }
        save_distilled(self.output, self.finished(), {"stylepack.train": json.dumps(facts)})
        shutil.rmtree(checkpoint_folder(self.output), ignore_errors=True)
        return self.output.stat().st_size

    def step(self, update: int, images: Tensor) -> DistillStep:
        """One update on a batch of images."""
        recipe = self.recipe
        rate = scheduled(recipe.learning_rate, update, recipe.updates, recipe.warmup, "cosine")
        self.adam.param_groups[0]["lr"] = rate
        activations, grams = self.errors(images)
        total = torch.stack([*activations.values()]).sum()
        total = total + recipe.gram_weight * torch.stack([*grams.values()]).sum()
        self.adam.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.update = update + 1
        return DistillStep(
            self.update,
            {layer: error.item() for layer, error in activations.items()},
            {layer: error.item() for layer, error in grams.items()},
        )

    def errors(self, images: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Mean relative squared errors a layer: of activations, and of Gram matrices."""
        with torch.no_grad():
            wanted = self.teacher(images)
        with torch.autocast(self.device.type, training_dtype(self.device)):
            found = self.network(images)
        activations, grams = {}, {}
        for layer in self.network.config.layers:
            own, target = found[layer], wanted[layer] / self.sizes[layer]
            some = _some_pixels(layer, self.update)
            with torch.autocast(self.device.type, training_dtype(self.device)):
                predicted = self.network.predict(layer, own[some])
            error = losses.content_loss(predicted, target[some], relative=True)
            activations[layer] = error.mean()
            if layer in self.style_layers:
                gram = self.network.gram_matrix(layer, own, "pixels")
                true = losses.gram_matrix(target, "pixels")
                grams[layer] = losses.style_loss(gram, true, relative=True).mean()
        return activations, grams

    def _measure(self) -> dict[str, float]:
        """The root mean square of the teacher's activations at each layer."""
        photos, paintings = self.diet.photos.draw(0), self.diet.paintings.draw(0)
        found = self.teacher(self.diet.serve(0, photos.photos, paintings.photos))
        return {
            layer: float(activations.float().square().mean().sqrt())
            for layer, activations in found.items()
        }

    def state(self) -> dict[str, Tensor]:
        """Everything that `restore` needs to go on exactly here."""
        return training_state(self.update, dict(self.network.named_parameters()), self.adam)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a `state`.

        Raises:
            TrainingError: it belongs to a network of other sizes.
        """
        parameters = dict(self.network.named_parameters())
        self.update = restore_training(tensors, parameters, self.adam)

    def finished(self) -> Distilled:
        """A copy of the network that predicts VGG's activations in their own sizes."""
        network = Distilled(self.network.config)
        network.load_state_dict(self.network.state_dict())
        with torch.no_grad():
            for layer, size in self.sizes.items():
                for kind in ("weight", "bias"):
                    network.get_parameter(f"head_{layer}.{kind}").mul_(size)
        return network.requires_grad_(False).eval()


def _some_pixels(layer: str, update: int) -> tuple[slice, slice, slice, slice]:
    """As many pixels of every layer: one in 4x4 of block 1, one in 2x2 of block 2, then all."""
    step = {"1": 4, "2": 2}.get(layer[4], 1)
    row, column = divmod(update % step**2, step)
    return slice(None), slice(None), slice(row, None, step), slice(column, None, step)


def checkpoint_folder(output: Path) -> Path:
    """Where the state is kept until the network is finished."""
    return output.with_suffix(".checkpoint")
