"""The training loop: batches in, `Step` events out."""

import math
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from stylepack.errors import TrainingError, first_line
from stylepack.events import Journal
from stylepack.losses.objective import Objective
from stylepack.network.device import (
    fast_products,
    is_out_of_memory,
    keep_large_blocks,
    training_dtype,
)
from stylepack.network.grain import random_grain
from stylepack.network.trunk import Trunk
from stylepack.recipe import Recipe
from stylepack.training.checkpoint import restore_training, training_state
from stylepack.training.dataset import Batch, on_device, seeded
from stylepack.training.distributed import ALONE, Ranks

GROUP = 20  # updates whose losses are read together from a GPU
SATURATED = 25.0  # mean squared excess of logits beyond 3.5: |logit| is 8.5, black or white
JUDGED = 4  # images that weights are checked on before they are saved
LAST_RATE = 0.02  # cosine decay ends at this share of the learning rate


@dataclass(frozen=True)
class Step:
    """A finished update, counted from 1, with one value of each loss per image."""

    update: int
    styles: list[int]
    content: list[float]
    style: list[float]
    variation: list[float]
    total: float
    learning_rate: float

    @property
    def done(self) -> int:
        """Number of finished updates."""
        return self.update

    @property
    def words(self) -> str:
        """The mean losses, without the identity style's zero style loss."""
        styles = [loss for loss in self.style if loss > 0] or [0.0]
        return f"content {fmean(self.content):.3f}  style {fmean(styles):.3f}"


@dataclass(frozen=True)
class _Pending:
    """A `Step` whose losses are still on the device: (6, N), five of `_losses`, then styles."""

    update: int
    losses: Tensor
    learning_rate: float


class DivergedError(TrainingError):
    """The loss is no longer finite, or all paintings are black and white.

    `learned`: number of updates that led to the weights in question.
    """

    def __init__(self, message: str, learned: int) -> None:
        super().__init__(message)
        self.learned = learned


class Trainer:
    """Adam on the trunk and its styles, or on the styles alone if the trunk is frozen.

    Weights are float32, activations `training_dtype`.  `parameters` maps names to trained
    parameters: `style`, (S, style_size), and `trunk.<name>`.  With several `ranks` each trains on
    its part of every batch.  `compiled` runs networks and losses through torch.compile; if that
    fails, `journal` gets a notice and training continues without it.
    """

    def __init__(
        self,
        trunk: Trunk,
        styles: Tensor,
        objective: Objective,
        recipe: Recipe,
        *,
        frozen: bool,
        ranks: Ranks = ALONE,
        compiled: bool = False,
        journal: Journal | None = None,
    ) -> None:
        self.device = styles.device
        self.dtype = training_dtype(self.device)
        self.trunk = trunk.requires_grad_(not frozen)
        self.objective = objective
        self.recipe = recipe
        self.ranks = ranks
        self.journal = journal or Journal()
        self._compiled = _compiled(self._losses, self.device) if compiled else None
        self.group = 1 if self.device.type == "cpu" else GROUP
        self.update = 0
        self.rate_scale = 1.0  # lower after training has diverged
        self._last: Batch | None = None
        self.planned = recipe.updates  # the update at which the learning rate has decayed
        self.parameters: dict[str, nn.Parameter] = {"style": nn.Parameter(styles.clone())}
        if not frozen:
            self.parameters |= {f"trunk.{k}": p for k, p in trunk.named_parameters()}
        self.average = {name: p.detach().clone() for name, p in self.parameters.items()}
        shared = [p for name, p in self.parameters.items() if name != "style"]
        groups = [{"params": [self.parameters["style"]], "times": recipe.style_rate}]
        if shared:
            groups.append({"params": shared, "times": 1.0})
        self.adam = torch.optim.Adam(groups, fused=self.device.type == "cuda")
        keep_large_blocks()

    def steps(self, batches: Iterable[Batch]) -> Generator[Step]:
        """Train on each batch and yield its step: see `groups`."""
        for group in self.groups(batches):
            yield from group

    def groups(self, batches: Iterable[Batch]) -> Generator[list[Step]]:
        """Train; yield the steps of `group` updates at a time, because reading losses stalls a GPU.

        Between two groups the weights are those after the last yielded step.

        Raises:
            DivergedError: the loss is no longer finite, or the pictures are black and white.
            TrainingError: the device's memory is too small for a batch.
        """
        waiting: list[_Pending] = []
        with fast_products(self.device):
            try:
                for batch in batches:
                    waiting.append(self._step_if_it_fits(batch))
                    if len(waiting) == self.group:
                        yield self._report(waiting)
                        waiting = []
            except DivergedError:
                raise
            except TrainingError:  # for example, no photograph can be read any more
                if waiting and self.ranks.world == 1:
                    yield self._report(waiting)
                raise
            if waiting:
                yield self._report(waiting)

    def _step_if_it_fits(self, batch: Batch) -> _Pending:
        try:
            return self.step(batch)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"a batch of {len(batch.photos)} does not fit into the memory of {self.device}; "
                "use a smaller --batch or --crop, or start with --batch auto"
            ) from error

    def step(self, batch: Batch) -> "_Pending":
        """One update; its losses stay on the device."""
        rate = self.learning_rate(batch.update)
        for group in self.adam.param_groups:
            group["lr"] = rate * group["times"]
        photos = on_device(batch.photos, self.device)
        indices = batch.styles.to(self.device, non_blocking=True)
        grain = self._grain(photos, batch.update)
        losses = self._gradients(photos, indices, grain, batch.targets)
        self.ranks.average([p.grad for p in self.parameters.values() if p.grad is not None])
        self.adam.step()
        self.update, self._last = batch.update + 1, batch
        follow(self.average, self.parameters, self.recipe.ema, self.update)
        return _Pending(self.update, torch.cat([losses, indices[None]]), rate)

    def probe(self, images: int, crop: int) -> None:
        """Allocate the memory of an update of `images` of `crop` pixels without training."""
        photos = torch.rand(images, 3, crop, crop, device=self.device)
        indices = torch.zeros(images, dtype=torch.long, device=self.device)
        self._backward(self._losses, photos, indices, self._grain(photos, 0), None)
        self.adam.zero_grad(set_to_none=True)

    def _gradients(
        self, photos: Tensor, styles: Tensor, grain: Tensor, targets: dict[str, Tensor] | None
    ) -> Tensor:
        """Compute gradients of all parameters; return the losses of `_losses`."""
        self.adam.zero_grad(set_to_none=True)
        if self._compiled is not None:
            try:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
                return self._backward(self._compiled, photos, styles, grain, targets)
            except Exception as error:  # any error of the compiler, its backend or its tools
                if is_out_of_memory(error):
                    raise
                self._compiled = None
                reason = first_line(error)
                self.journal.note(f"torch.compile failed ({reason}); continuing without it")
                self.adam.zero_grad(set_to_none=True)
        return self._backward(self._losses, photos, styles, grain, targets)

    def _backward(
        self,
        losses: "_Losses",
        photos: Tensor,
        styles: Tensor,
        grain: Tensor,
        targets: dict[str, Tensor] | None,
    ) -> Tensor:
        total, each = losses(photos, styles, grain, targets)
        total.backward()  # type: ignore[no-untyped-call]
        return each.clone()  # a compiled function reuses the memory of its results

    def _losses(
        self, photos: Tensor, styles: Tensor, grain: Tensor, targets: dict[str, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """The total loss with gradient, and (5, N): four losses of `Terms`, then the total."""
        grainy = (photos + grain).to(self.dtype)
        style = self._style(photos, styles)
        logits = self.trunk.logits(grainy, style)
        terms = self.objective(torch.sigmoid(logits.float()), photos, styles, logits, targets)
        each = [terms.content, terms.style, terms.variation, terms.saturation]
        return terms.total, torch.stack([*each, terms.total.detach().expand_as(terms.content)])

    def _style(self, photos: Tensor, styles: Tensor) -> Tensor:
        """(N, style_size) for (N,) indices; the identity style takes its photograph's contrast."""
        style = self.parameters["style"][styles]
        if self.recipe.identity:
            share = self.objective.identity[styles].float()
            style = self.trunk.with_contrast(style, photos, share)
        return style

    def _grain(self, photos: Tensor, update: int) -> Tensor:
        """New grain for (N, 3, H, W) photographs, this process's part of the batch."""
        n, _, height, width = photos.shape
        amount = self.trunk.config.grain
        if not amount:
            return photos.new_zeros(())
        generator = seeded(self.recipe.seed, f"grain/{update}", self.device)
        batch = n * self.ranks.world
        return amount * random_grain((batch, height, width), generator)[self.ranks.part(batch)]

    def learning_rate(self, update: int) -> float:
        """The learning rate at an update counted from 0."""
        recipe = self.recipe
        rate = recipe.learning_rate * self.rate_scale
        return scheduled(rate, update, self.planned, recipe.warmup, recipe.decay)

    def averaged(self) -> tuple[Trunk, Tensor]:
        """Copies of the trunk and the styles, with their moving averages as weights."""
        trunk = Trunk(self.trunk.config).to(self.device)
        trunk.load_state_dict(
            {
                name: self.average.get(f"trunk.{name}", weight)
                for name, weight in self.trunk.state_dict().items()
            }
        )
        return trunk.requires_grad_(False).eval(), self.average["style"].clone()

    def state(self) -> dict[str, Tensor]:
        """The state from which `restore` continues exactly."""
        rates = {
            "learning_rate": torch.tensor(self.recipe.learning_rate, dtype=torch.float64),
            "rate_scale": torch.tensor(self.rate_scale, dtype=torch.float64),
        }
        return training_state(self.update, self.parameters, self.adam, self.average) | rates

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore a `state`; a learning rate changed since then resets `rate_scale`.

        Raises:
            TrainingError: it belongs to another network or another number of styles.
        """
        self.update = restore_training(tensors, self.parameters, self.adam, self.average)
        changed = self.recipe.learning_rate != float(tensors["learning_rate"])
        self.rate_scale = 1.0 if changed else float(tensors["rate_scale"])
        self._last = None

    @torch.no_grad()
    def trouble(self) -> str:
        """A description of what is wrong with the current weights, or "".

        The losses of an update are those before its step, so the weights after the last one are
        checked on a few images of its batch.
        """
        if not all(bool(tensor.isfinite().all()) for tensor in self.state().values()):
            return "the weights are no longer finite"
        if self._last is None:
            return ""
        photos = on_device(self._last.photos[:JUDGED], self.device)
        indices = self._last.styles[:JUDGED].to(self.device)
        grain = self._grain(photos, self.update)
        _, losses = self._losses(photos, indices, grain, None)
        *_, saturation, totals = losses.tolist()
        return _trouble(totals[0], saturation)

    def _report(self, pending: list[_Pending]) -> list[Step]:
        """Read the losses of a few updates, of all processes.

        Raises:
            DivergedError: one of the updates diverged.
        """
        steps = []
        losses = self.ranks.gather(torch.stack([step.losses for step in pending]).cpu())
        for step, values in zip(pending, losses.tolist(), strict=True):
            content, style, variation, saturation, totals, styles = values
            total, update = sum(totals) / len(totals), step.update
            if trouble := _trouble(total, saturation):
                raise DivergedError(f"{trouble} at update {update}", update - 1)
            indices = [int(index) for index in styles]
            rate = step.learning_rate
            steps.append(Step(update, indices, content, style, variation, total, rate))
        return steps


def _trouble(total: float, saturation: list[float]) -> str:
    """A description of what is wrong with a batch's losses, or ""."""
    if not math.isfinite(total):
        return f"the loss is {total}"
    if sum(saturation) > SATURATED * len(saturation):
        return "all paintings are black and white"
    return ""


@torch.no_grad()
def follow(
    average: Mapping[str, Tensor], parameters: Mapping[str, Tensor], ema: float, update: int
) -> None:
    """Update a moving average of the weights, with a shorter memory in early updates."""
    keep = min(ema, (1 + update) / (10 + update))
    torch._foreach_lerp_(list(average.values()), list(parameters.values()), 1 - keep)


def scheduled(rate: float, update: int, updates: int, warmup: int, decay: str) -> float:
    """The learning rate at an update counted from 0: linear warm-up, then `none` or `cosine`."""
    warm = min(1.0, (update + 1) / warmup) if warmup else 1.0
    if decay == "none":
        return rate * warm
    wave = 0.5 + 0.5 * math.cos(math.pi * min(1.0, update / updates))
    return rate * warm * (LAST_RATE + (1 - LAST_RATE) * wave)


# (photographs, styles, grain, content targets) -> (total, losses); `Trainer._losses`.
_Losses = Callable[[Tensor, Tensor, Tensor, dict[str, Tensor] | None], tuple[Tensor, Tensor]]


def _compiled(losses: _Losses, device: torch.device) -> _Losses:
    """`losses` through torch.compile, on CUDA with CUDA graphs."""
    # Its warnings are for authors of networks, not for users.
    warnings.filterwarnings("ignore", module=r"torch\._(dynamo|inductor|prims_common)")
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return torch.compile(losses, dynamic=False, mode=mode)
