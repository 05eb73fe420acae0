"""The lattice of 4x4 pixels in what the bundled packs paint: the step of the two doublings.

python tests/benchmarks/lattice.py [PHOTOS [TRUNK PACKS]]

Every photograph, with a short side of 320 pixels, is painted and cut into tiles of 4x4 pixels.
Printed are, over all photographs, the mean tile of a picture, less its own mean, as a root mean
square of 255; and the squared steps from one tile to the next, over those from any pixel to the
next.  Beside them the same for tiles of 5x5, which the network knows nothing of: what pictures
without a lattice have.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from stylepack.network.device import training_dtype
from stylepack.network.trunk import STRIDE
from stylepack.packs.pack import load_pack
from stylepack.packs.shelf import BUNDLED_PACKS, BUNDLED_PHOTOS, BUNDLED_TRUNK
from stylepack.packs.trunkfile import load_trunk
from stylepack.pictures.imagefile import find_images
from stylepack.training.losses import mean_tile
from stylepack.training.photos import resized

SHORT_SIDE = 320
SIDES = (STRIDE, STRIDE + 1)


def weave(picture: Tensor, side: int) -> float:
    """Mean square of the pattern that a (1, 3, H, W) picture in 0..255 repeats."""
    return mean_tile(picture, side).square().mean().item()


def edges(picture: Tensor, side: int) -> float:
    """Mean squared steps between tiles over those of all, down and across."""
    steps = [picture.diff(dim=axis).square() for axis in (2, 3)]
    between = (steps[0][:, :, side - 1 :: side], steps[1][..., side - 1 :: side])
    return sum(
        (one.mean() / all_.mean()).item() / 2 for one, all_ in zip(between, steps, strict=True)
    )


WHAT = {"weave": weave, "edges": edges}


@torch.no_grad()
def main() -> None:
    folder, trunk_file, packs = BUNDLED_PHOTOS, BUNDLED_TRUNK, BUNDLED_PACKS
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
    if len(sys.argv) > 3:
        trunk_file, packs = Path(sys.argv[2]), Path(sys.argv[3])
    trunk, _ = load_trunk(trunk_file)
    photos = [resized(path, SHORT_SIDE)[None] for path in find_images(folder)]
    print(f"{len(photos)} photographs, torch {torch.__version__}")
    print(
        f"{'pack':12}"
        + "".join(f"{f'{what} {side}x{side}':>12}" for what in WHAT for side in SIDES)
    )
    for path in sorted(packs.glob("*.safetensors")):
        pack = load_pack(path, trunk.config)
        found = []
        for photo in photos:
            image = photo.to(training_dtype(photo.device))
            picture = 255 * trunk(image, pack.style, pack.manifest.own_contrast).float()
            found.append([measure(picture, side) for measure in WHAT.values() for side in SIDES])
        woven, beside, *apart = torch.tensor(found).mean(0).tolist()
        values = [woven**0.5, beside**0.5, *apart]
        print(f"{path.stem:12}" + "".join(f"{value:12.2f}" for value in values), flush=True)


if __name__ == "__main__":
    main()
