"""Whole processes: `stylepack apply` on a 512x512 JPEG against the usual script, in turn.

python tests/benchmarks/process.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from stylepack.bundled import BUNDLED_PHOTOS

RUNS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        photo, out = Path(place) / "photo.jpg", Path(place) / "out.jpg"
        with Image.open(BUNDLED_PHOTOS / "astronaut.png") as image:
            image.resize((512, 512)).save(photo)
        usual = [sys.executable, str(Path(__file__).parent / "baseline.py"), str(photo), str(out)]
        ours = [sys.executable, "-m", "stylepack", "apply", str(photo), "-o", str(out)]
        ours += ["--style", "starry"]
        times: dict[str, list[float]] = {"usual": [], "ours": []}
        for run in range(RUNS + 1):
            for name, command in (("usual", usual), ("ours", ours)):
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                if run:
                    times[name].append(time.perf_counter() - start)
    usual_time, our_time = (sorted(found)[RUNS // 2] for found in times.values())
    print(f"usual {usual_time:.2f}s  ours {our_time:.2f}s  ratio {our_time / usual_time:.2f}")


if __name__ == "__main__":
    main()
