"""Time of the network alone: python tests/benchmarks/network.py [cpu|cuda]

Ratios against the usual code, in a process of its own before ours, and against our own bare
convolutions, all in this one run.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from baseline import __file__ as baseline_script
from baseline import elsewhere, machine, seconds

from stylepack import Stylizer
from stylepack.inference.kernels import Int8Convolution, int8_is_fast
from stylepack.inference.rows import QuantParams
from stylepack.inference.strips import paint_streaming

SIZES = {"512x512": (512, 512), "1080x1920": (1080, 1920)}
GPU_SIZES = SIZES | {"2160x3840": (2160, 3840), "3000x4000": (3000, 4000)}


class Row(NamedTuple):
    """Seconds an image, and ratios; `ours` is from main memory to main memory."""

    size: str
    usual: float
    ours: float
    times_usual: float
    over_convolutions: float
    precision: str


def bare_convolutions(painter: Stylizer, height: int, width: int) -> list[Callable[[], object]]:
    """Every convolution of the trunk, its input padded already, in the painter's precision."""
    trunk = painter.trunk
    calls: list[Callable[[], object]] = []
    h, w = height, width
    for name, channels, _, kernel in trunk.config.convolutions():
        if name.startswith("up"):
            h, w = 2 * h, 2 * w
        weight = trunk.get_parameter(f"{name}.weight")
        x = torch.rand(1, channels, h + kernel - 1, w + kernel - 1, device=weight.device)
        stride = 2 if name in ("conv2", "conv3") else 1
        if painter.int8:
            x = x.mul_(255).to(torch.uint8)
            levels = QuantParams(torch.zeros(channels), torch.ones(channels))
            convolve = Int8Convolution(weight, levels, torch.float32, (stride, stride))
        else:
            x = x.to(weight.dtype)
            convolve = partial(F.conv2d, weight=weight, stride=stride)
        calls.append(partial(convolve, x.contiguous(memory_format=torch.channels_last)))
        h, w = h // stride, w // stride
    return calls


def measured(device: str, sizes: Mapping[str, tuple[int, int]]) -> Iterator[Row]:
    """Each size in each precision that the device has a use for."""
    precisions = ["auto", "float32"]
    if device == "cpu" and int8_is_fast():
        precisions = ["int8", "bfloat16", "float32"]
    for label, (height, width) in sizes.items():
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        usual = elsewhere(baseline_script, height, width, device)
        for precision in precisions:
            painter = Stylizer.load("starry", device=device, precision=precision)
            with torch.inference_mode():
                ours = seconds(
                    partial(
                        paint_streaming,
                        *(painter.trunk, painter.style, image, painter.memory),
                        int8=painter.int8,
                    ),
                    device,
                )
                layers = bare_convolutions(painter, height, width)
                floor = seconds(lambda: [layer() for layer in layers], device)  # noqa: B023
            kind = str(painter.dtype).removeprefix("torch.")
            yield Row(label, usual, ours, usual / ours, ours / floor, kind)


def main() -> None:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    print(machine(device))
    print(f"{'size':>10} {'usual':>9} {'ours':>9} {'x usual':>8} {'x convs':>8}  precision")
    for row in measured(device, GPU_SIZES if device == "cuda" else SIZES):
        print(
            f"{row.size:>10} {row.usual:8.4f}s {row.ours:8.4f}s {row.times_usual:8.2f} "
            f"{row.over_convolutions:8.2f}  {row.precision}"
        )


if __name__ == "__main__":
    main()
