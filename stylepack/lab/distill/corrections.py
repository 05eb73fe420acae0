"""Corrections of the style losses of a small loss network.

A style that is trained with a small network fits what that network sees.  The teacher therefore
measures higher losses in the end than the network itself, at some layers more than at others.
Where the network sees least, its loss pulls least; a correction makes up for that.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from stylepack.events import Progress
from stylepack.lab.distill.data import DistillationData, paint
from stylepack.lab.distill.students import style_rate
from stylepack.losses import functional as losses
from stylepack.losses.distilled import MOST_CORRECTION, Distilled
from stylepack.losses.objective import Objective, pyramid_grams
from stylepack.losses.teachers import Teachers
from stylepack.recipe import Recipe

MEASURED = 4  # batches of photographs


class Corrections:
    """Ratios of the teacher's losses to the network's own, from styles trained for it.

    `network` is frozen and has no corrections yet.  Each style learns a picture of its own for
    `updates` updates, starting from the mean of the packs.
    """

    def __init__(
        self, network: Distilled, teacher: Teachers, data: DistillationData, updates: int
    ) -> None:
        self.network, self.teacher, self.data, self.updates = network, teacher, data, updates
        self.recipe = Recipe()
        self.ratios: list[Tensor] = []  # (1 + layers,) of each style: content, then style

    def measure(self, styles: int, first: int) -> Generator[Progress]:
        """Train and measure styles, on pictures and photographs from draw number `first` on."""
        words = ""
        for index in range(styles):
            picture = self.data.picture(first + index)
            objective = Objective(self.network, self.recipe, [picture])
            style = self.data.styles.mean(0).requires_grad_()
            done = index * self.updates
            for update in self._training(objective, style, first + done):
                yield Progress(done + update, words)
            self.ratios.append(self._ratios(objective, picture, style, first))
            words = " ".join(f"{ratio:.2f}" for ratio in self.ratios[-1].tolist())

    def factors(self) -> tuple[float, ...]:
        """For each layer of the network, the style loss's ratio over that of the content.

        One standard deviation above the geometric mean over styles, because too weak a style is
        worse than too strong a one; within the limits of a file; 1 for layers without a style loss.
        """
        logs = torch.stack(self.ratios).log()
        apart = logs[:, 1:] - logs[:, :1]
        high = (apart.mean(0) + apart.std(0, correction=0)).exp().tolist()
        limited = (min(max(ratio, 1 / MOST_CORRECTION), MOST_CORRECTION) for ratio in high)
        found = dict(zip(self.recipe.style_layers, limited, strict=True))
        return tuple(round(found.get(layer, 1.0), 3) for layer in self.network.config.layers)

    def _training(self, objective: Objective, style: Tensor, first: int) -> Iterator[int]:
        """Train a style in place; yield the number of updates."""
        adam = torch.optim.Adam([style])
        for update in range(self.updates):
            adam.param_groups[0]["lr"] = style_rate(update, self.updates)
            _, photos, _ = self.data.draw(first + update)
            terms = objective(paint(self.data.trunk, photos, style), photos, _first_style(photos))
            (style.grad,) = torch.autograd.grad(terms.total, [style])
            adam.step()
            yield update + 1

    @torch.no_grad()
    def _ratios(self, objective: Objective, picture: Tensor, style: Tensor, first: int) -> Tensor:
        """The teacher's losses over the network's own: (1 + layers,)."""
        single = replace(self.recipe, scales=1)
        [wanted] = pyramid_grams(self.teacher, single, picture[None])
        own, true = [], []
        for update in range(first, first + MEASURED):
            _, photos, _ = self.data.draw(update)
            painted = paint(self.data.trunk, photos, style)
            terms = objective(painted, photos, _first_style(photos))
            own.append(torch.cat([terms.content[None], terms.layers]).mean(1))
            seen = self.teacher(painted)
            photo = self.teacher(photos, self.recipe.content_layers)
            [grams] = pyramid_grams(self.teacher, single, painted, seen)
            content = [
                losses.content_loss(seen[layer], photo[layer], relative=True)
                for layer in self.recipe.content_layers
            ]
            style_losses = [
                losses.style_loss(grams[layer], wanted[layer], relative=True) for layer in grams
            ]
            true.append(torch.stack([torch.stack(content).sum(0), *style_losses]).mean(1))
        return torch.stack(true).mean(0) / torch.stack(own).mean(0).clamp_min(1e-12)


def _first_style(photos: Tensor) -> Tensor:
    return photos.new_zeros(len(photos), dtype=torch.long)
