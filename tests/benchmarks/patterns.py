"""What a network paints of its own accord: a weave, tiles and bands along the sides.

python tests/benchmarks/patterns.py [PHOTOS [TRUNK PACKS]]

Every photograph is painted with a short side of 320 pixels.  Printed are means over all of them.

- weave: the mean 4x4 tile of a picture (the step of the network's two doublings) less its own
  mean, a root mean square of 255; beside it the same for tiles of 5x5, which the network knows
  nothing of.
- edges: the squared steps from one tile to the next over those between any two pixels, likewise.
- bands: the photograph is painted again without 64 pixels on every side.  By how much the mean
  colours of rows and columns within 32 pixels of a side differ from the whole picture's at the
  same place, less the difference of all, a root mean square of 255.  Pictures without bands have
  some 5 to 10: what happens to be along one side.
"""

import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from stylepack.bundled import BUNDLED_PHOTOS, BUNDLED_TRUNK
from stylepack.images.formats import find_images
from stylepack.images.photo import resized
from stylepack.library.shelf import BUNDLED_PACKS
from stylepack.network.device import training_dtype
from stylepack.network.trunk import STRIDE, Trunk
from stylepack.packs.pack import Pack, load_pack
from stylepack.packs.trunk_file import load_trunk

SHORT_SIDE, CUT, DEPTH = 320, 64, 32
TILES = (STRIDE, STRIDE + 1)
HEADS = [f"{what} {side}x{side}" for what in ("weave", "edges") for side in TILES]
SIDES = ("top", "bottom", "left", "right")


def weave(picture: Tensor, side: int) -> float:
    """Root mean square of 255 of the tile that a (1, 3, H, W) picture in 0..1 repeats."""
    _, channels, height, width = picture.shape
    rows, columns = height // side, width // side
    whole = 255 * picture[..., : rows * side, : columns * side]
    tile = whole.reshape(channels, rows, side, columns, side).mean(dim=(1, 3))
    return (tile - tile.mean(dim=(1, 2), keepdim=True)).square().mean().sqrt().item()


def edges(picture: Tensor, side: int) -> float:
    """Mean squared steps between tiles over those of all pixels, down and across."""
    steps = [picture.diff(dim=axis).square() for axis in (2, 3)]
    between = (steps[0][:, :, side - 1 :: side], steps[1][..., side - 1 :: side])
    shares = [some.mean() / every.mean() for some, every in zip(between, steps, strict=True)]
    return torch.stack(shares).mean().item()


def bands(whole: Tensor, cut: Tensor) -> list[float]:
    """Root mean squares of 255 along the four sides of (1, 3, H, W) pictures in 0..1."""
    apart = avg_pool2d(255 * (cut - whole[..., CUT:-CUT, CUT:-CUT]), 8)
    apart = apart - apart.mean(dim=(2, 3), keepdim=True)
    rows, columns, depth = apart.mean(3), apart.mean(2), DEPTH // 8
    sides = (rows[..., :depth], rows[..., -depth:], columns[..., :depth], columns[..., -depth:])
    return [side.square().mean().sqrt().item() for side in sides]


@torch.no_grad()
def measured(trunk: Trunk, pack: Pack, photo: Tensor) -> list[float]:
    """Weave, edges and bands of one (3, H, W) photograph."""
    image = photo[None].to(training_dtype(photo.device))
    style, own = pack.style, pack.manifest.own_contrast
    whole = trunk(image, style, own).float()
    cut = trunk(image[..., CUT:-CUT, CUT:-CUT], style, own).float()
    patterns = [measure(whole, side) for measure in (weave, edges) for side in TILES]
    return patterns + bands(whole, cut)


def main() -> None:
    words = [Path(word) for word in sys.argv[1:]]
    folder = words[0] if words else BUNDLED_PHOTOS
    trunk_file, packs = words[1:3] if len(words) > 2 else (BUNDLED_TRUNK, BUNDLED_PACKS)
    trunk, _ = load_trunk(trunk_file)
    photos = [resized(path, SHORT_SIDE) for path in find_images(folder)]
    photos = [photo[:, : photo.shape[1] // 8 * 8, : photo.shape[2] // 8 * 8] for photo in photos]
    print(f"{len(photos)} photographs, torch {torch.__version__}")
    print(f"{'pack':12}" + "".join(f"{head:>11}" for head in (*HEADS, *SIDES)))
    for path in sorted(packs.glob("*.safetensors")):
        pack = load_pack(path, trunk.config)
        found = torch.tensor([measured(trunk, pack, photo) for photo in photos]).mean(0)
        print(f"{path.stem:12}" + "".join(f"{value:11.2f}" for value in found.tolist()), flush=True)


if __name__ == "__main__":
    main()
