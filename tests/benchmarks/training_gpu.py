"""Everything about the speed of training on one card, in one run.

python tests/benchmarks/training_gpu.py [cuda|cpu] [UPDATES] [CROP] [PHOTOS]

Batch 4, 10 styles, VGG-16 to relu4_3 with random weights, which take as long as trained ones, and
no border, lattice or hatching term.
Prints the ratio to the usual loop on the same card, the time of 40,000 updates extrapolated from
the real loop (photographs, checkpointless), the share of the card's bfloat16 rate, the floor that
the products of an update set, and what the time goes to.  `cpu 2 64` runs it in small anywhere.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from baseline import machine
from loss_network import random_vgg
from photographs import RECIPE, STYLES, random_trainer
from torch.profiler import ProfilerActivity, profile
from training import usual_step

from stylepack.network.device import fast_products
from stylepack.network.trunk import TrunkConfig
from stylepack.packs.shelf import BUNDLED_PHOTOS
from stylepack.training.features import parameter_shapes
from stylepack.training.loss_network import WeightSource
from stylepack.training.machine import available_memory
from stylepack.training.photos import Batch, Batches, Decoder, PhotoFolder
from stylepack.training.recipe import Recipe, RecipeChanges
from stylepack.training.run import CACHE_SHARE

WHOLE = 40_000  # updates of the papers
ROUNDS = 3


def trunk_flops(crop: int) -> float:
    """Operations of the trunk on one image: two for each product, as it computes them."""
    total, side = 0.0, float(crop)
    for name, c_in, c_out, kernel in TrunkConfig().convolutions():
        if name in ("conv2", "conv3"):
            side /= 2
        if name.startswith("up"):
            side *= 2
        # Doubling and a 3x3 convolution are one transposed convolution: 4 products, not 9.
        products = 4 if name.startswith("up") else kernel**2
        total += 2 * products * c_in * c_out * side**2
    return total


def vgg_flops(recipe: Recipe, crop: int, deepest: str) -> float:
    """Operations of the loss network on one image, down to a layer."""
    shapes = parameter_shapes(recipe.loss_network, [deepest])
    return sum(
        2 * shape[0] * shape[1] * 9 * (crop / 2 ** (int(name[4]) - 1)) ** 2
        for name, shape in shapes.items()
        if name.endswith("weight")
    )


def gram_flops(recipe: Recipe, crop: int) -> float:
    """Operations of the Gram matrices of one image."""
    widths = dict(zip("12345", (64, 128, 256, 512, 512), strict=True))
    return sum(
        2 * widths[layer[4]] ** 2 * (crop / 2 ** (int(layer[4]) - 1)) ** 2
        for layer in recipe.style_layers
    )


def step_flops(recipe: Recipe, crop: int) -> float:
    """Operations of one update: forward, the gradient of inputs, that of weights where trained."""
    trunk, gram = trunk_flops(crop), gram_flops(recipe, crop)
    painted = vgg_flops(recipe, crop, recipe.style_layers[-1])
    plain = vgg_flops(recipe, crop, recipe.content_layers[-1])
    return recipe.batch * (3 * trunk + 2 * painted + plain + 2 * gram)


def matmul_rate(device: torch.device, side: int) -> float:
    """Operations a second of a square bfloat16 product."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    spent = min(timed(lambda: a @ a, device) for _ in range(10))
    return 2 * side**3 / spent


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds, the card's queue emptied before and after."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def against_the_usual(recipe: Recipe, device: torch.device, crop: int, steps: int) -> None:
    layers = (*recipe.content_layers, *recipe.style_layers)
    with tempfile.TemporaryDirectory() as place:
        path = random_vgg(Path(place) / "vgg.safetensors", recipe.loss_network, layers)
        usual = usual_step(WeightSource(path), device, recipe)
    photos = torch.randint(0, 256, (recipe.batch, 3, crop, crop), dtype=torch.uint8)
    draws = [Batch(n, photos, torch.randint(STYLES, (recipe.batch,))) for n in range(steps)]
    contenders: dict[str, Callable[[Batch], object]] = {"usual": usual}
    for name, compiled in (("ours, eager", False), ("ours, compiled", device.type == "cuda")):
        trainer = random_trainer(recipe, device, compiled=compiled)
        contenders[name] = trainer.step
    times: dict[str, list[float]] = {name: [] for name in contenders}
    with fast_products(device):
        for turn in range(ROUNDS + 1):
            for name, step in contenders.items():
                spent = timed(lambda step=step: [step(draw) for draw in draws], device)
                if turn:
                    times[name].append(spent / steps)
    best = {name: min(found) for name, found in times.items()}
    for name, spent in best.items():
        print(f"{name:16} {1 / spent:8.2f} updates a second, {best['usual'] / spent:5.2f}x")


def real_loop(recipe: Recipe, device: torch.device, folder: Path) -> float:
    photos = PhotoFolder.open(folder)
    trainer = random_trainer(recipe, device, compiled=device.type == "cuda")
    decoder = Decoder(recipe.photo_side, int(CACHE_SHARE * available_memory()))
    pinned = device.type == "cuda"
    warm = recipe.changed(RecipeChanges(updates=min(40, recipe.updates)))
    list(trainer.steps(Batches(photos, warm, STYLES, decoder=decoder, pinned=pinned)))
    batches = Batches(photos, recipe, STYLES, decoder=decoder, pinned=pinned)
    spent = timed(lambda: list(trainer.steps(batches)), device)
    print(*trainer.journal.notices, sep="\n", end="\n" if trainer.journal.notices else "")
    each = spent / recipe.updates
    print(f"the real loop: {1 / each:.2f} updates a second, {batches.waited / spent:.2%} waiting")
    print(f"{WHOLE:,} updates: {WHOLE * each / 60:.1f} minutes")
    return each


def spending(recipe: Recipe, device: torch.device, crop: int) -> None:
    trainer = random_trainer(recipe, device)
    photos = torch.randint(0, 256, (recipe.batch, 3, crop, crop), dtype=torch.uint8)
    batch = Batch(0, photos, torch.randint(STYLES, (recipe.batch,)))
    trainer.step(batch)
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if device.type == "cuda" else []
    with profile(activities=kinds) as found, fast_products(device):
        timed(lambda: [trainer.step(batch) for _ in range(3)], device)
    key = f"self_{'cuda' if device.type == 'cuda' else 'cpu'}_time_total"
    print("what three eager updates spend their time on:")
    print(found.key_averages().table(sort_by=key, row_limit=12, max_name_column_width=50))


def main() -> None:
    default = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else default)
    updates = int(sys.argv[2]) if len(sys.argv) > 2 else 400
    crop = int(sys.argv[3]) if len(sys.argv) > 3 else 256
    folder = Path(sys.argv[4]) if len(sys.argv) > 4 else BUNDLED_PHOTOS
    recipe = RECIPE.changed(RecipeChanges(updates=updates, crop=crop, photo_side=3 * crop // 2))
    print(machine(device.type))
    print(f"batch {recipe.batch} at {crop} px, {STYLES} styles, VGG-16 to relu4_3")
    against_the_usual(recipe, device, crop, min(updates, 50))
    each = real_loop(recipe, device, folder)
    rate = matmul_rate(device, 8192 if device.type == "cuda" else 1024)
    work = step_flops(recipe, crop)
    print(f"one update is {work / 1e12:.3f} TFLOP, the card multiplies {rate / 1e12:.1f} TFLOP/s")
    print(f"floor {1000 * work / rate:.2f} ms, ours {1000 * each:.2f} ms: {work / rate / each:.1%}")
    spending(recipe, device, crop)


if __name__ == "__main__":
    main()
