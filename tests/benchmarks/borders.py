"""Bands that the bundled packs paint along the sides of pictures.

python tests/benchmarks/borders.py [PHOTOS [TRUNK PACKS]]

Every photograph, with a short side of 320 pixels, is painted whole and without 64 pixels on
every side.  For each side: by how much the mean colours of rows or columns within 32 pixels of it
differ from what they are in the middle of the whole picture, less the difference of the whole,
as a root mean square of 255, and the photographs' mean.  Pictures without bands have some 5 to 10:
what happens to stand along one side.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor

from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.packs.pack import Pack, load_pack
from stylepack.packs.shelf import BUNDLED_PACKS, BUNDLED_PHOTOS, BUNDLED_TRUNK
from stylepack.packs.trunkfile import load_trunk
from stylepack.pictures.imagefile import find_images
from stylepack.training.losses import along_sides, half
from stylepack.training.photos import resized

SHORT_SIDE, CUT, DEPTH = 320, 64, 32
SIDES = ("top", "bottom", "left", "right")


@torch.no_grad()
def bands(trunk: Trunk, pack: Pack, photo: Tensor) -> list[float]:
    """The four sides' of one (3, H, W) photograph."""
    image = photo[None].to(training_dtype(photo.device))
    inside = (..., slice(CUT, -CUT), slice(CUT, -CUT))
    style, own = pack.style, pack.manifest.own_contrast
    apart = trunk(image[inside], style, own).float() - trunk(image, style, own).float()[inside]
    sides = along_sides(255 * half(half(half(apart))), DEPTH // 8)
    return [side.square().mean().sqrt().item() for side in sides]


def main() -> None:
    folder, trunk_file, packs = BUNDLED_PHOTOS, BUNDLED_TRUNK, BUNDLED_PACKS
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
    if len(sys.argv) > 3:
        trunk_file, packs = Path(sys.argv[2]), Path(sys.argv[3])
    trunk, _ = load_trunk(trunk_file)
    photos = [resized(path, SHORT_SIDE) for path in find_images(folder)]
    photos = [photo[:, : photo.shape[1] // 8 * 8, : photo.shape[2] // 8 * 8] for photo in photos]
    print(f"{len(photos)} photographs, torch {torch.__version__}")
    print(f"{'pack':12}" + "".join(f"{side:>8}" for side in SIDES))
    for path in sorted(packs.glob("*.safetensors")):
        pack = load_pack(path, trunk.config)
        found = torch.tensor([bands(trunk, pack, photo) for photo in photos]).mean(0)
        print(f"{path.stem:12}" + "".join(f"{value:8.1f}" for value in found.tolist()), flush=True)


if __name__ == "__main__":
    main()
