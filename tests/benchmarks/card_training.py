"""The speed of training on one card, and what an update's time goes to.

python tests/benchmarks/card_training.py [cuda|cpu] [CROP] [RECIPE.toml] [LOSS_NETWORK]

Batch 4, 10 styles; without a recipe VGG-16 to relu4_3 with random weights, which take as long as
trained ones, and no border, lattice or hatching term.  Each way of training in turn, in one
process: updates a second and the ratio to the usual loop, the card's bfloat16 rate and the share
of it that an update's products take, and the kernels of an update by kind.  `cpu 64` runs it in
small anywhere; `card.py` runs it with the rest.
"""

import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import torch
from baseline import machine
from loss_network import random_vgg
from photographs import RECIPE, STYLES, random_trainer
from torch.profiler import DeviceType, ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from training import usual_step

from stylepack.losses.weights import WeightSource
from stylepack.network.device import fast_products
from stylepack.recipe import Recipe, load_recipe
from stylepack.training.dataset import Batch
from stylepack.training.trainer import Trainer

WHOLE = 40_000  # updates of the papers
WARM = 4  # updates: compiling, recording the graphs, and a first replay
ROUNDS = 3
PROFILED = 5  # updates
KINDS = {  # of kernels, by their names; the first that fits
    "fused passes": "triton",
    "copies": "memcpy|memset|copy_|_to_copy|clone",
    "convolutions": "conv|cudnn|fprop|dgrad|wgrad|mkldnn",
    "matrix products": r"gemm|nvjet|cutlass|::mm|bmm|addmm",
    "optimiser": "adam|multi_tensor|foreach|lerp",
    "reductions": "reduce|sum|norm|mean|var",
    "other passes": "",
}

Step = Callable[[Batch], object]
Fact = tuple[str, object]


class Ways:
    """The usual loop and ours, plain and compiled, on the same draws: iterate `measured()`.

    `compiled` says whether to go through torch.compile too, which takes a minute.  Making one
    warms all of them up.
    """

    def __init__(
        self, recipe: Recipe, weights: Path, device: torch.device, *, compiled: bool, updates: int
    ) -> None:
        self.recipe, self.device = recipe, device
        self.source = WeightSource(weights)
        self.trainers = {"ours, eager": self.trainer()}
        if compiled:
            with without_graphs(device):
                self.trainers["ours, compiled"] = trainer = self.trainer(compiled=True)
            if device.type == "cpu":  # as traced, oneDNN finds no way back in bfloat16
                trainer.dtype = torch.float32
        if compiled and device.type == "cuda":
            self.trainers["ours, compiled, graphs"] = self.trainer(compiled=True)
        self.steps: dict[str, Step] = {"usual": usual_step(self.source, device, recipe)}
        self.steps |= {name: trainer.step for name, trainer in self.trainers.items()}
        torch.manual_seed(0)
        size = (recipe.batch, 3, recipe.crop, recipe.crop)
        photos = torch.randint(0, 256, size, dtype=torch.uint8)
        photos = photos.pin_memory() if device.type == "cuda" else photos
        styles = [torch.randint(STYLES, (recipe.batch,)) for _ in range(updates)]
        self.draws = [Batch(n, photos, own) for n, own in enumerate(styles)]
        with fast_products(device):
            self.first = {
                name: [self._loss(trainer.step(draw)) for draw in self.draws[:WARM]]
                for name, trainer in self.trainers.items()
            }
            for draw in self.draws[:WARM]:
                self.steps["usual"](draw)

    def trainer(self, *, compiled: bool = False) -> Trainer:
        return random_trainer(self.recipe, self.device, compiled=compiled, source=self.source)

    @staticmethod
    def _loss(step: object) -> float:
        return float(step.losses[4, 0])  # type: ignore[attr-defined]

    def measured(self) -> Iterator[Fact]:
        """Facts by name, the most select_channels first."""
        spent = self._seconds()
        for name, seconds in spent.items():
            yield f"{name}, updates a second", 1 / seconds
        best = min(seconds for name, seconds in spent.items() if name != "usual")
        yield "times the usual loop", spent["usual"] / best
        yield f"minutes for {WHOLE:,} updates", WHOLE * best / 60
        with FlopCounterMode(display=False) as counter:
            self.trainers["ours, eager"].step(self.draws[0])
        work = counter.get_total_flops()
        rate = matmul_rate(self.device, 8192 if self.device.type == "cuda" else 512)
        yield "TFLOP of an update", work / 1e12
        yield "TFLOP/s of the card, measured", rate / 1e12
        yield "share of that rate", work / rate / best
        for name, losses in self.first.items():
            pairs = zip(losses, self.first["ours, eager"], strict=True)
            yield f"{name}, losses apart from eager's", max(abs(a - b) / b for a, b in pairs)
        for name, trainer in self.trainers.items():
            if trainer.journal.notices:
                yield f"{name}, notices", trainer.journal.notices

    def _seconds(self) -> dict[str, float]:
        """Median seconds an update, each way in turn."""
        found: dict[str, list[float]] = {name: [] for name in self.steps}
        with fast_products(self.device):
            for _ in range(ROUNDS):
                for name, step in self.steps.items():
                    whole = timed(
                        lambda step=step: [step(draw) for draw in self.draws], self.device
                    )
                    found[name].append(whole / len(self.draws))
        return {name: statistics.median(times) for name, times in found.items()}


@contextmanager
def without_graphs(device: torch.device) -> Iterator[None]:
    """Where torch.compile is asked to record CUDA graphs too it only compiles.

    On the CPU it only traces: its compiler takes minutes there, and gains nothing.
    """
    compile_only = torch.compile
    backend = "inductor" if device.type == "cuda" else "aot_eager"

    def plainly(work: Step, mode: str | None = None, **more: object) -> Step:
        return compile_only(work, backend=backend, **more)  # type: ignore[call-overload]

    with mock.patch.object(torch, "compile", plainly):
        yield


def matmul_rate(device: torch.device, side: int) -> float:
    """Operations a second of a square bfloat16 product."""
    a = torch.randn(side, side, device=device, dtype=torch.bfloat16)
    return 2 * side**3 / min(timed(lambda: a @ a, device) for _ in range(10))


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Seconds, the card's queue emptied before and after."""
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - start


def spending(step: Step, draws: list[Batch], device: torch.device) -> Iterator[Fact]:
    """What an update's time goes to, in words, and its slowest kernels."""
    on_card = device.type == "cuda"
    kinds = [ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * on_card]
    with fast_products(device):
        each = timed(lambda: [step(draw) for draw in draws], device) / len(draws)
        with profile(activities=kinds) as found:
            timed(lambda: [step(draw) for draw in draws[:PROFILED]], device)
    kernels = [
        (row.key, (row.self_device_time_total if on_card else row.self_cpu_time_total), row.count)
        for row in found.key_averages()
        if (row.device_type == DeviceType.CUDA) == on_card
    ]
    busy = sum(time for _, time, _ in kernels)
    shares = dict.fromkeys(KINDS, 0.0)
    for name, time_of_all, _ in kernels:
        kind = next(kind for kind, names in KINDS.items() if re.search(names, name.lower()))
        shares[kind] += time_of_all / busy
    told = sorted(shares.items(), key=lambda one: -one[1])
    count = sum(count for _, _, count in kernels) // PROFILED
    computing = busy / PROFILED / 1e6
    yield (
        "in words",
        f"an update takes {1000 * each:.2f} ms, of which {count} kernels take "
        f"{1000 * computing:.2f} ms ({computing / each:.0%}); of their time "
        + ", ".join(f"{share:.0%} {kind}" for kind, share in told),
    )
    for name, time_of_all, count in sorted(kernels, key=lambda one: -one[1])[:12]:
        yield f"{time_of_all / busy:.1%} in {count // PROFILED or 1} of", name[:90]


def main() -> None:
    default = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(sys.argv[1] if len(sys.argv) > 1 else default)
    crop = int(sys.argv[2]) if len(sys.argv) > 2 else 256
    recipe = load_recipe(sys.argv[3]) if len(sys.argv) > 3 else RECIPE
    recipe = replace(recipe, crop=crop, photo_side=3 * crop // 2, style_side=crop)
    layers = (*recipe.content_layers, *recipe.style_layers)
    weights = Path(sys.argv[4]) if len(sys.argv) > 4 else Path("/tmp/vgg16-random.safetensors")
    if len(sys.argv) <= 4:
        random_vgg(weights, recipe.loss_network, layers)
    on_card = device.type == "cuda"
    print(f"{machine(device.type)}; batch {recipe.batch} at {crop} px, {STYLES} styles")
    ways = Ways(recipe, weights, device, compiled=on_card, updates=50 if on_card else 5)
    last = list(ways.trainers.values())[-1]
    for name, value in [*ways.measured(), *spending(last.step, ways.draws, device)]:
        print(f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}")


if __name__ == "__main__":
    main()
