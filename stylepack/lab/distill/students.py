"""Styles that are trained with a loss network while it is distilled.

Styles trained against the small network exploit its errors; training it on their paintings corrects
them (Ross, Gordon & Bagnell 2011, "DAgger").  The errors that remain in a pack are those of a
finished style, so half of the styles start from packs and their own paintings, if there are any.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylepack.lab.distill.data import DistillationData, paint
from stylepack.losses.distilled import Distilled
from stylepack.losses.objective import Grams, Objective, pyramid_grams
from stylepack.losses.teachers import Teachers
from stylepack.recipe import Recipe
from stylepack.training.checkpoint import restore_training, training_state
from stylepack.training.dataset import seeded
from stylepack.training.finetune import LEARNING_RATE, REFINING_RATE
from stylepack.training.trainer import scheduled

SHORTEST, LONGEST = 20, 80  # updates that a style is trained for
LEAST_AGAIN, MOST_AGAIN = 2, 8  # the same for a style that a pack has learned already
START_SPREAD = 2.0  # standard deviation of the logits of the initial mix's weights
PER_UPDATE = 2  # students that are updated at a time: one from a mix, one from a pack


@dataclass(frozen=True)
class StudentBatch:
    """Paintings of a student before its update, and the picture that it learns."""

    painted: Tensor  # (N, 3, H, W) RGB in 0..1
    style: Tensor  # (style_size,)
    picture: Tensor  # (3, H', W') RGB in 0..1
    wanted: Grams  # of the picture by the teacher, (1, C, C)


class StyleStudents:
    """Styles that each learn one picture for a random number of updates and are then replaced.

    Those with even indices start from mixes of `data.styles`, on pictures of `data`.  The others
    start from packs that have learned a painting of `data`, on that painting; without such packs,
    they are like the rest.  `count` of either kind learn at the same time.
    """

    def __init__(
        self, data: DistillationData, teacher: Teachers, seed: int, count: int = 4
    ) -> None:
        self.data, self.teacher, self.seed = data, teacher, seed
        self.recipe = Recipe()
        self.students = [self._begin(index, index) for index in range(PER_UPDATE * count)]

    def update(self, update: int, photos: Tensor, network: Distilled) -> list[StudentBatch]:
        """Update `PER_UPDATE` students with the losses of `network`.

        `photos`: (N, 3, H, W) RGB in 0..1.
        """
        first = PER_UPDATE * update % len(self.students)
        return [
            self._update(index, update, photos, network)
            for index in range(first, first + PER_UPDATE)
        ]

    def _update(self, index: int, update: int, photos: Tensor, network: Distilled) -> StudentBatch:
        student = self.students[index]
        if student.age >= student.budget:
            student = self.students[index] = self._begin(index, update)
        objective = Objective(network, self.recipe, [student.picture])
        style = student.style.detach().clone()
        painted = paint(self.data.trunk, photos, student.style)
        total = objective(painted, photos, photos.new_zeros(len(photos), dtype=torch.long)).total
        (student.style.grad,) = torch.autograd.grad(total, [student.style])
        student.step()
        return StudentBatch(painted.detach(), style, student.picture, student.grams)

    def _begin(self, index: int, started_at: int) -> "_Student":
        generator = seeded(self.seed, f"learner/{index}/{started_at}")
        known = self.data.learned_picture(started_at) if index % PER_UPDATE else None
        if known:
            (start, picture), rate = known, REFINING_RATE
            shortest, longest = LEAST_AGAIN, MOST_AGAIN
        else:
            packs = self.data.styles
            shares = torch.randn(len(packs), generator=generator) * START_SPREAD
            start, picture = shares.softmax(0).to(packs) @ packs, self.data.picture(started_at)
            rate, shortest, longest = LEARNING_RATE, SHORTEST, LONGEST
        budget = int(torch.randint(shortest, longest + 1, (1,), generator=generator))
        with torch.no_grad():
            grams = pyramid_grams(self.teacher, self.recipe, picture[None])
        return _Student(started_at, budget, picture, grams, start.clone(), rate)

    def state(self) -> dict[str, Tensor]:
        """The state from which `restore` continues exactly."""
        return {
            f"student/{index}/{name}": tensor
            for index, student in enumerate(self.students)
            for name, tensor in student.state().items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Restore a `state`.

        Raises:
            TrainingError: it belongs to a trunk of another size.
        """
        for index in range(len(self.students)):
            prefix = f"student/{index}/"
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            student = self.students[index] = self._begin(index, int(own["started_at"]))
            student.age = restore_training(own, {"style": student.style}, student.adam)


class _Student:
    """A style in training."""

    def __init__(
        self,
        started_at: int,
        budget: int,
        picture: Tensor,
        grams: Grams,
        start: Tensor,
        rate: float,
    ) -> None:
        self.started_at, self.budget, self.picture, self.grams = started_at, budget, picture, grams
        self.style, self.rate = nn.Parameter(start), rate
        self.adam = torch.optim.Adam([self.style])
        self.age = 0

    def step(self) -> None:
        """Apply the gradient."""
        self.adam.param_groups[0]["lr"] = style_rate(self.age, self.budget, self.rate)
        self.adam.step()
        self.age += 1

    def state(self) -> dict[str, Tensor]:
        own = training_state(self.age, {"style": self.style}, self.adam)
        return own | {"started_at": torch.tensor(self.started_at)}


def style_rate(update: int, updates: int, highest: float = LEARNING_RATE) -> float:
    """Learning rate of a style at an update from 0: `add-style`'s, with a tenth for warm-up."""
    return scheduled(highest, update, updates, updates // 10, "cosine")
