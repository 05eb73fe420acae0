"""A large photograph painted coarse to fine, as is the default, against `--size full`.

python tests/benchmarks/large.py [PACK ...] [--photo FILE] [--paintings FOLDER]
    [--loss-network FILE] [--precision PRECISION]

Four ratios of each pack, all of them better the smaller but for the third:
- shrunk to a long side of 1,000, its style loss at every layer, over that of the photograph that
  is shrunk first and painted then.  The style is that of the painting of the pack's name; without
  a folder of paintings, the mean of the bundled photographs painted at 1,000;
- the same of `--size full`, for comparison;
- at 1:1, its mean absolute Laplacian over that of `--size full`;
- time (the best of five) and peak memory (the median of five) over those of `--size full`.  Each
  picture is painted in a process of its own, by turns, as the command does.

Without a photograph a bundled one is enlarged to 8 megapixels; without a loss network the
bundled one judges, else `stylepack-loss-v1` files with relu1_1 to relu5_1 can.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.images.formats import find_images
from stylepack.images.photo import Photo, read_photo
from stylepack.inference.kernels import PRECISIONS
from stylepack.losses.functional import style_loss
from stylepack.losses.objective import pyramid_grams
from stylepack.losses.weights import WeightSource, load_loss_network
from stylepack.recipe import Recipe
from stylepack.training.dataset import read_painting

PACKS = ["starry", "scream", "wave"]
SIDE, LARGE_SIDE = 1000, 3840
ROUNDS = 5
BLOCKS = tuple(f"relu{block}_1" for block in range(1, 6))

Grams = dict[str, Tensor]


class Judge:
    """Gram matrices by a loss network, at the first layer of every block of one from a file."""

    def __init__(self, weights: Path | None) -> None:
        layers = BLOCKS if weights else Recipe().style_layers
        recipe = replace(
            Recipe(), loss_network="bundled", scales=1, style_layers=layers, layer_weights=()
        )
        self.recipe = replace(recipe, content_layers=layers[-1:])
        source = WeightSource(weights)
        self.network = load_loss_network(self.recipe, source, torch.device("cpu"), torch.float32)

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Grams:
        """Of (3, H, W) in 0..1."""
        return pyramid_grams(self.network, self.recipe, image[None])[0]

    def style(self, pack: str, paintings: Path | None) -> Grams:
        """What a pack's pictures should look like."""
        if paintings:
            [file] = [file for file in find_images(paintings) if file.stem == pack]
            return self(read_painting(file, self.recipe.style_side))
        painter = Stylizer.load(pack, device="cpu")
        photos = [read_photo(file).resized(SIDE) for file in find_images(BUNDLED_PHOTOS)]
        found = [self(painter.paint(photo).to_float()) for photo in photos]
        return {layer: sum(one[layer] for one in found) / len(found) for layer in found[0]}


def losses(grams: Grams, wanted: Grams) -> Tensor:
    """Relative style losses, layer by layer."""
    found = [style_loss(grams[layer], target, True) for layer, target in wanted.items()]
    return torch.cat(found)


def laplacian(pixels: Tensor) -> float:
    """Mean absolute Laplacian of (3, H, W) uint8, channels averaged, in 0..255."""
    grey = pixels.float().mean(0)
    middle = grey[1:-1, 1:-1]
    around = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:]
    return float((around - 4 * middle).abs().mean())


def paint(pack: str, precision: str, photo: Path, size: str, out: Path) -> None:
    """Paint in this process; print seconds and peak bytes above a bare one's."""
    pixels = torch.load(photo, weights_only=True)
    painter = Stylizer.load(pack, device="cpu", precision=precision)
    painter.paint(Photo(pixels[:, :64, :64].contiguous()))
    bare = peak_bytes()
    start = time.perf_counter()
    painted = painter.paint(Photo(pixels), size=size or None)  # type: ignore[arg-type]
    print(time.perf_counter() - start, peak_bytes() - bare)
    torch.save(painted.pixels, out)


def peak_bytes() -> int:
    """The most memory of this process; `getrusage` may give that of the one that started it."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def elsewhere(
    pack: str, precision: str, photo: Path, size: str, out: Path
) -> tuple[Tensor, float, float]:
    """`paint` in a process of its own: pixels, seconds, bytes."""
    command = [sys.executable, __file__, "--paint", pack, precision, str(photo), size, str(out)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    taken, peak = map(float, done.stdout.split())
    return torch.load(out, weights_only=True), taken, peak


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("packs", nargs="*", default=PACKS)
    for name in ("--photo", "--paintings", "--loss-network"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--precision", choices=PRECISIONS, default="auto")
    chosen = parser.parse_args()
    photo = read_photo(chosen.photo or BUNDLED_PHOTOS / "china.jpg")
    if not chosen.photo:
        photo = photo.resized(LARGE_SIDE)
    judge = Judge(chosen.loss_network)
    print(f"{photo.size[0]}x{photo.size[1]}; style at {', '.join(judge.recipe.style_layers)}")
    with tempfile.TemporaryDirectory() as place:
        large, out = Path(place) / "photo.pt", Path(place) / "out.pt"
        torch.save(photo.pixels, large)
        for pack in chosen.packs:
            wanted = judge.style(pack, chosen.paintings)
            painter = Stylizer.load(pack, device="cpu", precision=chosen.precision)
            shrunk_first = losses(judge(painter.paint(photo.resized(SIDE)).to_float()), wanted)
            rounds = [
                [elsewhere(pack, chosen.precision, large, size, out) for size in ("full", "")]
                for _ in range(ROUNDS)
            ]
            [full, ours] = [pixels for pixels, _, _ in rounds[-1]]
            full_time, our_time = (min(one[way][1] for one in rounds) for way in range(2))
            full_peak, our_peak = (median(one[way][2] for one in rounds) for way in range(2))
            for name, pixels in (("coarse to fine", ours), ("full", full)):
                found = losses(judge(Photo(pixels).resized(SIDE).to_float()), wanted)
                ratios = " ".join(f"{ratio:5.2f}" for ratio in (found / shrunk_first).tolist())
                print(f"{pack:12} {name:14} style {ratios}")
            print(
                f"{pack:12} Laplacian {laplacian(ours) / laplacian(full):.2f}x  "
                f"time {our_time:.2f}s / {full_time:.2f}s = {our_time / full_time:.2f}x  "
                f"peak {our_peak / full_peak:.2f}x of {full_peak / 1e9:.2f} GB",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--paint"]:
        pack, precision, photo, size, out = sys.argv[2:]
        paint(pack, precision, Path(photo), size, Path(out))
    else:
        main()
