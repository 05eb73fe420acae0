"""The recipe's weighted sum of losses, for painted photographs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from stylepack.losses import functional as losses
from stylepack.losses.palette import Palettes
from stylepack.losses.teachers import Teachers
from stylepack.losses.weights import LossNetwork
from stylepack.network.trunk import STRIDE
from stylepack.recipe import Recipe

Grams = list[dict[str, Tensor]]  # for each scale: layer -> (S, C, C)


@dataclass(frozen=True)
class Terms:
    """The losses of a batch, (N,) float32 each, and the weighted mean of all terms.

    `style` is the mean of relative losses, or the sum of plain ones at their layers' weights.
    """

    content: Tensor
    style: Tensor
    variation: Tensor
    saturation: Tensor  # zeros without logits
    layers: Tensor  # (L, N), style loss of each style layer at the first scale
    total: Tensor  # scalar with gradient; includes all other terms


class Objective:
    """The recipe's losses against a fixed set of paintings.

    `paintings[s]` is a (3, H, W) RGB tensor in 0..1, or None for the identity style, whose pixels
    are compared with the photograph's instead of a style loss.  `weights[s]` multiplies the
    recipe's style weight; None is 1 for all.
    """

    def __init__(
        self,
        network: LossNetwork,
        recipe: Recipe,
        paintings: Sequence[Tensor | None],
        weights: Sequence[float] | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.targets = self._targets(paintings)
        self.waves = losses.fine_waves().to(network.device)
        self.fine = self._fine(paintings)
        self.palettes = Palettes.of(paintings, network.device)
        self.identity = torch.tensor([p is None for p in paintings], device=network.device)
        balance = torch.tensor(weights or [1.0] * len(paintings), device=network.device)
        self.style_weights = recipe.style_weight * balance
        layers = torch.tensor(recipe.layer_weights or [1.0] * len(recipe.style_layers))
        share = layers / layers.mean()  # of the mean over layers
        self.layer_weights = share.repeat(recipe.scales)[:, None].to(network.device)

    def __call__(
        self,
        painted: Tensor,
        photos: Tensor,
        styles: Tensor,
        logits: Tensor | None = None,
        targets: dict[str, Tensor] | None = None,
    ) -> Terms:
        """Losses of painted photographs.

        Args:
            painted, photos: (N, 3, H, W) RGB in 0..1.
            styles: (N,) index of each image's painting.
            logits: of `painted`, before the sigmoid, for the saturation term.
            targets: `content_targets` of the photographs; None computes them.
        """
        recipe = self.recipe
        wanted = self.content_targets(photos) if targets is None else targets
        features = self.network(painted)
        pairs = [(layer, features[layer], wanted[layer]) for layer in recipe.content_layers]
        content = sum_of(self.network.content_loss(*pair, recipe.relative) for pair in pairs)
        terms = self._style(painted, features, styles)
        toward = terms * self.layer_weights
        # Relative losses are averaged over layers and scales, plain ones summed as in the papers.
        toward = toward.mean(0) if recipe.relative else toward.sum(0)
        style = terms.mean(0) if recipe.relative else toward
        variation = losses.total_variation(painted)
        weighted = recipe.content_weight * content + recipe.tv_weight * variation
        if recipe.similarity_weight:
            alike = sum_of(self.network.similarity_loss(*pair) for pair in pairs)
            weighted = weighted + recipe.similarity_weight * alike
        identity = self.identity[styles]
        pixels = losses.pixel_loss(painted, photos)
        painting = self.style_weights[styles] * toward
        if recipe.tone_weight:
            painting = painting + recipe.tone_weight * losses.tone_loss(painted, photos)
        if recipe.palette_weight:
            off = self.palettes.palette_loss(painted, styles)
            painting = painting + recipe.palette_weight * off
        if recipe.color_weight:
            amounts = self.palettes.color_loss(painted, styles)
            painting = painting + recipe.color_weight * amounts
        if recipe.lattice_weight:
            painting = painting + recipe.lattice_weight * losses.lattice_loss(painted, STRIDE)
        if recipe.hatching_weight:
            allowed = self.fine[styles] + losses.fine_energies(photos, self.waves)
            hatching = losses.hatching_loss(losses.fine_energies(painted, self.waves), allowed)
            painting = painting + recipe.hatching_weight * hatching
        weighted = weighted + torch.where(identity, recipe.identity_weight * pixels, painting)
        saturation = torch.zeros_like(content)
        if logits is not None:
            saturation = losses.saturation_loss(logits)
            weight = recipe.saturation_weight * (~identity)  # a photograph may be black and white
            weighted = weighted + weight * saturation
        return Terms(
            content.detach(),
            torch.where(identity, torch.zeros_like(style), style).detach(),
            variation.detach(),
            saturation.detach(),
            terms[: len(recipe.style_layers)].detach(),
            weighted.mean(),
        )

    @torch.no_grad()
    def content_targets(self, photos: Tensor) -> dict[str, Tensor]:
        """Activations of (N, 3, H, W) photographs in 0..1 at the recipe's content layers."""
        targets: dict[str, Tensor] = self.network(photos, self.recipe.content_layers)
        return targets

    def grams(self, images: Tensor, features: dict[str, Tensor] | None = None) -> Grams:
        """`pyramid_grams` of (N, 3, H, W) images in 0..1 by this loss network."""
        return pyramid_grams(self.network, self.recipe, images, features)

    def _style(self, painted: Tensor, features: dict[str, Tensor], styles: Tensor) -> Tensor:
        """Style losses of every scale's layers: (scales * L, N)."""
        terms = [
            self.network.style_loss(layer, gram, targets[layer][styles], self.recipe.relative)
            for level, targets in zip(self.grams(painted, features), self.targets, strict=True)
            for layer, gram in level.items()
        ]
        return torch.stack(terms)

    @torch.no_grad()
    def _targets(self, paintings: Sequence[Tensor | None]) -> Grams:
        """Gram matrices of every painting at every scale; ones for the identity style."""
        device = self.network.device
        every = [None if p is None else self.grams(p[None].to(device)) for p in paintings]
        return [
            {
                layer: _stack([None if grams is None else grams[level][layer] for grams in every])
                for layer in self.recipe.style_layers
            }
            for level in range(self.recipe.scales)
        ]

    @torch.no_grad()
    def _fine(self, paintings: Sequence[Tensor | None]) -> Tensor:
        """(S, 36) `fine_energies` of every painting; zeros for the identity style."""
        blank = torch.zeros(3, 4, 4)
        pictures = [(blank if p is None else p)[None].to(self.waves) for p in paintings]
        return torch.cat([losses.fine_energies(picture, self.waves) for picture in pictures])


def sum_of(terms: Iterable[Tensor]) -> Tensor:
    """The sum of at least one (N,) loss."""
    return torch.stack([*terms]).sum(0)


def pyramid_grams(
    network: LossNetwork | Teachers,
    recipe: Recipe,
    images: Tensor,
    features: dict[str, Tensor] | None = None,
) -> Grams:
    """Gram matrices of (N, 3, H, W) images in 0..1 at every scale.

    `features`: activations at the first scale; None computes them.
    """
    grams = []
    for level in range(recipe.scales):
        if level:
            images = losses.half(images)
        if level or features is None:
            features = network(images, recipe.style_layers)
        grams.append(
            {
                layer: network.gram_matrix(layer, features[layer], recipe.gram_divisor)
                for layer in recipe.style_layers
            }
        )
    return grams


def _stack(grams: Sequence[Tensor | None]) -> Tensor:
    """(1, C, C) each -> (S, C, C), with ones in place of None."""
    blank = next(torch.ones_like(gram) for gram in grams if gram is not None)
    return torch.cat([blank if gram is None else gram for gram in grams])
