"""An image whose Gram matrices approach a painting's, from noise.

Gatys, Ecker & Bethge 2015, "Texture Synthesis Using Convolutional Neural Networks".  phi_i is the
style loss at the i-th layer, and tau_n = phi_1 + ... + phi_n is minimized.
"""

import math
from collections.abc import Generator, Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn

from stylepack.errors import TrainingError
from stylepack.lab.study.plans import Optimizer
from stylepack.losses import functional as losses
from stylepack.losses.weights import LossNetwork
from stylepack.network.trunk import photograph_logits
from stylepack.recipe import Recipe
from stylepack.training.dataset import seeded

ENOUGH = 0.999  # progress is a tau below this multiple of the lowest
HISTORY = 50  # updates that L-BFGS remembers
EVALUATIONS = 20  # limit of loss evaluations per update of L-BFGS


class StyleLoss:
    """phi_i of images against a (3, H, W) painting, by layer, with the recipe's style loss."""

    def __init__(self, network: LossNetwork, recipe: Recipe, painting: Tensor) -> None:
        self.network, self.recipe = network, recipe
        self.layers = recipe.style_layers
        with torch.no_grad():
            self.targets = self._grams(painting[None].to(network.device), self.layers)

    def __call__(self, image: Tensor, layers: Sequence[str]) -> Tensor:
        """(len(layers),) phi of a (1, 3, H, W) image at some of the recipe's style layers."""
        grams = self._grams(image, layers)
        relative = self.recipe.relative
        return torch.cat(
            [losses.style_loss(grams[layer], self.targets[layer], relative) for layer in layers]
        )

    def _grams(self, image: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        features = self.network(image, layers)
        divisor = self.recipe.gram_divisor
        return {
            layer: self.network.gram_matrix(layer, features[layer], divisor) for layer in layers
        }


class Synthesis:
    """Minimizes tau_n from noise; `image` is the current image, (1, 3, H, W) RGB.

    With `bounded` the logits of the pixels are optimized; without, the pixels themselves, which may
    leave 0..1, as in the report.
    """

    def __init__(
        self,
        loss: StyleLoss,
        layers: Sequence[str],
        noise: Tensor,
        *,
        optimizer: Optimizer,
        learning_rate: float,
        patience: int,
        bounded: bool,
    ) -> None:
        self.loss, self.layers, self.patience, self.bounded = loss, layers, patience, bounded
        start = photograph_logits(noise) if bounded else noise
        self.parameter = nn.Parameter(start.clone())
        self.optimizer: torch.optim.Optimizer
        if optimizer == "adam":
            self.optimizer = torch.optim.Adam([self.parameter], lr=learning_rate)
        else:
            self.optimizer = torch.optim.LBFGS(
                [self.parameter],
                max_iter=1,
                max_eval=EVALUATIONS,
                history_size=HISTORY,
                line_search_fn="strong_wolfe",
            )

    @property
    def image(self) -> Tensor:
        """The image whose tau is measured."""
        parameter = self.parameter.detach()
        return torch.sigmoid(parameter) if self.bounded else parameter.clone()

    def steps(self, updates: int) -> Generator[float]:
        """Do updates until tau no longer falls; yield tau before each.

        Raises:
            TrainingError: tau is no longer finite.
        """
        lowest, since = float("inf"), 0
        for update in range(updates):
            tau = float(self.optimizer.step(self._evaluate))  # type: ignore[arg-type]
            if not math.isfinite(tau):
                raise TrainingError(
                    f"the style loss is {tau} after {update} updates: the image has diverged; "
                    "use a lower --learning-rate and another folder with -o"
                )
            if tau < ENOUGH * lowest:
                lowest, since = tau, 0
            else:
                since += 1
            yield tau
            if since >= self.patience:
                return

    def _evaluate(self) -> float:
        self.optimizer.zero_grad(set_to_none=True)
        image = torch.sigmoid(self.parameter) if self.bounded else self.parameter
        tau = self.loss(image, self.layers).sum()
        tau.backward()  # type: ignore[no-untyped-call]
        return tau.item()


def cumulative(phis: Sequence[float]) -> list[float]:
    """tau_1, tau_2, ...: the sums of phi_1 to phi_n."""
    return list(accumulate(phis))


def report_noise(side: int, seed: int, device: torch.device) -> Tensor:
    """(1, 3, side, side) noise, the report's N(255/2, 255^2/4) divided by 255."""
    noise = torch.randn(1, 3, side, side, generator=seeded(seed, "noise"))
    return (0.5 + 0.5 * noise).to(device)
