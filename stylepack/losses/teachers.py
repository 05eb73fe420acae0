"""Teachers of a distilled loss network: VGG, and optionally another network for deep blocks."""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from stylepack.losses.distilled import Distilled, block_of, load_distilled
from stylepack.losses.vgg import BLOCKS, VGG
from stylepack.losses.weights import WeightSource, load_vgg
from stylepack.recipe import Recipe

DEEP = 3  # first block, from 0, of the deep network


class Teachers:
    """VGG for the first three blocks, and a previously distilled network for the rest.

    Without `deep`, VGG is used for all blocks.
    """

    def __init__(self, vgg: VGG, deep: Distilled | None, layers: Iterable[str]) -> None:
        self.vgg, self.deep, self.layers = vgg, deep, tuple(layers)

    @classmethod
    def load(
        cls,
        recipe: Recipe,
        source: WeightSource,
        deep: Path | None,
        device: torch.device,
        dtype: torch.dtype,
    ) -> "Teachers":
        """Load both, frozen, for the recipe's layers.

        Raises:
            UsageError: a file lacks a layer that the recipe names.
            PackError: `deep` is damaged.
        """
        layers = dict.fromkeys((*recipe.style_layers, *recipe.content_layers))
        beyond = [layer for layer in layers if block_of(layer) >= DEEP]
        if deep is None or not beyond:
            return cls(load_vgg(recipe, source, device, dtype), None, layers)
        last = f"relu{DEEP}_{BLOCKS[recipe.loss_network][DEEP - 1]}"
        vgg = load_vgg(recipe, source, device, dtype, [last])  # `inherit` reads all of its layers
        return cls(vgg, load_distilled(deep, beyond, dtype).to(device), layers)

    def __call__(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Activations of (N, 3, H, W) RGB in 0..1: layer -> (N, C, H', W').

        The deep network's `relu` layers are predictions with VGG's channels, its `conv` layers its
        own activations.
        """
        wanted = list(self.layers if layers is None else layers)
        beyond = [layer for layer in wanted if self.deep and block_of(layer) >= DEEP]
        activations: dict[str, Tensor] = self.vgg(
            images, [layer for layer in wanted if layer not in beyond]
        )
        if self.deep and beyond:
            for layer, own in self.deep(images, beyond).items():
                activations[layer] = self.deep.predict(layer, own) if "relu" in layer else own
        return activations

    def gram_matrix(self, layer: str, activations: Tensor, divisor: str) -> Tensor:
        """Gram matrix of the activations at a layer, (N, C, C): `losses.gram_matrix`."""
        return self.vgg.gram_matrix(layer, activations, divisor)
