"""Updates a second of `add-style` with the bundled loss network and with VGG-19, in turn.

python tests/benchmarks/loss_network.py

VGG-19 has random weights: they take as long as trained ones, and need no download.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file

from stylepack.bundled import BUNDLED_PHOTOS, BUNDLED_TRUNK
from stylepack.losses.vgg import parameter_shapes, plan
from stylepack.losses.weights import WeightSource
from stylepack.recipe import Recipe
from stylepack.training.finetune import CROP, POOL, Finetune, finetune_recipe
from stylepack.training.paintings import describe

WARM, TIMED, ROUNDS = 3, 8, 3


def random_vgg(path: Path, network: str = "vgg19", layers: Sequence[str] = ("relu5_1",)) -> Path:
    """A VGG of random weights down to the deepest of `layers`, under torchvision's names."""
    steps, weights = plan(network, layers), {}
    for name, shape in parameter_shapes(network, layers).items():
        step, kind = name.rsplit("_", 1)
        weights[f"features.{steps.index(step)}.{kind}"] = torch.randn(shape) * 0.03
    save_file(weights, path)
    return path


def main() -> None:
    device = torch.device("cpu")
    painting = describe(BUNDLED_PHOTOS / "coffee.png", "coffee", {})
    works = {}
    with tempfile.TemporaryDirectory() as place:
        vgg = random_vgg(Path(place) / "vgg.safetensors")
        for name, source in (("vgg19", WeightSource(vgg)), ("bundled", WeightSource())):
            recipe = finetune_recipe(Recipe(loss_network=name), 10_000)  # type: ignore[arg-type]
            works[name] = Finetune(painting, BUNDLED_PHOTOS, BUNDLED_TRUNK, recipe, source, device)
    batches = {name: iter(work._batches()) for name, work in works.items()}
    for name, work in works.items():  # until every batch has been drawn and has its targets
        for _ in range(POOL + WARM):
            batch = next(batches[name])
        work.trainer.step(batch)
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(ROUNDS):
        for name, work in works.items():
            for _ in range(TIMED):
                batch = next(batches[name])
                start = time.perf_counter()
                work.trainer.step(batch)
                times[name].append(time.perf_counter() - start)
    middle = {name: sorted(found)[len(found) // 2] for name, found in times.items()}
    print(f"{torch.get_num_threads()} threads, torch {torch.__version__}")
    for name, seconds in middle.items():
        print(f"{name:8} {1 / seconds:5.2f} updates a second")
    print(f"bundled / vgg19: {middle['vgg19'] / middle['bundled']:.2f}")
    for name, work in works.items():
        trainer = work.trainer
        photos = torch.rand(4, 3, CROP, CROP)
        styles = torch.zeros(4, dtype=torch.long)
        targets = trainer.objective.content_targets(photos)
        found = []
        for _ in range(TIMED):
            painted = torch.rand(4, 3, CROP, CROP, requires_grad=True)
            start = time.perf_counter()
            trainer.objective(painted, photos, styles, targets=targets).total.backward()  # type: ignore[no-untyped-call]
            found.append(time.perf_counter() - start)
        print(f"{name:8} the losses alone, with their gradient: {1000 * min(found):.0f} ms")


if __name__ == "__main__":
    main()
