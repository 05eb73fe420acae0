"""A folder of 64 photographs at 1 megapixel against the network alone, in one process.

python tests/benchmarks/folder.py
"""

import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.images.photo import SaveOptions, read_photo
from stylepack.inference.strips import paint_streaming
from stylepack.painting.batch import Painter
from stylepack.painting.jobs import plan_jobs

COUNT, SIZE = 64, (1152, 864)


def main() -> None:
    painter = Stylizer.load("starry", device="cpu")
    with tempfile.TemporaryDirectory() as place:
        photos = Path(place) / "photos"
        photos.mkdir()
        with Image.open(BUNDLED_PHOTOS / "china.jpg") as image:
            large = image.resize(SIZE)
            for index in range(COUNT):
                large.save(photos / f"{index}.jpg", quality=92)
        pixels = read_photo(photos / "0.jpg").pixels
        with torch.inference_mode():
            style = painter.style
            paint_streaming(painter.trunk, style, pixels, painter.memory, int8=painter.int8)
            start = time.perf_counter()
            for _ in range(COUNT):
                paint_streaming(painter.trunk, style, pixels, painter.memory, int8=painter.int8)
            alone = time.perf_counter() - start
        jobs = plan_jobs([str(photos)], str(Path(place) / "out"))
        start = time.perf_counter()
        outcomes = list(Painter(painter, SaveOptions()).paint_all(jobs, workers=2))
        together = time.perf_counter() - start
    assert all(outcome.error is None for outcome in outcomes)
    print(
        f"network alone {COUNT / alone:.2f} a second, folder {COUNT / together:.2f} a second: "
        f"{alone / together:.0%}"
    )


if __name__ == "__main__":
    main()
