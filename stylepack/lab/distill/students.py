"""Packs that are learned with a loss network while it is itself being distilled.

A pack learned with a small network goes where that network sees no loss, whether or not VGG
sees one there.  So the small network is shown where they go, while they go there (learning on
the states that the learner itself comes to: Ross, Gordon & Bagnell 2011, "DAgger").
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stylepack.losses.distilled import Distilled
from stylepack.losses.objective import Grams, Objective, pyramid_grams
from stylepack.losses.teachers import Teachers
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.recipe import Recipe
from stylepack.training.checkpoint import restore_training, training_state
from stylepack.training.dataset import seeded

SHORTEST, LONGEST = 20, 160  # updates that a pack is learned for
LEARNING_RATE = 5e-3  # a quarter of that of `add-style`
START_SPREAD = 2.0  # of the logarithms of the shares in the mix of packs that one starts from


@dataclass(frozen=True)
class StudentBatch:
    """What one learner painted before its update, and the painting's Gram matrices."""

    painted: Tensor  # (N, 3, H, W) RGB in 0..1
    style: Tensor  # (style_size,)
    wanted: Grams  # of its painting by the teacher, (1, C, C)
    believed: Grams  # the same by the network that it learns with


class StyleStudents:
    """A few packs, each learned from one picture; a new one takes the place of a finished one.

    `picture(update)` gives a (3, H, W) RGB picture in 0..1 for the learner that begins there;
    `packs` are (K, style_size) styles, which they start from mixes of.
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
        self.learners = [self._begin(index) for index in range(count)]

    def sit(self, update: int, photos: Tensor, network: Distilled) -> StudentBatch:
        """One update of one learner, judged by `network`, on (N, 3, H, W) photographs in 0..1."""
        place = update % len(self.learners)
        learner = self.learners[place]
        if learner.age >= learner.life:
            learner = self.learners[place] = self._begin(update)
        objective = Objective(network, self.recipe, [learner.picture])
        style = learner.style.detach().clone()
        painted = self.trunk(photos.to(training_dtype(photos.device)), learner.style).float()
        total = objective(painted, photos, photos.new_zeros(len(photos), dtype=torch.long)).total
        (learner.style.grad,) = torch.autograd.grad(total, [learner.style])
        learner.adam.step()
        learner.age += 1
        return StudentBatch(painted.detach(), style, learner.grams, objective.targets)

    def _begin(self, born: int) -> "_Learner":
        generator = seeded(self.seed, f"learner/{born}")
        shares = torch.randn(len(self.packs), generator=generator) * START_SPREAD
        start = shares.softmax(0).to(self.packs) @ self.packs
        life = int(torch.randint(SHORTEST, LONGEST + 1, (1,), generator=generator))
        picture = self.picture(born)
        with torch.no_grad():
            grams = pyramid_grams(self.teacher, self.recipe, picture[None])
        return _Learner(born, life, picture, grams, start)

    def state(self) -> dict[str, Tensor]:
        """Everything that `restore` needs to go on exactly here."""
        return {
            f"learner/{index}/{name}": tensor
            for index, learner in enumerate(self.learners)
            for name, tensor in learner.state().items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take over a `state`.

        Raises:
            TrainingError: it belongs to a trunk of other sizes.
        """
        for index in range(len(self.learners)):
            prefix = f"learner/{index}/"
            own = {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}
            learner = self.learners[index] = self._begin(int(own["born"]))
            learner.age = restore_training(own, {"style": learner.style}, learner.adam)


class _Learner:
    """One pack that is being learned."""

    def __init__(self, born: int, life: int, picture: Tensor, grams: Grams, start: Tensor) -> None:
        self.born, self.life, self.picture, self.grams = born, life, picture, grams
        self.style = nn.Parameter(start)
        self.adam = torch.optim.Adam([self.style], lr=LEARNING_RATE)
        self.age = 0

    def state(self) -> dict[str, Tensor]:
        own = training_state(self.age, {"style": self.style}, self.adam)
        return own | {"born": torch.tensor(self.born)}
