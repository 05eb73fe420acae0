"""Peak memory and time a pixel at 1, 12 and 100 megapixels.

python tests/benchmarks/memory.py [PRECISION]

Each size is painted in a process of its own; the memory is above that of a bare
interpreter with torch.
"""

import resource
import subprocess
import sys
import time

SIZES = {"1": (1000, 1000), "12": (3000, 4000), "100": (10_000, 10_000)}


def paint(precision: str, height: int, width: int) -> None:
    """Print seconds and peak bytes of painting one image of noise."""
    import torch

    bare = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if height:
        from stylepack import Stylizer
        from stylepack.images.photo import Photo

        painter = Stylizer.load("starry", device="cpu", precision=precision)
        painter.paint(Photo(torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)))
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        start = time.perf_counter()
        painter.paint(Photo(image))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(time.perf_counter() - start, (peak - bare) * 1024)


def main(precision: str) -> None:
    first = None
    for label, (height, width) in SIZES.items():
        command = [sys.executable, __file__, precision, str(height), str(width)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        taken, peak = map(float, done.stdout.split())
        rate = taken / (height * width)
        first = first or rate
        print(
            f"{label:>4} MP  {taken:8.2f}s  {rate * 1e9:7.1f} ns a pixel ({rate / first:.2f}x)  "
            f"peak {peak / 1e9:.2f} GB"
        )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        paint(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    else:
        main(*sys.argv[1:] or ["auto"])
