"""Everything that a graphics card is to prove, in one go.

python tests/benchmarks/card.py OUT [--data FOLDER] [--minutes 9] [--only PART,...] [--rehearse]

FOLDER has photos/, paintings/, the loss network loss-network-vgg19-16x.safetensors or what
--vgg-weights names, and wheels of whatever the machine lacks (platformdirs).  Each part runs in a
process of its own with an end to its time, and none needs another's success.  What it finds
is in OUT at once: results.txt, results.jsonl (one fact a line), log.txt (all that was printed), and
trained.tar.gz (the trunk, its packs and how they were made).  --rehearse does all of it in small
on the CPU, with pictures that it makes up; --no-compile leaves torch.compile out.  The exit code
is 1 if a part failed.
"""

import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = REPOSITORY / "tests" / "benchmarks"
LOSS_NETWORK = "loss-network-vgg19-16x.safetensors"
FIVE_BLOCKS = """\
base = "default"
loss_network = "bundled"
"""
SIZES = """\
batch = 2
crop = 32
photo_side = 48
style_side = 48
"""
VGG16 = """\
base = "johnson"
tv_weight = 0.0
"""
# What a card changes: files whose commands take the device that is there, or that pretend one.
TESTS = (
    *("training/test_compiled", "inference/test_strips", "network/test_trunk"),
    *("network/test_convolution", "losses/test_functional", "losses/test_vgg"),
    *("training/test_trainer", "cli/test_add_style", "painting/test_batch"),
    *("painting/test_stylizer", "lab/test_evaluate", "training/test_run", "test_signals"),
    "training/test_distributed",
)
PRETENDED = "cuda or host or compiled_in_one_piece"  # of tests: those with fake or meta tensors
LARGEST = 15 << 20  # bytes of a file that is brought back
PACE = re.compile(r"([\d.]+) a second; ([\d.]+)% of the time")
GLOO = """\
import torch.distributed as dist
begin = dist.init_process_group
dist.init_process_group = lambda backend=None, **more: begin("gloo", **more)
from stylepack.__main__ import main
main()
"""

Fact = tuple[str, object]


class PartError(Exception):
    """A part, or a command of one, that did not end well; one line."""


@dataclass(frozen=True)
class Plan:
    """What a part is to do, and with what; `seconds` is how long it has."""

    out: Path
    work: Path  # a folder that goes afterwards
    data: Path
    recipe: str
    weights: Path | None
    start_from: str
    rehearse: bool
    compiled: bool
    seconds: float

    @property
    def device(self) -> str:
        return "cpu" if self.rehearse else "cuda"

    @property
    def training(self) -> list[str]:
        """`stylepack train` with all but its paintings and what is to be done."""
        weights = [] if self.weights is None else ["--vgg-weights", str(self.weights)]
        start = ["--start-from", self.start_from] if self.start_from else []
        compiled = [] if self.compiled else ["--no-compile"]
        words = ["--photos", str(self.data / "photos"), "--recipe", self.recipe, *weights]
        return stylepack("train", *words, *start, "--device", self.device, *compiled)

    def run(self, command: Sequence[object], seconds: float | None = None) -> str:
        """Run a command to its end and give back what it said.

        Raises:
            PartError: it took too long or exited with another code than 0.
        """
        with Running(command, self.out / "log.txt") as running:
            return running.ended(seconds or self.seconds)


class Running:
    """A command in a process group of its own, which leaving the block ends; it writes to a log."""

    def __init__(self, command: Sequence[object], log: Path) -> None:
        self.words = [str(word) for word in command]
        self.log = log.open("a+", encoding="utf-8", errors="replace")
        self.log.write(f"\n$ {' '.join(self.words)}\n")
        self.log.flush()
        self.first = log.stat().st_size
        self.process = subprocess.Popen(
            self.words, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        for way in (signal.SIGTERM, signal.SIGKILL):  # with the first, parts end what they began
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, way)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(3)
        self.log.close()

    def said(self) -> str:
        """What it has written so far, and others to the same log."""
        with Path(self.log.name).open("rb") as log:
            log.seek(self.first)
            return log.read().decode(errors="replace")

    def ended(self, seconds: float, codes: Sequence[int] = (0,)) -> str:
        """Wait for its end; what it said.

        Raises:
            PartError: it took too long or exited with none of these codes.
        """
        try:
            code = self.process.wait(max(seconds, 1))
        except subprocess.TimeoutExpired:
            raise PartError(f"{self._name} took longer than {seconds:.0f} s") from None
        if code not in codes:
            last = (self.said().strip().splitlines() or ["nothing was said"])[-1]
            raise PartError(f"{self._name} exited with {code}: {last[:300]}")
        return self.said()

    @property
    def _name(self) -> str:
        return " ".join(Path(word).name for word in self.words[:6])


def stylepack(*words: object) -> list[str]:
    return [sys.executable, "-m", "stylepack", *map(str, words)]


def rates(plan: Plan) -> Iterator[Fact]:
    """What the machine is, how fast it multiplies and copies."""
    import torch
    from card_training import matmul_rate, timed

    device = torch.device(plan.device)
    yield "torch", torch.__version__
    yield "processors", len(os.sched_getaffinity(0))
    if device.type == "cuda":
        card = torch.cuda.get_device_properties(0)
        yield "card", card.name
        yield "GB", card.total_memory / 1e9
        yield "cuDNN", torch.backends.cudnn.version()
    yield "TFLOP/s in bfloat16", matmul_rate(device, 512 if plan.rehearse else 8192) / 1e12
    a = torch.ones(1 << (20 if plan.rehearse else 31), dtype=torch.uint8, device=device)
    b = torch.empty_like(a)
    copied = min(timed(lambda: b.copy_(a), device) for _ in range(10))
    yield "TB/s copied, read and written", 2 * len(a) / copied / 1e12


def tests(plan: Plan) -> Iterator[Fact]:
    """The tests that want a card, then those that a card changes."""
    os.environ["STYLEPACK_TEST_DEVICE"] = plan.device
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short"]
    end = time.monotonic() + plan.seconds
    folder = REPOSITORY / "tests"
    runs = {"on this device": [folder / "inference" / "test_cuda.py"]}
    if plan.rehearse:
        pretending = [folder / f"{name}.py" for name in TESTS[:2]]
        runs["pretending a card"] = [*pretending, "-k", PRETENDED]
    else:
        import importlib.util

        many = importlib.util.find_spec("xdist") is not None
        parallel = ["-n", min(12, os.cpu_count() or 1)] if many else []
        names = (folder / f"{name}.py" for name in TESTS)
        runs["that a card changes"] = [*(path for path in names if path.exists()), *parallel]
    failures = []
    for name, words in runs.items():
        try:
            said = plan.run([*pytest, *words], end - time.monotonic())
            yield name, said.strip().splitlines()[-1]
        except PartError as error:
            yield name, str(error)
            failures.append(name)
    if failures:
        raise PartError(f"tests {' and '.join(failures)} failed; log.txt has them")


def training(plan: Plan) -> Iterator[Fact]:
    """Updates a second of the five-block loss network and of a VGG-16, each beside the usual loop.

    Both compile at the same time; then one is timed after the other.
    """
    end = time.monotonic() + plan.seconds
    failures = []
    running = {}
    for network in ("five-block", "vgg16"):
        command = [*own_command(plan), "--part", "speed", "--network", network]
        running[network] = Running(command, plan.out / "log.txt")
    try:
        while any(
            one.process.poll() is None and not (plan.work / f"{network}.ready").exists()
            for network, one in running.items()
        ):
            if time.monotonic() > end - plan.seconds / 4:
                break
            time.sleep(0.05)
        for network, one in running.items():
            (plan.work / f"{network}.go").touch()
            try:
                one.ended(end - time.monotonic())
            except PartError as error:
                failures.append(f"{network}: {error}")
    finally:
        for one in running.values():
            one.__exit__()
    yield "networks timed", len(running) - len(failures)
    if failures:
        raise PartError("; ".join(failures))


def speed(plan: Plan, network: str) -> Iterator[Fact]:
    """One loss network's part of `training`; waits for its turn once it has compiled."""
    import torch
    from card_training import Ways, spending

    from stylepack.recipe import load_recipe

    recipe, weights = load_recipe(plan.recipe), plan.weights
    if network == "vgg16":
        recipe, weights = vgg16(plan)
    if weights is None:
        from stylepack.bundled import BUNDLED_LOSS_NETWORK

        weights = BUNDLED_LOSS_NETWORK
    device = torch.device(plan.device)
    updates = 4 if plan.rehearse else 60
    ways = Ways(recipe, weights, device, compiled=plan.compiled, updates=updates)
    (plan.work / f"{network}.ready").touch()
    while not (plan.work / f"{network}.go").exists():
        time.sleep(0.05)
    for name, value in ways.measured():
        yield f"{network}, {name}", value
    last = list(ways.trainers)[-1]
    for name, value in spending(ways.trainers[last].step, ways.draws, device):
        yield f"{network}, {last}, {name}", value


def vgg16(plan: Plan) -> tuple[object, Path]:
    """The recipe with a VGG-16, and weights: random ones where the data has none."""
    from loss_network import random_vgg

    from stylepack.recipe import load_recipe

    path = plan.work / "vgg16.toml"
    path.write_text(VGG16 + SIZES * plan.rehearse)
    recipe = load_recipe(str(path))
    given = plan.data / "vgg16.safetensors"
    layers = (*recipe.content_layers, *recipe.style_layers)
    if given.exists():
        return recipe, given
    return recipe, random_vgg(plan.work / "vgg16.safetensors", "vgg16", layers)


def trunk(plan: Plan) -> Iterator[Fact]:
    """A trunk and its packs, of as many updates as there is time for.

    It is begun for more, stopped once its pace is known, and gone on with to the number that fits.
    """
    begun, run = time.monotonic(), plan.work / "trained"
    styles = ["--styles", str(plan.data / "paintings")]
    rare = ["--sheet-every", "2000", "--checkpoint-every", "2000"]
    whole = ["--updates", "40000"]
    with Running([*plan.training, *styles, *rare, *whole, "-o", run], plan.out / "log.txt") as one:
        first = begun + (8.0 if plan.rehearse else min(60.0, 0.3 * plan.seconds))
        while one.process.poll() is None and time.monotonic() < begun + 0.6 * plan.seconds:
            learning = (run / "checkpoint.safetensors").exists()
            if learning and time.monotonic() > first:
                break
            time.sleep(0.2)
        one.process.send_signal(signal.SIGINT)
        said = one.ended(90, codes=(0, 130))
    done = last_update(run)
    pace, waiting = PACE.findall(said)[-1] if PACE.search(said) else (0, 0)
    left = plan.seconds - (time.monotonic() - begun) - 50  # to begin again, to measure and write
    more = 4 if plan.rehearse else max(1, int(0.93 * float(pace) * left))
    updates = min(40_000, done + more)
    yield "updates until the stop", done
    yield "updates a second, the first group apart", float(pace)
    yield "of the time waiting for photographs, %", float(waiting)
    going_on = stylepack("train", "--resume", run, "--updates", updates, "--device", plan.device)
    said = plan.run(going_on, plan.seconds - (time.monotonic() - begun))
    if found := PACE.findall(said):
        yield "updates a second, gone on with", float(found[-1][0])
        yield "of the time waiting for photographs then, %", float(found[-1][1])
    yield "updates in all", last_update(run)
    yield "seconds in all", time.monotonic() - begun
    yield "packs", len(list((run / "packs").iterdir()))
    yield "bytes brought back", packed(run, plan.out / "trained.tar.gz")


def last_update(run: Path) -> int:
    with (run / "losses.csv").open(newline="") as file:
        return max((int(row["update"]) for row in csv.DictReader(file)), default=0)


def packed(run: Path, archive: Path) -> int:
    """Put what matters of a run into an archive of at most `LARGEST` bytes; its size."""
    sheets = sorted((run / "sheets").glob("*.png"))[-1:]
    named = ("trunk.safetensors", "recipe.toml", "run.json", "README.md", "losses.png")
    wanted = [*(run / name for name in named), *sorted((run / "packs").iterdir())]
    wanted += [*sheets, run / "progress.png", run / "losses.csv"]
    size = 0
    with tarfile.open(archive, "w:gz") as tar:
        for path in wanted:
            if path.is_file() and size + path.stat().st_size <= LARGEST:
                tar.add(path, str(path.relative_to(run.parent)))
                size += path.stat().st_size
    return archive.stat().st_size


def network(plan: Plan) -> Iterator[Fact]:
    """The network at four sizes, `apply` on a folder, and `add-style`."""
    from network import GPU_SIZES, measured

    sizes = {"64x48": (48, 64)} if plan.rehearse else GPU_SIZES
    for row in measured(plan.device, sizes):
        what = f"{row.size} {row.precision}"
        yield f"{what}, images a second", 1 / row.ours
        yield f"{what}, times the usual network", row.times_usual
        yield f"{what}, times the bare convolutions' time", row.over_convolutions
    yield from folder(plan)
    painting = min((plan.data / "paintings").glob("*.*g"))
    small = ["--updates", 2, "--recipe", plan.recipe, "--photos", plan.data / "photos"]
    words = ["--name", "card", "--loss-network", "bundled", "--device", plan.device]
    start = time.monotonic()
    plan.run(stylepack("add-style", painting, *words, *(small if plan.rehearse else [])))
    yield "add-style, seconds", time.monotonic() - start


def folder(plan: Plan) -> Iterator[Fact]:
    """`apply` on few and on many photographs: the difference is without the start."""
    from PIL import Image

    from stylepack.bundled import BUNDLED_PHOTOS

    few, many, size = (1, 3, (64, 48)) if plan.rehearse else (4, 68, (1152, 864))
    with Image.open(BUNDLED_PHOTOS / "china.jpg") as image:
        photo = image.convert("RGB").resize(size)
    spent = {}
    for count in (few, many):
        place = plan.work / f"folder-{count}"
        place.mkdir()
        for index in range(count):
            photo.save(place / f"{index}.jpg", quality=92)
        start = time.monotonic()
        words = [
            "--style",
            "starry",
            "--device",
            plan.device,
            "--jobs",
            min(8, os.cpu_count() or 1),
        ]
        plan.run(stylepack("apply", place, *words, "-o", plan.work / f"painted-{count}"))
        spent[count] = time.monotonic() - start
    yield f"apply on {many} of {size[0]}x{size[1]}, seconds with the start", spent[many]
    each = max(spent[many] - spent[few], 1e-3) / (many - few)
    yield "apply on a folder, photographs a second without the start", 1 / each


def ranks(plan: Plan) -> Iterator[Fact]:
    """Two processes on the one card: NCCL, which may refuse that, else Gloo; against one alone."""
    begun = time.monotonic()
    styles = made_up(plan.work / "two", 2) if plan.rehearse else few_paintings(plan)
    script = plan.work / "gloo.py"
    script.write_text(GLOO)
    updates, places = (2, "cpu") if plan.rehearse else (20, "cuda:0")
    after_m = plan.training[3:]  # train and its options
    words = [*after_m, "--styles", styles, "--updates", updates, "--device", places, "--no-compile"]
    words += ["--batch", 2]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    torchrun += ["--nproc-per-node", 2]
    ways = {
        "alone": [sys.executable, "-m", "stylepack"],
        "two by NCCL": [*torchrun, "-m", "stylepack"],
        "two by Gloo": [*torchrun, script],
    }
    if plan.rehearse:
        del ways["two by NCCL"]
    losses: dict[str, list[float]] = {}
    for name, start in ways.items():
        if name == "two by Gloo" and "two by NCCL" in losses:
            break
        run = plan.work / name.replace(" ", "-")
        left = plan.seconds - (time.monotonic() - begun)
        try:
            plan.run([*start, *words, "-o", run], left / 2)
        except PartError as error:
            yield name, str(error)
            continue
        with (run / "losses.csv").open(newline="") as file:
            losses[name] = [float(row["style_loss"]) for row in csv.DictReader(file)]
        yield name, "trained"
    if len(losses) < 2:
        raise PartError("two processes have not trained together")
    one, two = losses.values()
    yield (
        "largest difference of their losses",
        max(abs(a - b) / max(a, 1e-6) for a, b in zip(one, two, strict=True)),
    )


def few_paintings(plan: Plan) -> Path:
    """A folder with the first two paintings."""
    place = plan.work / "two"
    place.mkdir()
    for path in sorted((plan.data / "paintings").glob("*.jpg"))[:2]:
        (place / path.name).write_bytes(path.read_bytes())
    return place


# Name, what it does, and the seconds it has at most: on a card, in rehearsal.
PARTS: dict[str, tuple[Callable[[Plan], Iterator[Fact]], int, int]] = {
    "rates": (rates, 25, 30),
    "tests": (tests, 100, 90),
    "training": (training, 150, 150),
    "trunk": (trunk, 300, 90),
    "network": (network, 75, 60),
    "ranks": (ranks, 60, 60),
}


def own_command(plan: Plan) -> list[str]:
    """This script for one part, by a plan."""
    words = [sys.executable, __file__, plan.out, "--data", plan.data, "--work", plan.work]
    words += ["--recipe", plan.recipe, "--start-from", plan.start_from]
    words += ["--vgg-weights", plan.weights] if plan.weights else []
    words += ["--seconds", plan.seconds]
    words += ["--rehearse"] * plan.rehearse + ["--no-compile"] * (not plan.compiled)
    return [str(word) for word in words]


def tell(out: Path, part: str, name: str, value: object) -> None:
    """Write one fact."""
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps({"part": part, "name": name, "value": value}) + "\n")
    shown = f"{value:.4g}" if isinstance(value, float) else str(value)
    with (out / "results.txt").open("a") as file:
        file.write(f"{part}: {name}: {shown}\n")


def run_part(plan: Plan, part: str, network_name: str) -> int:
    """Do one part in this process."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        work = speed(plan, network_name) if part == "speed" else PARTS[part][0](plan)
        for name, value in work:
            tell(plan.out, part.replace("speed", "training"), name, value)
    except PartError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def run_all(plan: Plan, names: Sequence[str], minutes: float) -> int:
    """Each part in a process of its own, in as much time as the later ones leave it."""
    begun = time.monotonic()
    limits = {name: PARTS[name][2 if plan.rehearse else 1] for name in names}
    failed = []
    for place, name in enumerate(names):
        start = time.monotonic()
        later = sum(limits[other] for other in names[place + 1 :])
        seconds = min(limits[name], max(20, begun + 60 * minutes - start - later))
        own = replace(plan, seconds=seconds)
        try:
            # Its own commands end before it does.
            plan.run([*own_command(own), "--part", name], seconds + 5)
        except PartError as error:
            failed.append(name)
            tell(plan.out, name, "failed", str(error))
        tell(plan.out, name, "seconds", time.monotonic() - start)
    tell(plan.out, "all", "failed", failed or "nothing")
    return 1 if failed else 0


def made_up(folder: Path, count: int, size: tuple[int, int] = (72, 64)) -> Path:
    """A folder of smooth random pictures."""
    import random

    from PIL import Image

    folder.mkdir(parents=True)
    draw = random.Random(folder.name)
    for index in range(count):
        coarse = Image.frombytes("RGB", (4, 4), draw.randbytes(48))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{folder.name}{index}.jpg")
    return folder


def prepare(plan: Plan) -> None:
    """Make up what a rehearsal needs, and see to it that the package can be imported anywhere."""
    if plan.rehearse:
        made_up(plan.data / "photos", 6)
        made_up(plan.data / "paintings", 2)
    if plan.recipe == str(plan.work / "recipe.toml"):
        Path(plan.recipe).write_text(FIVE_BLOCKS + SIZES * plan.rehearse)
    site = plan.work / "site" / "stylepack-0.dist-info"  # its version, where it is not installed
    site.mkdir(parents=True)
    (site / "METADATA").write_text("Metadata-Version: 2.1\nName: stylepack\nVersion: 0\n")
    wheels = sorted(plan.data.glob("*.whl"))
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    paths = [REPOSITORY, *wheels, *filter(None, known), site.parent]
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        "PYTHONUNBUFFERED": "1",
        "STYLEPACK_HOME": str(plan.work / "home"),
        "TORCHINDUCTOR_CACHE_DIR": str(plan.work / "inductor"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, default=REPOSITORY / ".card")
    parser.add_argument("--recipe", default="", help="name or file; five blocks if left out")
    parser.add_argument("--vgg-weights", type=Path, help=f"DATA/{LOSS_NETWORK} if it is there")
    parser.add_argument("--start-from", default="", help="a trunk; random weights if left out")
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, with commas between")
    parser.add_argument("--rehearse", action="store_true", help="in small, on the CPU")
    parser.add_argument("--no-compile", action="store_true")
    for name, kind in (("--part", str), ("--network", str), ("--seconds", float), ("--work", Path)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory(prefix="card-") as place:
        work = given.work or Path(place)
        data = work / "data" if given.rehearse else given.data.absolute()
        if not given.part and not given.rehearse and not (data / "photos").is_dir():
            parser.error(f"there is no {data}/photos; give a folder with --data, or --rehearse")
        weights = given.vgg_weights
        if weights is None and not given.recipe and (data / LOSS_NETWORK).exists():
            weights = data / LOSS_NETWORK
        plan = Plan(
            given.out.absolute(),
            work,
            data,
            given.recipe or str(work / "recipe.toml"),
            weights and weights.absolute(),
            given.start_from,
            given.rehearse,
            not given.no_compile,
            given.seconds or 60 * given.minutes,
        )
        if given.part:
            return run_part(plan, given.part, given.network)
        plan.out.mkdir(parents=True, exist_ok=True)
        prepare(plan)
        code = run_all(plan, names, given.minutes)
        print((plan.out / "results.txt").read_text())
        return code


if __name__ == "__main__":
    sys.exit(main())
