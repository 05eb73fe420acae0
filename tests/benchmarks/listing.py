"""`stylepack packs list` with 1,000 installed packs, against a bare `python -c pass`, in turn.

python tests/benchmarks/listing.py
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stylepack.library.shelf import BUNDLED_PACKS

RUNS = 7
PACKS = 1000


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "packs"
        folder.mkdir()
        contents = [path.read_bytes() for path in sorted(BUNDLED_PACKS.iterdir())]
        for index in range(PACKS):
            content = contents[index % len(contents)]
            (folder / f"pack{index:04d}.safetensors").write_bytes(content)
        environment = {**os.environ, "STYLEPACK_HOME": home}
        site = declare(Path(home) / "site", contents)
        listing = [sys.executable, "-m", "stylepack", "packs", "list"]
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "packs list": listing,
            "packs list --json": [*listing, "--json"],
            "packs list -q gogh": [*listing, "-q", "gogh"],
        }
        environments = dict.fromkeys(commands, environment)
        commands["packs list, and one by pip"] = listing
        environments["packs list, and one by pip"] = {**environment, "PYTHONPATH": site}
        times: dict[str, list[float]] = {name: [] for name in commands}
        work: dict[str, list[float]] = {name: [] for name in commands}
        for run in range(RUNS + 1):
            for name, command in commands.items():
                start, before = time.perf_counter(), cpu_seconds()
                subprocess.run(command, check=True, capture_output=True, env=environments[name])
                if run:
                    times[name].append(time.perf_counter() - start)
                    work[name].append(cpu_seconds() - before)
    for name in commands:
        median, cpu = (sorted(found[name])[RUNS // 2] for found in (times, work))
        print(f"{name:26} median {median:.3f}s  best {min(times[name]):.3f}s  cpu {cpu:.3f}s")


def declare(site: Path, contents: list[bytes]) -> str:
    """An installed Python package with the bundled packs in it; the folder that it lies in."""
    info, folder = site / "foo-1.0.dist-info", site / "foo"
    info.mkdir(parents=True)
    folder.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: foo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[stylepack.packs]\nfoo = foo\n")
    for index, content in enumerate(contents):
        (folder / f"foo{index}.safetensors").write_bytes(content)
    return str(site)


def cpu_seconds() -> float:
    """What all children so far have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
