"""Patterns of pixels in what the bundled packs paint, which neither painting nor photograph has.

python tests/benchmarks/lattice.py [PHOTOS [TRUNK PACKS [PAINTINGS]]]

Every photograph, with a short side of 320 pixels, is painted and cut into tiles of 4x4 pixels, the
step of the network's two doublings.  Printed are, over all photographs, the mean tile of a picture,
less its own mean, as a root mean square of 255; and the squared steps from one tile to the next,
over those from any pixel to the next.  Beside them the same for tiles of 5x5, which the network
knows nothing of: what pictures without a lattice have.  With paintings also the `hatching_loss`: 0
where nothing finer than four pixels is stronger than in the painting and the photograph together.
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
from stylepack.training.losses import fine_energies, fine_waves, hatching_loss, mean_tile
from stylepack.training.paintings import read_paintings
from stylepack.training.photos import resized
from stylepack.training.recipe import Recipe

SHORT_SIDE = 320
SIDES = (STRIDE, STRIDE + 1)
WAVES = fine_waves()


def weave(picture: Tensor, side: int) -> float:
    """Mean square of the pattern that a (1, 3, H, W) picture in 0..1 repeats, in 0..255."""
    return mean_tile(255 * picture, side).square().mean().item()


def edges(picture: Tensor, side: int) -> float:
    """Mean squared steps between tiles over those of all, down and across."""
    steps = [picture.diff(dim=axis).square() for axis in (2, 3)]
    between = (steps[0][:, :, side - 1 :: side], steps[1][..., side - 1 :: side])
    shares = [
        (some.mean() / every.mean()).item() for some, every in zip(between, steps, strict=True)
    ]
    return sum(shares) / 2


@torch.no_grad()
def main() -> None:
    words = list(map(Path, sys.argv[1:]))
    folder = words[0] if words else BUNDLED_PHOTOS
    trunk_file, packs = words[1:3] if len(words) > 2 else (BUNDLED_TRUNK, BUNDLED_PACKS)
    paintings = {p.name: p.path for p in read_paintings(words[3])} if len(words) > 3 else {}
    trunk, _ = load_trunk(trunk_file)
    photos = [resized(path, SHORT_SIDE)[None] for path in find_images(folder)]
    print(f"{len(photos)} photographs, torch {torch.__version__}")
    heads = [f"{what} {side}x{side}" for what in ("weave", "edges") for side in SIDES]
    heads += ["hatching"] * bool(paintings)
    print(f"{'pack':12}" + "".join(f"{head:>12}" for head in heads))
    for path in sorted(packs.glob("*.safetensors")):
        pack = load_pack(path, trunk.config)
        own = None
        if pack.manifest.name in paintings:
            painting = resized(paintings[pack.manifest.name], Recipe().style_side)
            own = fine_energies(painting[None], WAVES)
        found = []
        for photo in photos:
            image = photo.to(training_dtype(photo.device))
            picture = trunk(image, pack.style, pack.manifest.own_contrast).float()
            found.append([measure(picture, side) for measure in (weave, edges) for side in SIDES])
            if own is not None:
                allowed = own + fine_energies(photo, WAVES)
                found[-1].append(hatching_loss(fine_energies(picture, WAVES), allowed).item())
        woven, beside, *rest = torch.tensor(found).mean(0).tolist()
        values = [woven**0.5, beside**0.5, *rest]
        print(f"{path.stem:12}" + "".join(f"{value:12.2f}" for value in values), flush=True)


if __name__ == "__main__":
    main()
