"""The weave of 4x4 pixels that the bundled packs paint all over pictures.

python tests/benchmarks/lattice.py [PHOTOS [TRUNK PACKS]]

Every photograph, with a short side of 320 pixels, is painted and cut into tiles of 4x4 pixels:
the step of the network's two doublings.  The mean tile of a picture, less its own mean, is printed
as a root mean square of 255, over the photographs and colours.  Beside it the same for tiles of
5x5, a step that the network does not have: what pictures without a weave have left.
"""

import sys
from pathlib import Path

import torch

from stylepack.network.device import training_dtype
from stylepack.network.trunk import STRIDE
from stylepack.packs.pack import load_pack
from stylepack.packs.shelf import BUNDLED_PACKS, BUNDLED_PHOTOS, BUNDLED_TRUNK
from stylepack.packs.trunkfile import load_trunk
from stylepack.pictures.imagefile import find_images
from stylepack.training.losses import mean_tile
from stylepack.training.photos import resized

SHORT_SIDE = 320
STEPS = (STRIDE, STRIDE + 1)


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
    print(f"{'pack':12}" + "".join(f"{f'{step} pixels':>10}" for step in STEPS))
    for path in sorted(packs.glob("*.safetensors")):
        pack = load_pack(path, trunk.config)
        squares = []
        for photo in photos:
            image = photo.to(training_dtype(photo.device))
            painted = trunk(image, pack.style, pack.manifest.own_contrast).float()
            squares.append([mean_tile(255 * painted, step).square().mean() for step in STEPS])
        found = torch.tensor(squares).mean(0).sqrt()
        print(f"{path.stem:12}" + "".join(f"{value:10.2f}" for value in found.tolist()), flush=True)


if __name__ == "__main__":
    main()
