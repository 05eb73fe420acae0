"""How much of its time training waits for photographs, and how fast they come by themselves.

python tests/benchmarks/photographs.py PHOTOS [cpu|cuda] [UPDATES] [CROP]

The real loop: `Trainer` over `Batches`, batch 4, 10 styles, the loss network VGG-16 to relu4_3
with random weights, which take as long as trained ones.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from loss_network import random_vgg

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource, load_loss_network
from stylepack.memory import available_memory, processors
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.recipe import Recipe
from stylepack.training.dataset import Batches, Decoder, PhotoFolder
from stylepack.training.run import CACHE_SHARE
from stylepack.training.trainer import Trainer

STYLES = 10
RECIPE = Recipe(
    loss_network="vgg16",
    content_layers=("relu3_3",),
    style_layers=("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    layer_weights=(),
    scales=1,
)


def random_trainer(
    recipe: Recipe,
    device: torch.device,
    *,
    compiled: bool = False,
    source: WeightSource | None = None,
) -> Trainer:
    """A trainer of ten random paintings, its loss network from `source` or of random weights."""
    torch.manual_seed(recipe.seed)
    layers = (*recipe.content_layers, *recipe.style_layers)
    with tempfile.TemporaryDirectory() as place:
        if source is None:
            path = Path(place) / "vgg.safetensors"
            source = WeightSource(random_vgg(path, recipe.loss_network, layers))
        vgg = load_loss_network(recipe, source, device, training_dtype(device))
    side = recipe.style_side
    objective = Objective(vgg, recipe, [torch.rand(3, side, side) for _ in range(STYLES)])
    trunk = Trunk().to(device)
    styles = trunk.config.neutral_style().repeat(STYLES, 1).to(device)
    return Trainer(trunk, styles, objective, recipe, frozen=False, compiled=compiled)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else BUNDLED_PHOTOS
    device = torch.device(sys.argv[2] if len(sys.argv) > 2 else "cpu")
    updates = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    crop = int(sys.argv[4]) if len(sys.argv) > 4 else 256
    recipe = replace(RECIPE, updates=updates, crop=crop, photo_side=3 * crop // 2)
    photos = PhotoFolder.open(folder)
    threads = torch.get_num_threads()
    print(f"{device}, {processors()} processors, {threads} threads, torch {torch.__version__}")
    print(f"{len(photos.paths)} photographs, batch {recipe.batch} at {crop} px")

    alone = replace(recipe, updates=400 // recipe.batch)
    decoder = Decoder(recipe.photo_side, int(CACHE_SHARE * available_memory()))
    for name in ("decoded", "kept in memory"):
        start = time.perf_counter()
        count = sum(len(batch.photos) for batch in Batches(photos, alone, STYLES, decoder=decoder))
        print(f"{count / (time.perf_counter() - start):7.0f} photographs a second, {name}")

    trainer = random_trainer(recipe, device)
    warm = Batches(photos, replace(recipe, updates=2), STYLES)
    list(trainer.steps(warm))
    batches = Batches(photos, recipe, STYLES, pinned=device.type == "cuda")
    start = time.perf_counter()
    done = len(list(trainer.steps(batches)))
    spent = time.perf_counter() - start
    print(f"{done / spent:7.2f} updates a second, {batches.waited / spent:.2%} of the time waiting")


if __name__ == "__main__":
    main()
