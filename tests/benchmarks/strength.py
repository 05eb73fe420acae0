"""Content and style loss of every bundled pack at `--strength` 0 to 1 in steps of 0.1.

python tests/benchmarks/strength.py PHOTOS PAINTINGS VGG_WEIGHTS

Content loss should rise and style loss fall.  Then how much of photographs the identity style
gives back by itself; strength 0 adds the rest.
"""

import sys
from itertools import pairwise
from pathlib import Path

import torch

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.images.formats import find_images
from stylepack.images.photo import Photo, read_photo, resized
from stylepack.lab.evaluate import psnr
from stylepack.lab.references import match
from stylepack.library.resolve import resolve
from stylepack.losses.weights import WeightSource
from stylepack.recipe import Recipe
from stylepack.training.held_out import SHORT_SIDE
from stylepack.training.paintings import objective_for, read_paintings

STRENGTHS = [step / 10 for step in range(11)]
PHOTOS = 8


def main() -> None:
    photos, paintings, weights = map(Path, sys.argv[1:4])
    device = torch.device("cpu")
    packs = resolve([]).load().packs
    contenders = [c for c in match(packs, read_paintings(paintings))[0] if c.painting]
    objective = objective_for(
        Recipe(), WeightSource(weights), [c.painting for c in contenders], device
    )
    images = [resized(path, SHORT_SIDE)[None] for path in find_images(photos)[:PHOTOS]]
    targets = [objective.content_targets(image) for image in images]
    for index, contender in enumerate(contenders):
        content, style = [], []
        for strength in STRENGTHS:
            stylizer = Stylizer.load(contender.name, strength=strength, device="cpu")
            found = []
            for image, target in zip(images, targets, strict=True):
                painted = stylizer.paint(Photo.from_float(image[0])).to_float()[None]
                with torch.no_grad():
                    which = torch.tensor([index])
                    terms = objective(painted, image, which, targets=target)
                found.append((terms.content.item(), terms.style.item()))
            content.append(sum(c for c, _ in found) / len(found))
            style.append(sum(s for _, s in found) / len(found))
        rises = all(a <= b for a, b in pairwise(content))
        falls = all(a >= b for a, b in pairwise(style))
        print(f"{contender.name:12} content {'rises' if rises else 'DOES NOT RISE'}:", end="")
        print(*(f"{value:.3f}" for value in content))
        print(f"{'':12} style   {'falls' if falls else 'DOES NOT FALL'}:", end="")
        print(*(f"{value:.3f}" for value in style), flush=True)
    identity = Stylizer.load("photo", device="cpu")
    named = {path.name: read_photo(path) for path in find_images(BUNDLED_PHOTOS)}
    held_out = {f"photograph {n}": Photo.from_float(image[0]) for n, image in enumerate(images)}
    for name, photo in (named | held_out).items():
        found = psnr(identity.paint(photo).to_float()[None], photo.to_float()[None])
        print(f"the identity style, {name}: {found:.1f} dB")


if __name__ == "__main__":
    main()
