"""Time of the network alone: python tests/benchmarks/network.py [cpu|cuda]

Ratios against the usual code, in a process of its own before ours, and against our own bare
convolutions, all in this one run.
"""

import sys

import torch
import torch.nn.functional as F
from baseline import __file__ as baseline_script
from baseline import elsewhere, machine, seconds

from stylepack import Stylizer
from stylepack.network.trunk import Trunk
from stylepack.painting.streaming import paint_streaming

SIZES = {"512x512": (512, 512), "1080x1920": (1080, 1920)}
GPU_SIZES = {"1080x1920": (1080, 1920), "2160x3840": (2160, 3840)}


def bare_convolutions(trunk: Trunk, height: int, width: int) -> list[tuple[torch.Tensor, ...]]:
    """(input, weight, stride) of every convolution of the trunk, padding already there."""
    weight = trunk.get_parameter("conv1.weight")
    inputs = []
    h, w = height, width
    for name, channels, _, kernel in trunk.config.convolutions():
        if name.startswith("up"):
            h, w = 2 * h, 2 * w
        x = torch.randn(1, channels, h + kernel - 1, w + kernel - 1)
        x = x.to(weight.device, weight.dtype).contiguous(memory_format=torch.channels_last)
        stride = 2 if name in ("conv2", "conv3") else 1
        inputs.append((x, trunk.get_parameter(f"{name}.weight"), stride))
        h, w = h // stride, w // stride
    return inputs


def main() -> None:
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    print(machine(device))
    print(f"{'size':>10} {'usual':>9} {'ours':>9} {'x usual':>8} {'x convs':>8}  precision")
    for label, (height, width) in (GPU_SIZES if device == "cuda" else SIZES).items():
        image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
        usual = elsewhere(baseline_script, height, width, device)
        with torch.inference_mode():
            for precision in ("auto", "float32"):
                painter = Stylizer.load("starry", device=device, precision=precision)
                style, trunk, memory = painter.style, painter.trunk, painter.memory
                ours = seconds(
                    lambda *a: paint_streaming(trunk, style, image, memory),  # noqa: B023
                    device,
                )
                layers = bare_convolutions(trunk, height, width)
                floor = seconds(
                    lambda: [F.conv2d(x, w, stride=s) for x, w, s in layers],  # noqa: B023
                    device,
                )
                print(
                    f"{label:>10} {usual:8.3f}s {ours:8.3f}s {usual / ours:8.2f} "
                    f"{ours / floor:8.2f}  {str(painter.dtype).removeprefix('torch.')}"
                )


if __name__ == "__main__":
    main()
