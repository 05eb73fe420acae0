"""Inputs of a study: paintings, photographs and a loss network."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylepack.bundled import BUNDLED_LOSS_NETWORK, BUNDLED_PHOTOS
from stylepack.errors import UsageError, counted
from stylepack.files import fingerprint
from stylepack.lab.evaluate import sampled
from stylepack.lab.study.study import Json
from stylepack.losses.objective import Objective
from stylepack.losses.weights import LossNetwork, WeightSource, load_loss_network
from stylepack.network.device import training_dtype
from stylepack.recipe import Recipe
from stylepack.training.dataset import PhotoFolder, file_sha256, read_painting
from stylepack.training.paintings import Painting, read_paintings


@dataclass(frozen=True)
class Request:
    """The inputs of a study; `photos` None is the bundled photographs."""

    recipe: Recipe
    source: WeightSource
    device: torch.device
    published: bool = False
    styles: Path | None = None
    photos: Path | None = None
    names: tuple[str, ...] = ()

    @property
    def photo_folder(self) -> Path:
        """The folder of the photographs."""
        return self.photos or BUNDLED_PHOTOS

    def settings(self, plan: Json, paintings: Sequence[Painting]) -> Json:
        """Everything that the results depend on, for study.json."""
        return {
            "as_published": self.published,
            "device": self.device.type,
            **plan,
            "recipe": asdict(self.recipe),
            "loss_network": self._weights(),
            "vgg_input": self.source.scale,
            "order": [p.name for p in paintings],
            "paintings": {p.name: p.facts["sha256"] for p in paintings},
        }

    def _weights(self) -> str:
        file = self.source.file
        if file is None:
            bundled = self.recipe.loss_network == "bundled"
            return file_sha256(BUNDLED_LOSS_NETWORK) if bundled else self.recipe.weights
        if not file.is_file():
            raise UsageError(
                f"no such file: {file}; --vgg-weights takes a .safetensors or .pth file"
            )
        return file_sha256(file)

    @property
    def network_in_words(self) -> str:
        """The loss network and the source of its weights."""
        recipe, file = self.recipe, self.source.file
        if recipe.loss_network == "bundled":
            return f"bundled ({file.name if file else 'distilled from VGG-19'})"
        name = {"vgg16": "VGG-16", "vgg19": "VGG-19"}[recipe.loss_network]
        return f"{name} ({file.name if file else recipe.weights})"


def choose_paintings(request: Request, count: int, least: int) -> list[Painting]:
    """The paintings of the request by name, else the first `count` of the folder.

    Raises:
        UsageError: no folder, an unknown name, or fewer paintings than `least`.
    """
    if request.styles is None:
        raise UsageError("paintings are needed; give a folder of them with --styles DIR")
    paintings = {painting.name: painting for painting in read_paintings(request.styles)}
    for name in request.names:
        if name not in paintings:
            raise UsageError(
                f"{request.styles} has no painting '{name}'; it has {', '.join(sorted(paintings))}"
            )
    chosen = request.names or sorted(paintings)[:count]
    if len(chosen) < least:
        raise UsageError(
            f"{counted(len(chosen), 'painting')} of {request.styles}; this study "
            f"needs at least {least}"
        )
    return [paintings[name] for name in chosen]


class Materials:
    """Photographs, split, and one loss network for all objectives.

    Raises:
        UsageError: the folder has fewer photographs than `least`.
    """

    def __init__(self, request: Request, paintings: Sequence[Painting], least: int = 1) -> None:
        self.request = request
        self.recipe = request.recipe
        self.device = request.device
        self.paintings = list(paintings)
        folder = request.photo_folder
        everything = PhotoFolder.open(folder, [p.path for p in paintings])
        if len(everything.paths) < least:
            raise UsageError(
                f"--photos has {len(everything.paths)} photographs; this study needs at least "
                f"{least}, to hold some out"
            )
        self.fingerprint = fingerprint(folder, everything.paths)
        self.photos, held_out = everything.split()
        self.held_out = sampled(held_out)
        self.journal = everything.journal
        self._network: LossNetwork | None = None
        self._pictures: dict[str, Tensor] = {}

    @property
    def network(self) -> LossNetwork:
        """The recipe's loss network, loaded on first use."""
        if self._network is None:
            dtype = training_dtype(self.device)
            self._network = load_loss_network(self.recipe, self.request.source, self.device, dtype)
        return self._network

    def objective(self, paintings: Sequence[Painting]) -> Objective:
        """The recipe's losses against some of the paintings, in order.

        Raises:
            StylepackError: there is no loss network, or it lacks a layer.
        """
        return Objective(self.network, self.recipe, self.pictures(paintings))

    def pictures(self, paintings: Sequence[Painting]) -> list[Tensor]:
        """Paintings at the recipe's size: (3, H, W) RGB in 0..1."""
        for painting in paintings:
            if painting.name not in self._pictures:
                self._pictures[painting.name] = read_painting(painting.path, self.recipe.style_side)
        return [self._pictures[painting.name] for painting in paintings]
