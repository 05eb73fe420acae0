"""The training loop: batches in, `Step` events out.  It prints nothing and writes nothing."""

import math
from collections.abc import Generator, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylepack.errors import TrainingError
from stylepack.network.device import keep_large_blocks, training_dtype
from stylepack.network.grain import random_grain
from stylepack.network.trunk import Trunk
from stylepack.training.checkpoint import restore_training, training_state
from stylepack.training.objective import Objective
from stylepack.training.photos import Batch, seeded
from stylepack.training.recipe import Recipe

LAST_RATE = 0.02  # cosine decay ends at this share of the learning rate


@dataclass(frozen=True)
class Step:
    """One finished update; `update` counts from 1, the losses are one value an image."""

    update: int
    styles: list[int]
    content: list[float]
    style: list[float]
    variation: list[float]
    total: float
    learning_rate: float


class Trainer:
    """Adam on the trunk and its styles, or on the styles alone when the trunk is frozen.

    Weights are float32; activations are in the device's fast dtype.  `parameters` maps
    names to what is trained: `style`, (S, style_size), and `trunk.<name>`.
    """

    def __init__(
        self, trunk: Trunk, styles: Tensor, objective: Objective, recipe: Recipe, *, frozen: bool
    ) -> None:
        self.device = styles.device
        self.dtype = training_dtype(self.device)
        self.trunk = trunk.requires_grad_(not frozen)
        self.objective = objective
        self.recipe = recipe
        self.update = 0
        self.planned = recipe.updates  # when the learning rate is to have decayed
        self.parameters: dict[str, nn.Parameter] = {"style": nn.Parameter(styles.clone())}
        if not frozen:
            self.parameters |= {f"trunk.{k}": p for k, p in trunk.named_parameters()}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        shared = [p for name, p in self.parameters.items() if name != "style"]
        groups = [{"params": [self.parameters["style"]], "times": recipe.style_rate}]
        if shared:
            groups.append({"params": shared, "times": 1.0})
        self.adam = torch.optim.Adam(groups)
        keep_large_blocks()

    def steps(self, batches: Iterable[Batch]) -> Generator[Step]:
        """Train on each batch and report it.

        Raises:
            TrainingError: the loss is no longer finite.
        """
        for batch in batches:
            yield self.step(batch)

    def step(self, batch: Batch) -> Step:
        """One update."""
        rate = self.learning_rate(batch.update)
        for group in self.adam.param_groups:
            group["lr"] = rate * group["times"]
        photos = batch.photos.to(self.device, non_blocking=True).float().div_(255)
        indices = batch.styles.to(self.device, non_blocking=True)
        logits = self._logits(photos, indices, batch.update)
        painted = torch.sigmoid(logits.float())
        terms = self.objective(painted, photos, indices, logits, batch.targets)
        total = terms.total.item()
        if not math.isfinite(total):
            raise TrainingError(
                f"the loss is {total} at update {batch.update + 1}; go on from the last "
                "checkpoint with a lower --learning-rate"
            )
        self.adam.zero_grad(set_to_none=True)
        terms.total.backward()  # type: ignore[no-untyped-call]
        self.adam.step()
        self.update = batch.update + 1
        self._follow_average()
        return Step(
            self.update,
            batch.styles.tolist(),
            terms.content.tolist(),
            terms.style.tolist(),
            terms.variation.tolist(),
            total,
            rate,
        )

    def _logits(self, photos: Tensor, styles: Tensor, update: int) -> Tensor:
        """The network on photographs under fresh grain."""
        own = self.objective.identity[styles].float()
        style = self.trunk.with_contrast(self.parameters["style"][styles], photos, own)
        amount = self.trunk.config.grain
        if amount:
            n, _, height, width = photos.shape
            generator = seeded(self.recipe.seed, f"grain/{update}", self.device)
            photos = photos + amount * random_grain((n, height, width), generator)
        return self.trunk.logits(photos.to(self.dtype), style)

    def learning_rate(self, update: int) -> float:
        """The rate at an update counted from 0: linear warm-up, then the recipe's decay."""
        recipe = self.recipe
        return scheduled(recipe.learning_rate, update, self.planned, recipe.warmup, recipe.decay)

    def averaged(self) -> tuple[Trunk, Tensor]:
        """A copy of the trunk and the styles at their moving average, for use and export."""
        trunk = Trunk(self.trunk.config).to(self.device)
        trunk.load_state_dict(
            {
                name: self.average.get(f"trunk.{name}", weight)
                for name, weight in self.trunk.state_dict().items()
            }
        )
        return trunk.requires_grad_(False).eval(), self.average["style"].clone()

    def state(self) -> dict[str, Tensor]:
        """Everything that `restore` needs to go on exactly here."""
        averages = {f"average/{name}": tensor for name, tensor in self.average.items()}
        return training_state(self.update, self.parameters, self.adam) | averages

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a `state`.

        Raises:
            TrainingError: it belongs to another network or another number of styles.
        """
        self.update = restore_training(tensors, self.parameters, self.adam)
        for name, average in self.average.items():
            average.copy_(tensors[f"average/{name}"])

    @torch.no_grad()
    def _follow_average(self) -> None:
        """Move the average towards the weights; early updates count for more."""
        keep = min(self.recipe.ema, (1 + self.update) / (10 + self.update))
        keep = keep if self.recipe.ema else 0.0
        torch._foreach_lerp_(list(self.average.values()), list(self.parameters.values()), 1 - keep)


def scheduled(rate: float, update: int, updates: int, warmup: int, decay: str) -> float:
    """The learning rate at an update counted from 0: linear warm-up, then `none` or `cosine`."""
    warm = min(1.0, (update + 1) / warmup) if warmup else 1.0
    if decay == "none":
        return rate * warm
    wave = 0.5 + 0.5 * math.cos(math.pi * update / updates)
    return rate * warm * (LAST_RATE + (1 - LAST_RATE) * wave)
