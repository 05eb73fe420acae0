"""Weights of loss networks: bundled, from a file, cached or downloaded by torchvision."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http.client import HTTPException
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from stylepack.bundled import BUNDLED_LOSS_NETWORK
from stylepack.errors import TrainingError, UsageError, first_line, option
from stylepack.files import make_folder
from stylepack.library.shelf import MOVE_HOME, cache_folder
from stylepack.library.transaction import staging
from stylepack.losses.distilled import Distilled, DistilledConfig, load_distilled
from stylepack.losses.vgg import INPUT_SCALES, VGG, plan
from stylepack.packs.tensors import write_tensors
from stylepack.recipe import Recipe

SCALE_KEY = "stylepack.vgg_input"
SCALE_OF = {"IMAGENET1K_V1": "imagenet", "IMAGENET1K_FEATURES": "caffe"}


@dataclass(frozen=True)
class WeightSource:
    """The weights to load.

    `file`: `.safetensors`, or `.pth` read with weights_only; None takes torchvision's.
    `scale`: the file's input normalization, `caffe` or `imagenet`; None takes it from the file's
    metadata, else `caffe`.
    """

    file: Path | None = None
    scale: str | None = None


LossNetwork = VGG | Distilled


def load_loss_network(
    recipe: Recipe, source: WeightSource, device: torch.device, dtype: torch.dtype
) -> LossNetwork:
    """The recipe's loss network, frozen, its convolutions in `dtype`.

    Raises:
        UsageError: no such file, or it lacks one of the recipe's layers.
        PackError: the file of a distilled network is damaged.
        TrainingError: torchvision's weights are not cached and cannot be downloaded.
    """
    if recipe.loss_network != "bundled":
        return load_vgg(recipe, source, device, dtype)
    file = source.file or BUNDLED_LOSS_NETWORK
    layers = (*recipe.content_layers, *recipe.style_layers)
    return load_distilled(file, layers, dtype).to(device)


def without_download(recipe: Recipe, source: WeightSource) -> Recipe:
    """The recipe with a loss network that needs no download, if there is one.

    Its own network if the weights are given or cached, else the bundled one if that has all layers.
    """
    layers = (*recipe.content_layers, *recipe.style_layers)
    if recipe.loss_network == "bundled" or source.file or cache_path(recipe, layers).exists():
        return recipe
    bundled_has_all = set(layers) <= set(DistilledConfig().layers)
    return replace(recipe, loss_network="bundled") if bundled_has_all else recipe


def load_vgg(
    recipe: Recipe,
    source: WeightSource,
    device: torch.device,
    dtype: torch.dtype,
    layers: Sequence[str] = (),
) -> VGG:
    """The recipe's VGG for `layers`, by default the recipe's: see `load_loss_network`."""
    layers = tuple(layers) or (*recipe.content_layers, *recipe.style_layers)
    file, scale = source.file, source.scale
    if file is None:
        file, scale = cached_weights(recipe, layers), SCALE_OF[recipe.weights]
    weights, noted = read_weights(file)
    vgg = VGG(recipe.loss_network, layers, scale or noted or "caffe").load(weights, file)
    # The input is normalized in float32 and cast afterwards, so mean and deviation stay float32.
    for name, buffer in vgg.named_buffers():
        if name.startswith("conv"):
            setattr(vgg, name, buffer.to(dtype))
    return vgg.to(device).eval()


def read_weights(file: Path) -> tuple[dict[str, Tensor], str | None]:
    """(tensors by torchvision's names, input normalization in the file's metadata or None)."""
    if not file.is_file():
        raise UsageError(
            f"no such file: {file}; {option('vgg_weights')} takes a .safetensors or .pth file"
        )
    try:
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as opened:
                noted = (opened.metadata() or {}).get(SCALE_KEY)
                weights = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            return weights, noted if noted in INPUT_SCALES else None
        loaded = torch.load(file, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, ValueError, EOFError, KeyError) as error:
        raise TrainingError(
            f"cannot read VGG weights from {file}: {first_line(error)}; get a fresh copy"
        ) from error
    except Exception as error:  # torch wraps whatever the unpickler raises
        raise TrainingError(
            f"{file} is not a plain file of tensors; give one of torchvision's"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise TrainingError(f"{file} does not hold a dictionary of tensors")
    return loaded, None


def cache_path(recipe: Recipe, layers: tuple[str, ...]) -> Path:
    """The cached file of the recipe's VGG up to the deepest of `layers`."""
    deepest = plan(recipe.loss_network, layers)[-1]
    return cache_folder() / f"{recipe.loss_network}-{recipe.weights}-{deepest}.safetensors"


def cached_weights(recipe: Recipe, layers: tuple[str, ...]) -> Path:
    """The cached file of torchvision's weights up to the deepest of `layers`; downloaded once."""
    path = cache_path(recipe, layers)
    if path.exists():
        return path
    make_folder(path.parent, MOVE_HOME)
    state = _torchvision_weights(recipe)
    kept = {
        f"features.{index}.{kind}": state[f"features.{index}.{kind}"]
        for index, step in enumerate(plan(recipe.loss_network, layers))
        if step.startswith("conv")
        for kind in ("weight", "bias")
    }
    write_tensors(path, kept, {SCALE_KEY: SCALE_OF[recipe.weights]})
    return path


def _torchvision_weights(recipe: Recipe) -> dict[str, Tensor]:
    models = import_torchvision_models()
    family = {"vgg16": models.VGG16_Weights, "vgg19": models.VGG19_Weights}[recipe.loss_network]
    if recipe.weights not in family.__members__:
        raise UsageError(
            f"torchvision has no {recipe.loss_network} weights {recipe.weights}; it has "
            f"{', '.join(family.__members__)}"
        )
    entry = family[recipe.weights]
    # Half a gigabyte, of which the cache keeps the first blocks; `staging` removes the rest.
    with staging(cache_folder(), MOVE_HOME) as stage:
        try:
            state: dict[str, Tensor] = entry.get_state_dict(
                progress=True, check_hash=True, model_dir=str(stage.path)
            )
        except (OSError, RuntimeError, HTTPException) as error:
            raise TrainingError(
                f"cannot fetch the {recipe.loss_network} weights ({first_line(error)}); download "
                f"{entry.url} and give the file with {option('vgg_weights')}"
            ) from error
    return state


def import_torchvision_models() -> ModuleType:
    """The module torchvision.models.

    Raises:
        TrainingError: torchvision is missing, or was built for another torch.
    """
    try:
        return importlib.import_module("torchvision.models")
    except (ImportError, RuntimeError, OSError, AttributeError) as error:
        try:
            found = f"torchvision {version('torchvision')}"
        except PackageNotFoundError:
            found = "no torchvision"
        raise TrainingError(
            f"{found} does not work with torch {torch.__version__}; run: "
            "pip install --upgrade --force-reinstall torch torchvision "
            f"(or give the weights as a file with {option('vgg_weights')})"
        ) from error
