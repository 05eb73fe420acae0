"""The training loop: batches in, `Step` events out.  It prints nothing and writes nothing."""

import math
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn

from stylepack.errors import TrainingError
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

GROUP = 20  # updates whose losses are read together from a device of its own
SATURATED = 25.0  # mean squared excess of logits beyond 3.5: |logit| is 8.5, black or white
JUDGED = 4  # images on which new weights are judged before they are kept
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

    @property
    def done(self) -> int:
        """How many updates are done."""
        return self.update

    @property
    def words(self) -> str:
        """The mean losses; the identity style's zero style loss is left out."""
        styles = [loss for loss in self.style if loss > 0] or [0.0]
        return f"content {fmean(self.content):.3f}  style {fmean(styles):.3f}"


@dataclass(frozen=True)
class _Pending:
    """A `Step` whose losses are still on the device, (6, N): those of `Terms`, then styles."""

    update: int
    losses: Tensor
    learning_rate: float


class DivergedError(TrainingError):
    """The loss is no longer finite, or nothing but black and white is painted."""

    def __init__(self, message: str, learned: int) -> None:
        super().__init__(message)
        self.learned = learned  # updates that have made the weights that it is about


class Trainer:
    """Adam on the trunk and its styles, or on the styles alone when the trunk is frozen.

    Weights are float32; activations are in the device's fast dtype.  `parameters` maps
    names to what is trained: `style`, (S, style_size), and `trunk.<name>`.  With several
    `ranks` each trains on its part of every batch.  `compiled` runs networks and losses through
    torch.compile; where that fails, `journal` gets a notice and training goes on without.
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
        self._last: Batch | None = None  # what the last update saw
        self.planned = recipe.updates  # when the learning rate is to have decayed
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
        """Train on each batch and report it.

        Raises:
            DivergedError: the loss is no longer finite, or the pictures are black and white.
        """
        for group in self.groups(batches):
            yield from group

    def groups(self, batches: Iterable[Batch]) -> Generator[list[Step]]:
        """Train; report a few updates at a time where reading a loss makes the device wait.

        Between two groups the weights are those after the last update that was reported.

        Raises:
            DivergedError: as `steps`.
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
            except TrainingError:  # such as that there are no photographs any more
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
        """Take the memory of an update of so many images of `crop` pixels; nothing is trained."""
        photos = torch.rand(images, 3, crop, crop, device=self.device)
        indices = torch.zeros(images, dtype=torch.long, device=self.device)
        self._backward(self._losses, photos, indices, self._grain(photos, 0), None)
        self.adam.zero_grad(set_to_none=True)

    def _gradients(
        self, photos: Tensor, styles: Tensor, grain: Tensor, targets: dict[str, Tensor] | None
    ) -> Tensor:
        """Fresh gradients of all parameters; returns what `_losses` does."""
        self.adam.zero_grad(set_to_none=True)
        if self._compiled is not None:
            try:
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
                return self._backward(self._compiled, photos, styles, grain, targets)
            except Exception as error:  # whatever the compiler, its backend or its tools raise
                if is_out_of_memory(error):
                    raise
                self._compiled = None
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
                self.journal.note(f"torch.compile failed ({reason}); going on without it")
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
        return each.clone()  # a compiled function writes its results to the same place again

    def _losses(
        self, photos: Tensor, styles: Tensor, grain: Tensor, targets: dict[str, Tensor] | None
    ) -> tuple[Tensor, Tensor]:
        """The loss to go back from, and (5, N) for reading: `Terms`, the total in the last row."""
        grainy = (photos + grain).to(self.dtype)
        style = self._style(photos, styles)
        logits = self.trunk.logits(grainy, style)
        terms = self.objective(torch.sigmoid(logits.float()), photos, styles, logits, targets)
        each = [terms.content, terms.style, terms.variation, terms.saturation]
        return terms.total, torch.stack([*each, terms.total.detach().expand_as(terms.content)])

    def _style(self, photos: Tensor, styles: Tensor) -> Tensor:
        """(N, style_size) for (N,) indices; the identity style has its photograph's contrast."""
        style = self.parameters["style"][styles]
        if self.recipe.identity:
            own = self.objective.identity[styles].float()
            style = self.trunk.with_contrast(style, photos, own)
        return style

    def _grain(self, photos: Tensor, update: int) -> Tensor:
        """Fresh grain for (N, 3, H, W) photographs, this process's part of the batch's."""
        n, _, height, width = photos.shape
        amount = self.trunk.config.grain
        if not amount:
            return photos.new_zeros(())
        generator = seeded(self.recipe.seed, f"grain/{update}", self.device)
        batch = n * self.ranks.world
        return amount * random_grain((batch, height, width), generator)[self.ranks.part(batch)]

    def learning_rate(self, update: int) -> float:
        """The rate at an update counted from 0: linear warm-up, then the recipe's decay."""
        recipe = self.recipe
        rate = recipe.learning_rate * self.rate_scale
        return scheduled(rate, update, self.planned, recipe.warmup, recipe.decay)

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
        rates = {
            "learning_rate": torch.tensor(self.recipe.learning_rate, dtype=torch.float64),
            "rate_scale": torch.tensor(self.rate_scale, dtype=torch.float64),
        }
        return training_state(self.update, self.parameters, self.adam) | averages | rates

    @torch.no_grad()
    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a `state`.

        Raises:
            TrainingError: it belongs to another network or another number of styles.
        """
        self.update = restore_training(tensors, self.parameters, self.adam)
        for name, average in self.average.items():
            average.copy_(tensors[f"average/{name}"])
        chosen = self.recipe.learning_rate != float(tensors["learning_rate"])  # since then
        self.rate_scale = 1.0 if chosen else float(tensors["rate_scale"])
        self._last = None

    @torch.no_grad()
    def trouble(self) -> str:
        """What is wrong with the weights as they are now, in words; empty if nothing is.

        The losses of an update are those before its step, so nothing has judged yet what the last
        one made of the weights: now a few images of its batch do, of this process's part.
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
        """Read the losses of a few updates at once, of all processes.

        Raises:
            DivergedError: one of them went wrong.
        """
        steps = []
        read = self.ranks.gather(torch.stack([one.losses for one in pending]).cpu())
        for one, values in zip(pending, read.tolist(), strict=True):
            content, style, variation, saturation, totals, styles = values
            total = sum(totals) / len(totals)
            if trouble := _trouble(total, saturation):
                raise DivergedError(f"{trouble} at update {one.update}", one.update - 1)
            indices = [int(index) for index in styles]
            steps.append(
                Step(one.update, indices, content, style, variation, total, one.learning_rate)
            )
        return steps


def _trouble(total: float, saturation: list[float]) -> str:
    """What a batch's losses say to be wrong, in words; empty if nothing is."""
    if not math.isfinite(total):
        return f"the loss is {total}"
    if sum(saturation) > SATURATED * len(saturation):
        return "nothing but black and white is painted"
    return ""


@torch.no_grad()
def follow(
    average: Mapping[str, Tensor], parameters: Mapping[str, Tensor], ema: float, update: int
) -> None:
    """Move a moving average towards the weights after an update; early ones count for more."""
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
    """Through torch.compile; on CUDA the kernels of an update are recorded as graphs too."""
    # Its advice is for those who write the network, not for those who train one.
    warnings.filterwarnings("ignore", module=r"torch\._(dynamo|inductor|prims_common)")
    mode = "reduce-overhead" if device.type == "cuda" else "default"
    return torch.compile(losses, dynamic=False, mode=mode)
