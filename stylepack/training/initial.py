"""Initial weights: a trunk, and styles from the packs that belong to it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylepack.errors import StylepackError
from stylepack.library.resolve import resolve
from stylepack.losses.objective import Grams, Objective
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk, TrunkConfig
from stylepack.packs.manifest import IDENTITY, in_words
from stylepack.packs.mix import Mix, parse_mix
from stylepack.packs.pack import Pack, blend
from stylepack.recipe import Recipe

MOST = 32  # packs that `nearest_mix` considers
FEWEST = 4  # packs whose variance `style_rates` trusts
SPREAD = 0.1, 5.0  # limits of a number's deviation, as a multiple of the mean deviation


@dataclass(frozen=True)
class Earlier:
    """A style to learn from, (style_size,), the mix that it started as, and its updates."""

    style: Tensor
    started_from: Mix
    updates: int = 0

    @classmethod
    def of(cls, pack: Pack, updates: int = 0) -> "Earlier":
        """The style of a pack, with the mix from its metadata."""
        mix = Mix(())
        with suppress(StylepackError):
            mix = parse_mix(in_words(pack.manifest.train.get("started_from", "")))
        return cls(pack.style, mix, updates)


def first_trunk(recipe: Recipe, file: Path | None) -> tuple[Trunk, dict[str, Pack]]:
    """The trunk of a file with its packs; without a file, a trunk of random weights."""
    if file is not None:
        loaded = resolve((), file).load()
        return loaded.trunk, loaded.packs
    return untrained_trunk(recipe), {}


def untrained_trunk(recipe: Recipe) -> Trunk:
    """A trunk of random weights in the recipe's widths, drawn from its seed."""
    torch.manual_seed(recipe.seed)
    first, second, third = recipe.widths
    trunk = Trunk(TrunkConfig(widths=(first, second, third), grain=recipe.grain))
    if recipe.initial_std:
        for weight in trunk.parameters():
            torch.nn.init.normal_(weight, 0.0, recipe.initial_std)
    return trunk


def nearest_mix(
    trunk: Trunk, packs: dict[str, Pack], objective: Objective, photos: Tensor
) -> dict[str, float]:
    """The mix of packs whose Gram matrices are nearest to a new painting's.

    Each pack paints the photographs, and the convex combination of the Gram matrices with the least
    style loss is found.  The Gram matrices of a mix are close to the mix of Gram matrices.

    Args:
        trunk: the network.
        packs: by name; the identity style and all beyond `MOST` are ignored.
        objective: its only painting is the new one.
        photos: (N, 3, H, W) RGB in 0..1, on the trunk's device.

    Returns:
        Name -> weight; weights of 1 % or less are dropped, and the rest sum to 1.  Empty without
        packs.
    """
    names = [name for name in packs if name != IDENTITY][:MOST]
    if not names:
        return {}
    product = torch.zeros(len(names), len(names), dtype=torch.float64)
    toward = torch.zeros(len(names), dtype=torch.float64)
    painted = [_mean_grams(trunk, packs[name].style, objective, photos) for name in names]
    for level, targets in enumerate(objective.targets):
        for layer, target in targets.items():
            grams = torch.stack([levels[level][layer] for levels in painted])
            grams, wanted = (x.cpu().double() for x in (grams.flatten(1), target[0].flatten()))
            product += grams @ grams.T / wanted.square().sum()
            toward += grams @ wanted / wanted.square().sum()
    weights = least_on_simplex(product, toward)
    kept = {n: w for n, w in zip(names, weights.tolist(), strict=True) if w > 0.01}
    return {name: weight / sum(kept.values()) for name, weight in kept.items()}


def nearest_start(
    trunk: Trunk, packs: dict[str, Pack], objective: Objective, photos: Tensor
) -> Earlier:
    """The style of `nearest_mix`, neutral without packs, to learn from."""
    mix = Mix(tuple(nearest_mix(trunk, packs, objective, photos).items()))
    styles = [packs[name].style for name in mix.references] or [trunk.config.neutral_style()]
    return Earlier(blend(styles, mix.weights or [1.0]), mix)


def style_rates(packs: Mapping[str, Pack], config: TrunkConfig) -> Tensor:
    """The learning rate of each gamma and beta as a multiple of their mean, (style_size,).

    In proportion to its variance between packs; ones if there are too few.  A number that varies
    much between styles has a long way to go.  Measured in docs/training.md.
    """
    styles = [pack.style for name, pack in packs.items() if name != IDENTITY]
    if len(styles) < FEWEST:
        return torch.ones(config.style_size)
    deviations = torch.stack(styles).std(0)
    rates = (deviations / deviations.mean().clamp_min(1e-12)).clamp(*SPREAD).square()
    return rates / rates.mean()


def least_on_simplex(product: Tensor, toward: Tensor, steps: int = 2000) -> Tensor:
    """The w >= 0 with sum 1 that minimizes w.P w - 2 t.w, for (K, K) P and (K,) t.

    Exponentiated gradient descent (Kivinen & Warmuth 1997).
    """
    weights = torch.full_like(toward, 1 / len(toward))
    rate = 0.5 / float(product.abs().max().clamp_min(1e-12))
    for _ in range(steps):
        gradient = 2 * (product @ weights - toward)
        weights = weights * torch.exp(-rate * (gradient - gradient.min()))
        weights = weights / weights.sum()
    return weights


@torch.no_grad()
def _mean_grams(trunk: Trunk, style: Tensor, objective: Objective, photos: Tensor) -> Grams:
    painted = trunk(photos.to(training_dtype(photos.device)), style.to(photos.device)).float()
    return [
        {layer: gram.mean(0) for layer, gram in level.items()} for level in objective.grams(painted)
    ]


def mean_style(packs: dict[str, Pack], config: TrunkConfig) -> Tensor:
    """The mean of the packs without the identity style; neutral if there are none."""
    styles = [pack.style for name, pack in packs.items() if name != IDENTITY]
    return torch.stack(styles).mean(0) if styles else config.neutral_style()


def identity_start(style: Tensor, config: TrunkConfig) -> Tensor:
    """`style` with zeros for the last norm, which takes only the photograph's contrast."""
    last = config.layout()[-1]
    style = style.clone()
    style[last.gamma.start : last.beta.stop] = 0.0
    return style
