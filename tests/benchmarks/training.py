"""Updates a second of training against the usual loop, in turn, on one device.

python tests/benchmarks/training.py [cpu|cuda]
python tests/benchmarks/training.py recipes

The usual loop is that of github.com/pytorch/examples, fast_neural_style: its network, float32,
NCHW, a pass of the loss network over the painted photographs and one over the plain ones, Gram
matrices by bmm, Adam.  Both have the same loss network (VGG-19 to relu3_4 with random weights,
which take as long as trained ones), batch and size, one scale.
Each runs in a process of its own: what stylepack tells the C library about memory must
not help the usual loop.

`recipes` compares an update of `train` and of `add-style` by the default recipe, with the bundled
loss network and trunk's sizes, with one by the recipe before: three blocks of VGG-19, three scales
and a trunk of 32, 64 and 128 channels.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from baseline import UsualNetwork, elsewhere, machine
from loss_network import random_vgg
from torch import Tensor

from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource, load_loss_network
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.recipe import Recipe
from stylepack.training.dataset import Batch
from stylepack.training.finetune import REFINING_CROP
from stylepack.training.initial import untrained_trunk
from stylepack.training.trainer import Trainer

BATCH, CROP, STYLES = 4, 256, 10
WARM, TIMED, ROUNDS = 3, 5, 3


def usual_step(
    weights: WeightSource, device: torch.device, recipe: Recipe | None = None
) -> Callable[[Batch], object]:
    recipe = recipe or Recipe()
    network = UsualNetwork().to(device)
    vgg = load_loss_network(recipe, weights, device, torch.float32)
    vgg = vgg.to(memory_format=torch.contiguous_format)
    adam = torch.optim.Adam(network.parameters(), 1e-3)
    painting = torch.rand(1, 3, recipe.crop, recipe.crop, device=device)
    targets = {layer: gram(x) for layer, x in vgg(painting, recipe.style_layers).items()}

    def step(batch: Batch) -> float:
        photos = batch.photos.to(device).float() / 255
        adam.zero_grad()
        painted = torch.sigmoid(network(photos))
        found, plain = vgg(painted), vgg(photos)
        (content,) = recipe.content_layers
        loss = F.mse_loss(found[content], plain[content])
        for layer, target in targets.items():
            loss = loss + 1e5 * F.mse_loss(gram(found[layer]), target.expand(len(photos), -1, -1))
        loss.backward()
        adam.step()
        return loss.item()

    return step


def gram(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    flat = x.reshape(n, c, h * w)
    return flat.bmm(flat.transpose(1, 2)) / (c * h * w)


def our_step(weights: WeightSource, device: torch.device) -> Callable[[Batch], object]:
    recipe = Recipe(
        scales=1,
        batch=BATCH,
        crop=CROP,
        similarity_weight=0.0,
        tone_weight=0.0,
        palette_weight=0.0,
        color_weight=0.0,
        lattice_weight=0.0,
        hatching_weight=0.0,
    )
    vgg = load_loss_network(recipe, weights, device, training_dtype(device))
    paintings = [torch.rand(3, CROP, CROP) for _ in range(STYLES)]
    trunk = Trunk().to(device)
    styles = trunk.config.neutral_style().repeat(STYLES, 1).to(device)
    trainer = Trainer(trunk, styles, Objective(vgg, recipe, paintings), recipe, frozen=False)
    return lambda batch: trainer.step(batch)


BEFORE = Recipe(
    content_layers=("relu3_2",),
    style_layers=("relu1_2", "relu2_2", "relu3_4"),
    layer_weights=(),
    scales=3,
    similarity_weight=0.0,
    tone_weight=0.0,
    palette_weight=0.0,
    color_weight=0.0,
    widths=(32, 64, 128),
)
NOW = Recipe(loss_network="bundled")


def recipe_step(recipe: Recipe, frozen: bool) -> Callable[[Batch], object]:
    """An update of `train`, or of `add-style` with the trunk frozen."""
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as place:
        given = recipe.loss_network != "bundled"
        file = random_vgg(Path(place) / "vgg.safetensors") if given else None
        losses = load_loss_network(recipe, WeightSource(file), device, training_dtype(device))
    number = 1 if frozen else STYLES
    trunk = untrained_trunk(recipe)
    styles = trunk.config.neutral_style().repeat(number, 1)
    paintings = [torch.rand(3, recipe.style_side, recipe.style_side) for _ in range(number)]
    trainer = Trainer(trunk, styles, Objective(losses, recipe, paintings), recipe, frozen=frozen)

    def step(one: Batch) -> object:
        photos = one.photos[..., : recipe.crop, : recipe.crop]
        return trainer.step(Batch(one.update, photos, torch.arange(BATCH) % number))

    return step


def recipes() -> None:
    """Print updates a second of each, and their ratios."""
    print(f"{machine('cpu')}; batch {BATCH}")
    for what, pair in RECIPES.items():
        rates = []
        for name in pair:
            found = [elsewhere(__file__, "cpu", name) for _ in range(ROUNDS)]
            rates.append(1 / statistics.median(found))
        print(f"{what}: before {rates[0]:.2f}, now {rates[1]:.2f} updates a second", end="")
        print(f": {rates[1] / rates[0]:.1f}x")


def time_steps(kind: str, device: torch.device) -> float:
    """Median seconds an update of one of the two loops."""
    photos = torch.randint(0, 256, (BATCH, 3, CROP, CROP), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as place:
        if kind in LOOPS:
            weights = WeightSource(random_vgg(Path(place) / "vgg.safetensors"))
            step = LOOPS[kind](weights, device)
        else:
            step = recipe_step(*STEPS[kind])
    times = []
    for run in range(WARM + TIMED):
        batch = Batch(run, photos, torch.randint(STYLES, (BATCH,)))
        start = time.perf_counter()
        step(batch)
        if device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM:])


def main() -> None:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    if device == "recipes":
        recipes()
        return
    if len(sys.argv) > 2:
        print(time_steps(sys.argv[2], torch.device(device)))
        return
    print(f"{machine(device)}; batch {BATCH}, {CROP} px, {STYLES} styles, VGG-19 to relu3_4")
    ratios = []
    for _ in range(ROUNDS):
        usual, ours = (elsewhere(__file__, device, kind) for kind in LOOPS)
        ratios.append(usual / ours)
        print(f"usual {1 / usual:.2f}, ours {1 / ours:.2f} updates a second: {ratios[-1]:.2f}x")
    print(f"ours / usual, median: {statistics.median(ratios):.2f}x")


LOOPS = {"usual": usual_step, "ours": our_step}
STEPS = {
    "train before": (BEFORE, False),
    "train now": (NOW, False),
    "add-style before": (BEFORE, True),
    "add-style now": (replace(NOW, crop=REFINING_CROP), True),
}
RECIPES = {what: (f"{what} before", f"{what} now") for what in ("train", "add-style")}

if __name__ == "__main__":
    main()
