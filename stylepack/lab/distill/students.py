"""Styles that are trained with a loss network while it is distilled.

Styles trained against the small network exploit its errors; training it on their paintings corrects
them (Ross, Gordon & Bagnell 2011, "DAgger").
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylepack.lab.distill.data import paint
from stylepack.losses.distilled import Distilled
from stylepack.losses.objective import Grams, Objective, pyramid_grams
from stylepack.losses.teachers import Teachers
from stylepack.network.trunk import Trunk
from stylepack.recipe import Recipe
from stylepack.training.checkpoint import restore_training, training_state
from stylepack.training.dataset import seeded
from stylepack.training.finetune import LEARNING_RATE
from stylepack.training.trainer import scheduled

SHORTEST, LONGEST = 20, 80  # updates that a style is trained for
START_SPREAD = 2.0  # standard deviation of the logits of the initial mix's weights


@dataclass(frozen=True)
class StudentBatch:
    """Paintings of a student before its update, and the picture that it learns."""

    painted: Tensor  # (N, 3, H, W) RGB in 0..1
    style: Tensor  # (style_size,)
    picture: Tensor  # (3, H', W') RGB in 0..1
    wanted: Grams  # of the picture by the teacher, (1, C, C)


class StyleStudents:
    """A few styles, each trained on one picture for a random number of updates, then replaced.

    `picture(update)` returns a (3, H, W) RGB picture in 0..1 for the student that starts then;
    `packs` are (K, style_size) styles; students start from mixes of them.
    """

    def __init__(
        self,
        trunk: Trunk,
        packs: Tensor,
        picture: Callable[[int], Tensor],
        teacher: Teachers,
        seed: int,
        count: int = 4,
    ) -> None:
        self.trunk, self.packs, self.picture, self.teacher = trunk, packs, picture, teacher
        self.seed = seed
        self.recipe = Recipe()
        self.students = [self._begin(index) for index in range(count)]

    def update(self, update: int, photos: Tensor, network: Distilled) -> StudentBatch:
        """Update one student with the losses of `network` on (N, 3, H, W) photographs in 0..1."""
        index = update % len(self.students)
        student = self.students[index]
        if student.age >= student.budget:
            student = self.students[index] = self._begin(update)
        objective = Objective(network, self.recipe, [student.picture])
        style = student.style.detach().clone()
        painted = paint(self.trunk, photos, student.style)
        total = objective(painted, photos, photos.new_zeros(len(photos), dtype=torch.long)).total
        (student.style.grad,) = torch.autograd.grad(total, [student.style])
        student.step()
        return StudentBatch(painted.detach(), style, student.picture, student.grams)

    def _begin(self, started_at: int) -> "_Student":
        generator = seeded(self.seed, f"learner/{started_at}")
        shares = torch.randn(len(self.packs), generator=generator) * START_SPREAD
        start = shares.softmax(0).to(self.packs) @ self.packs
        budget = int(torch.randint(SHORTEST, LONGEST + 1, (1,), generator=generator))
        picture = self.picture(started_at)
        with torch.no_grad():
            grams = pyramid_grams(self.teacher, self.recipe, picture[None])
        return _Student(started_at, budget, picture, grams, start)

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
            student = self.students[index] = self._begin(int(own["started_at"]))
            student.age = restore_training(own, {"style": student.style}, student.adam)


class _Student:
    """A style in training."""

    def __init__(
        self, started_at: int, budget: int, picture: Tensor, grams: Grams, start: Tensor
    ) -> None:
        self.started_at, self.budget, self.picture, self.grams = started_at, budget, picture, grams
        self.style = nn.Parameter(start)
        self.adam = torch.optim.Adam([self.style])
        self.age = 0

    def step(self) -> None:
        """Apply the gradient."""
        self.adam.param_groups[0]["lr"] = style_rate(self.age, self.budget)
        self.adam.step()
        self.age += 1

    def state(self) -> dict[str, Tensor]:
        own = training_state(self.age, {"style": self.style}, self.adam)
        return own | {"started_at": torch.tensor(self.started_at)}


def style_rate(update: int, updates: int) -> float:
    """Learning rate of a style at an update from 0: `add-style`'s, with a tenth for warm-up."""
    return scheduled(LEARNING_RATE, update, updates, updates // 10, "cosine")
