"""Training images for distilling a loss network."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.errors import TrainingError
from stylepack.library.resolve import resolve
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import IDENTITY
from stylepack.recipe import Recipe
from stylepack.training.dataset import (
    Batch,
    Batches,
    PhotoFolder,
    file_sha256,
    on_device,
    read_painting,
    seeded,
)

UNTRAINED = 0.1  # share of the painted photographs that a random trunk paints
NOISY = 0.2  # share of the photographs with added noise
RECOLOURED = 0.6  # share of the paintings
PALED = 0.3  # likewise
DRAWN = 0.15  # likewise, made into line drawings


@dataclass(frozen=True)
class Folders:
    """Folders of photographs and paintings, and a trunk file whose packs paint."""

    photos: Path
    paintings: Path
    trunk: Path


class DistillationData:
    """Photographs, some with noise, paintings, many of them changed, and a trunk with packs.

    `draws`: number and size of the images per update, and number of updates.  `learned`: the packs'
    styles, (style_size,), that were learned from paintings of the folder, and these paintings.
    """

    def __init__(self, folders: Folders, draws: Recipe, device: torch.device) -> None:
        loaded = resolve((), folders.trunk).load()
        self.trunk, packs = loaded.trunk.to(device).requires_grad_(False), loaded.packs
        if not packs:
            raise TrainingError(f"{folders.trunk} has no packs to paint with; give another --trunk")
        neutral = self.trunk.config.neutral_style()
        self.styles = torch.stack(
            [neutral, *(pack.style for name, pack in packs.items() if name != IDENTITY)]
        ).to(device)
        torch.manual_seed(draws.seed)
        self.untrained = Trunk(self.trunk.config).to(device).requires_grad_(False)
        self.seed, self.device = draws.seed, device
        folder = PhotoFolder.open(folders.paintings)
        by_hash = {file_sha256(path): path for path in folder.paths}
        self.learned = [
            (pack.style.to(device), by_hash[digest])
            for pack in packs.values()
            if (digest := str(pack.manifest.style_image.get("sha256"))) in by_hash
        ]
        self.short_side = draws.photo_side
        self.photos = Batches(PhotoFolder.open(folders.photos), draws, styles=1)
        self.paintings = Batches(folder, draws, styles=1)
        self.pictures = Batches(folder, replace(draws, batch=1, crop=2 * draws.crop), styles=1)

    def batches(self, first: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield (update, photographs, paintings), (N, 3, crop, crop) RGB in 0..1, from `first`."""
        self.photos.first = self.paintings.first = first
        for photos, paintings in zip(self.photos, self.paintings, strict=True):
            yield self._augmented(photos, paintings)

    def draw(self, update: int) -> tuple[int, Tensor, Tensor]:
        """The batch of one update."""
        return self._augmented(self.photos.draw(update), self.paintings.draw(update))

    def _augmented(self, photos: Batch, paintings: Batch) -> tuple[int, Tensor, Tensor]:
        generator = seeded(self.seed, f"diet/{photos.update}")
        noisy = [_with_noise(photo, generator) for photo in on_device(photos.photos, self.device)]
        fresh = [_varied(x, generator) for x in on_device(paintings.photos, self.device)]
        return photos.update, torch.stack(noisy), torch.stack(fresh)

    def picture(self, update: int) -> Tensor:
        """A larger crop of a painting, (3, 2 crop, 2 crop), for a student to learn."""
        generator = seeded(self.seed, f"picture/{update}")
        [picture] = on_device(self.pictures.draw(update).photos, self.device)
        return _varied(picture, generator)

    def learned_picture(self, update: int) -> tuple[Tensor, Tensor] | None:
        """A pack's style, (style_size,), and its painting, (3, H, W); None if there are none."""
        if not self.learned:
            return None
        generator = seeded(self.seed, f"learned/{update}")
        index = int(torch.randint(len(self.learned), (1,), generator=generator))
        style, path = self.learned[index]
        return style, read_painting(path, self.short_side).to(self.device)

    @torch.no_grad()
    def painted(self, update: int, photos: Tensor, near: Tensor) -> Tensor:
        """Paint (N, 3, H, W) photographs in good and bad styles.

        About half are near those of `near`, (K, style_size), in turn.
        """
        generator = seeded(self.seed, f"painted/{update}")
        painted = []
        for index, photo in enumerate(photos):
            chance, how = torch.rand(2, generator=generator).tolist()
            trunk = self.untrained if chance < UNTRAINED else self.trunk
            close = self._near(near[index % len(near)], generator)
            style = close if how < 0.5 else self._mixed(generator)
            painted.append(paint(trunk, photo[None], style))
        return torch.cat(painted)

    def _mixed(self, generator: torch.Generator) -> Tensor:
        """Two packs mixed or extrapolated, with noise."""
        a, b = torch.randint(len(self.styles), (2,), generator=generator).tolist()
        share, amount = torch.rand(2, generator=generator).tolist()
        style = torch.lerp(self.styles[a], self.styles[b], 1.6 * share - 0.3)
        return _perturbed(style, 0.5 * amount**2, generator)

    def _near(self, style: Tensor, generator: torch.Generator) -> Tensor:
        """A style moved a little towards or away from a pack, with noise."""
        other = self.styles[int(torch.randint(len(self.styles), (1,), generator=generator))]
        share, amount = torch.rand(2, generator=generator).tolist()
        return _perturbed(torch.lerp(style, other, 0.5 * share - 0.2), 0.15 * amount**2, generator)


def paint(trunk: Trunk, photos: Tensor, style: Tensor) -> Tensor:
    """Paint (N, 3, H, W) RGB in 0..1 in the dtype of training; the result is float32."""
    painted: Tensor = trunk(photos.to(training_dtype(photos.device)), style)
    return painted.float()


def _perturbed(style: Tensor, amount: float, generator: torch.Generator) -> Tensor:
    noise = torch.randn(style.shape, generator=generator).to(style)
    return style + amount * noise * style.abs().mean()


def _with_noise(image: Tensor, generator: torch.Generator) -> Tensor:
    """The image, sometimes with noise."""
    chance, amount = torch.rand(2, generator=generator).tolist()
    if chance >= NOISY:
        return image
    noise = torch.rand(image.shape, generator=generator).to(image)
    return torch.lerp(image, noise, amount**2)


def _varied(image: Tensor, generator: torch.Generator) -> Tensor:
    """A painting, sometimes in other colours, pale and soft, or as a drawing."""
    return drawn(paled(_recoloured(image, generator), generator), generator)


def _recoloured(image: Tensor, generator: torch.Generator) -> Tensor:
    """The image, sometimes with swapped channels and changed saturation and gamma."""
    chance, colour, tone = torch.rand(3, generator=generator).tolist()
    order = torch.randperm(3, generator=generator)
    if chance >= RECOLOURED:
        return image
    swapped = image[order.to(image.device)]
    grey = swapped.mean(0, keepdim=True)
    return torch.lerp(grey, swapped, 0.3 + colour).clamp(0, 1).pow(0.6 + tone)


def paled(image: Tensor, generator: torch.Generator) -> Tensor:
    """A (3, H, W) image in 0..1, sometimes blurred and mixed with a light colour."""
    chance, blur, share, *light = torch.rand(6, generator=generator).tolist()
    if chance >= PALED:
        return image
    colour = image.new_tensor(light).mul_(0.5).add_(0.5)[:, None, None]
    return torch.lerp(_soft(image, 1 + 1.5 * blur), colour.expand_as(image), 0.7 * share)


def drawn(image: Tensor, generator: torch.Generator) -> Tensor:
    """A (3, H, W) image in 0..1, or sometimes its contours in ink on paper, with a wash."""
    chance, wash, width, dark, tint = torch.rand(5, generator=generator).tolist()
    if chance >= DRAWN:
        return image
    edges = (image - _soft(image, 2 + 4 * width)).mean(0, keepdim=True).abs()
    ink = edges.mul(10).clamp(0, 1).pow(0.5 + dark)
    paper = image.new_tensor([1.0, 0.98 - 0.1 * tint, 0.95 - 0.25 * tint])[:, None, None]
    return torch.lerp(paper.expand_as(image), image, 0.6 * wash**2) * (1 - 0.9 * ink)


def _soft(image: Tensor, factor: float) -> Tensor:
    """(3, H, W) scaled down by a factor and back."""
    sides = [max(1, round(side / factor)) for side in image.shape[-2:]]
    small = F.interpolate(image[None], sides, mode="bilinear", antialias=True)
    return F.interpolate(small, image.shape[-2:], mode="bicubic")[0].clamp(0, 1)
