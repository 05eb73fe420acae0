"""A style in seconds: a few updates on small crops, from the nearest mix of packs.

From a good start, gamma and beta nearly converge in a few dozen updates.  The pack is cached, and
`add-style` continues from it.
"""

import hashlib
import json
import math
import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stylepack.bundled import BUNDLED_LOSS_NETWORK, BUNDLED_PHOTOS
from stylepack.errors import PackError, StylepackError, TrainingError, UsageError
from stylepack.events import Progress
from stylepack.files import make_folder
from stylepack.library.install import install_new
from stylepack.library.resolve import FoundPack, resolve
from stylepack.library.shelf import MOVE_HOME, cache_folder
from stylepack.library.trunks import ShelvedTrunk, find_trunk
from stylepack.losses.distilled import DistilledConfig
from stylepack.losses.weights import WeightSource
from stylepack.network.device import fast_products, training_dtype
from stylepack.network.grain import random_grain
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import IDENTITY, SUFFIX
from stylepack.packs.pack import Pack, load_pack
from stylepack.packs.thumbnail import thumbnail
from stylepack.recipe import Recipe
from stylepack.training.dataset import Batches, PhotoFolder, on_device, seeded
from stylepack.training.export import describe_pack, provenance
from stylepack.training.initial import nearest_start, style_rates
from stylepack.training.paintings import (
    Painting,
    describe,
    need_painting,
    objective_for,
    pack_name,
)
from stylepack.training.trainer import scheduled

# Measured in docs/training.md.
UPDATES = 72
CROP, BATCH = 176, 1
POOL = 16  # batches drawn, whose content targets are computed once
LEARNING_RATE, WARMUP = 6.5e-2, 2
MOMENTUM, SECOND_MOMENT = 0.9, 0.95  # Adam's betas (Kingma & Ba 2015)
EMA = 0.8
UNNAMED = "painting"  # the pack's name if the file's gives none


@dataclass(frozen=True)
class QuickStyle:
    """The style of a painting on a trunk, to be learned unless it is cached.

    `file` is its pack in the cache, in a folder named by the hash of the painting, the trunk,
    the loss network and the settings.
    """

    painting: Painting
    trunk: Path
    recipe: Recipe
    file: Path

    @classmethod
    def of(
        cls, picture: Path, trunk: str | Path | None = None, recipe: Recipe | None = None
    ) -> "QuickStyle":
        """The style of a picture's file on a trunk by name or file; None is the bundled one.

        Raises:
            UsageError: no such picture or trunk.
            PackError: not a trunk file.
        """
        need_painting(picture)
        place = find_trunk(trunk)
        return cls.for_painting(describe(picture, quick_name(picture), {}), place, recipe)

    @classmethod
    def for_painting(
        cls, painting: Painting, trunk: Path, recipe: Recipe | None = None
    ) -> "QuickStyle":
        """The style of a painting on a trunk's file, by the losses of a recipe."""
        quick = quick_recipe(recipe or Recipe())
        digest = ShelvedTrunk(trunk.stem, trunk).sha256
        losses = hashlib.sha256(BUNDLED_LOSS_NETWORK.read_bytes()).hexdigest()
        key = json.dumps([painting.facts["sha256"], digest, losses, quick.to_toml()])
        place = cache_folder() / "paintings" / hashlib.sha256(key.encode()).hexdigest()[:32]
        return cls(painting, trunk, quick, place / f"{painting.name}{SUFFIX}")

    @property
    def is_learned(self) -> bool:
        """Whether the cache has its pack, undamaged."""
        try:
            FoundPack.read(self.file)
        except StylepackError:
            return False
        return True

    def learn(
        self, device: torch.device, until: float = math.inf
    ) -> Generator[Progress, None, Pack]:
        """Learn the style and write its pack to the cache; yield each of `len()` updates.

        A pack of the same painting under another name is copied.  `until`, in seconds of
        `time.monotonic`, ends learning early; an unfinished style is not cached.

        Returns:
            The pack.

        Raises:
            PhotoError: the picture cannot be read, or has only one colour.
            TrainingError: the loss is not finite.
            StylepackError: the cache cannot be written.
        """
        if self.is_learned:
            return self.pack()
        loaded = resolve((), self.trunk).load()
        make_folder(self.file.parent, MOVE_HOME)
        pack = self._under_another_name(loaded.trunk)
        if pack is None:
            work = _Descent(self, loaded.trunk.to(device), loaded.packs, device)
            yield from work.updates(until)
            pack = work.pack(loaded.sha256)
            if work.update < self.recipe.updates:
                return pack
        pack.save(self.file, loaded.trunk.config)
        return pack

    def __len__(self) -> int:
        return self.recipe.updates

    def pack(self) -> Pack:
        """Its pack in the cache.

        Raises:
            UsageError: it is missing.
            PackError: it is damaged.
        """
        (pack,) = resolve([str(self.file)], self.trunk).load().packs.values()
        return pack

    def install(self, author: str, license: str, *, replace: bool) -> Path:
        """Install its pack; return the installed file.

        Raises:
            PackError: it is damaged, or could not be installed and is in the working folder.
        """
        loaded = resolve([str(self.file)], self.trunk).load()
        (pack,) = loaded.packs.values()
        return install_new(self._described(pack, author, license), loaded.trunk.config, replace)

    def _under_another_name(self, trunk: Trunk) -> Pack | None:
        for file in sorted(self.file.parent.glob(f"*{SUFFIX}")):
            with suppress(StylepackError):
                return self._described(load_pack(file, trunk.config))
        return None

    def _described(self, pack: Pack, author: str = "", license: str = "") -> Pack:
        """The pack with this painting's name and facts."""
        of = pack.manifest
        manifest = describe_pack(
            self.painting, of.trunk_sha256, dict(of.train), {}, of.thumbnail, author, license
        )
        return replace(pack, manifest=manifest)


class _Descent:
    """Adam on one style vector.

    torch.optim is not used: it loads the compiler on first use, which takes as long as ten updates.
    """

    def __init__(
        self, style: QuickStyle, trunk: Trunk, packs: dict[str, Pack], device: torch.device
    ) -> None:
        self.painting, self.recipe = style.painting, style.recipe
        self.trunk = trunk.requires_grad_(False)
        self.objective = objective_for(self.recipe, WeightSource(), [self.painting], device)
        self.photos, _ = PhotoFolder.open(BUNDLED_PHOTOS).split()
        self.crops = self._crops(device)
        start = nearest_start(trunk, packs, self.objective, self.crops[0])
        self.started_from, self.style = start.started_from, start.style.to(device)
        self.rates = style_rates(packs, trunk.config).to(device)
        self.average = self.style.clone()
        self.update = 0  # updates done
        self.first, self.second = torch.zeros_like(self.style), torch.zeros_like(self.style)

    def updates(self, until: float = math.inf) -> Generator[Progress]:
        """Train, no longer than `until`; yield each update."""
        targets: list[dict[str, Tensor]] = []
        for update in range(self.recipe.updates):
            if update and time.monotonic() > until:
                return
            index = update % len(self.crops)
            if index == len(targets):
                targets.append(self.objective.content_targets(self.crops[index]))
            loss, gradient = self._gradient(self.crops[index], targets[index], update)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"{self.painting.path}: the loss is {loss}; learn it with `add-style`"
                )
            self._step(gradient, update)
            self.update = update + 1
            yield Progress(update + 1, f"loss {loss:.2f}")

    def pack(self, trunk_sha256: str) -> Pack:
        """The pack of the moving average."""
        facts = provenance(
            self.recipe,
            WeightSource(),
            updates=self.update,
            styles=1,
            photographs=len(self.photos.paths),
        )
        manifest = describe_pack(
            self.painting,
            trunk_sha256,
            {**facts, "started_from": str(self.started_from)},
            {},
            thumbnail(self.trunk, self.average),
            author="",
            license="",
        )
        return Pack(manifest, self.average.cpu())

    def _crops(self, device: torch.device) -> list[Tensor]:
        """Batches of photographs, (N, 3, crop, crop) RGB in 0..1 each."""
        batches = Batches(self.photos, self.recipe, styles=1)
        return [
            on_device(batches.draw(index).photos, device)
            for index in range(min(POOL, self.recipe.updates))
        ]

    def _gradient(
        self, photos: Tensor, targets: dict[str, Tensor], update: int
    ) -> tuple[float, Tensor]:
        """The loss of (N, 3, H, W) photographs, and its gradient for the style."""
        n, _, height, width = photos.shape
        generator = seeded(self.recipe.seed, f"grain/{update}", photos.device)
        grain = self.trunk.config.grain * random_grain((n, height, width), generator)
        style = self.style.requires_grad_()
        indices = torch.zeros(n, dtype=torch.long, device=photos.device)
        with torch.enable_grad(), fast_products(photos.device):
            grainy = (photos + grain).to(training_dtype(photos.device))
            logits = self.trunk.logits(grainy, style.expand(n, -1))
            painted = torch.sigmoid(logits.float())
            loss = self.objective(painted, photos, indices, logits, targets).total
            (gradient,) = torch.autograd.grad(loss, style)
        return loss.item(), gradient

    @torch.no_grad()
    def _step(self, gradient: Tensor, update: int) -> None:
        """One step of Adam (Kingma & Ba 2015, algorithm 1), and the moving average."""
        self.first.lerp_(gradient, 1 - MOMENTUM)
        self.second.lerp_(gradient.square(), 1 - SECOND_MOMENT)
        mean = self.first / (1 - MOMENTUM ** (update + 1))
        deviation = (self.second / (1 - SECOND_MOMENT ** (update + 1))).sqrt()
        recipe = self.recipe
        rate = scheduled(recipe.learning_rate, update, recipe.updates, recipe.warmup, recipe.decay)
        self.style = self.style.detach() - rate * self.rates * mean / (deviation + 1e-8)
        keep = min(recipe.ema, (2 + update) / (11 + update))
        self.average.lerp_(self.style, 1 - keep)


def quick_recipe(recipe: Recipe) -> Recipe:
    """A recipe for a style in seconds, with the losses of another."""
    return replace(
        keeping_tones(recipe),
        loss_network="bundled",
        updates=UPDATES,
        crop=CROP,
        first_crop=0,
        batch=BATCH,
        learning_rate=LEARNING_RATE,
        style_rate=1.0,
        warmup=WARMUP,
        decay="cosine",
        ema=EMA,
        identity=False,
    )


def keeping_tones(recipe: Recipe) -> Recipe:
    """A recipe of relative losses with twice the content loss and four times the tone loss.

    Otherwise a style on a frozen trunk lowers the style loss by giving up the photograph's light
    and dark, and pictures look embossed.
    """
    if not recipe.relative:
        return recipe
    return replace(
        recipe, content_weight=2 * recipe.content_weight, tone_weight=4 * recipe.tone_weight
    )


def can_be_quick(recipe: Recipe) -> bool:
    """Whether the bundled loss network has the layers of a recipe, and its losses are relative."""
    layers = {*recipe.content_layers, *recipe.style_layers}
    return recipe.relative and layers <= set(DistilledConfig().layers)


def quick_name(picture: Path) -> str:
    """A pack's name from a file's name, or `UNNAMED` if that gives none."""
    with suppress(UsageError, PackError):
        name = pack_name(picture)
        return name if name != IDENTITY else UNNAMED
    return UNNAMED


def learned_at_once(picture: Path, trunk: str | Path | None, device: torch.device) -> Path:
    """The pack of a picture's style in the cache, learned first if necessary.

    Raises:
        StylepackError: as `QuickStyle.of` and `QuickStyle.learn`.
    """
    style = QuickStyle.of(picture, trunk)
    for _ in style.learn(device):
        pass
    return style.file
