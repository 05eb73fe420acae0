"""Losses of a new style over time: `apply --painting`'s first version, then `add-style`'s refining.

python tests/benchmarks/at_once.py PAINTING... [--photos FOLDER] [--count N] [--judge LOSS_NETWORK]

Seconds include loading the trunk, the loss network and the pictures, but not Python's imports.
Losses are means over photographs with a short side of 320 pixels.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from stylepack.bundled import BUNDLED_PHOTOS, BUNDLED_TRUNK
from stylepack.images.photo import resized
from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource
from stylepack.network.trunk import Trunk
from stylepack.packs.trunk_file import load_trunk
from stylepack.recipe import Recipe
from stylepack.training.add_style import planned
from stylepack.training.finetune import Finetune
from stylepack.training.initial import Earlier
from stylepack.training.paintings import Painting, describe, objective_for
from stylepack.training.quick import QuickStyle

CPU = torch.device("cpu")
SHORT_SIDE = 320
EVERY = 10  # updates between two rows
PHOTOGRAPHS = 6  # of a folder, evenly spaced


def measured(
    trunk: Trunk, style: Tensor, judge: Objective, photos: list[Path]
) -> tuple[float, Tensor]:
    """Mean content loss, and (L,) mean style losses by layer."""
    content, layers = [], []
    with torch.no_grad():
        for path in photos:
            photo = resized(path, SHORT_SIDE)[None]
            terms = judge(trunk(photo, style.reshape(1, -1)), photo, torch.zeros(1).long())
            content.append(terms.content.item())
            layers.append(terms.layers[:, 0])
    return sum(content) / len(content), torch.stack(layers).mean(0)


def learned(painting: Painting, folder: Path) -> Iterator[tuple[str, float, Tensor]]:
    """Yield (what, seconds, style): the first version, then every few updates of refining."""
    recipe = Recipe(loss_network="bundled")
    start = time.perf_counter()
    quick = QuickStyle.for_painting(painting, BUNDLED_TRUNK, recipe)
    quick = replace(quick, file=folder / quick.file.name)
    for _ in quick.learn(CPU):
        pass
    earlier = Earlier.of(quick.pack())
    spent = time.perf_counter() - start
    yield "first version", spent, earlier.style
    start = time.perf_counter()
    work = Finetune(
        painting,
        BUNDLED_PHOTOS,
        BUNDLED_TRUNK,
        planned(recipe, None, earlier),
        WeightSource(),
        CPU,
        earlier=earlier,
    )
    for step in work.train():
        if step.done % EVERY == 0:
            spent += time.perf_counter() - start
            yield f"{step.done} updates", spent, work.trainer.average["style"].clone()
            start = time.perf_counter()
    yield "the pack", spent + time.perf_counter() - start, work.best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paintings", nargs="+", type=Path)
    parser.add_argument("--photos", type=Path, default=BUNDLED_PHOTOS)
    parser.add_argument("--count", type=int, default=PHOTOGRAPHS, help="of them, evenly spaced")
    parser.add_argument("--judge", type=Path, help="a loss network (default: the bundled one)")
    options = parser.parse_args()
    found = sorted(p for p in options.photos.iterdir() if p.suffix in (".jpg", ".png"))
    photos = found[:: max(1, len(found) // options.count)][: options.count]
    trunk, _ = load_trunk(BUNDLED_TRUNK)
    recipe = Recipe(loss_network="bundled")
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, {len(photos)} photographs"
    )
    for path in options.paintings:
        painting = describe(path, "painting", {})
        judge = objective_for(recipe, WeightSource(options.judge), [painting], CPU)
        print(f"{path.stem:22} seconds content  " + "  ".join(recipe.style_layers))
        with tempfile.TemporaryDirectory() as folder:
            for what, seconds, style in learned(painting, Path(folder)):
                content, layers = measured(trunk, style, judge, photos)
                row = "   ".join(f"{value:.4f}" for value in layers.tolist())
                print(f"{what:22} {seconds:7.1f} {content:7.3f}  {row}", flush=True)


if __name__ == "__main__":
    main()
