"""The usual code, as the baseline of every benchmark: the single-style network of
github.com/pytorch/examples, fast_neural_style, written out again; float32, NCHW, eager.

It is timed in processes of its own: stylepack tells the C library to keep large blocks, which
in the same process would spare the usual code its page faults too.
"""

import subprocess
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ReflectedConv(nn.Module):
    """Reflection padding and a convolution with bias."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.pad = nn.ReflectionPad2d(kernel // 2)
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pad(x))


class Residual(nn.Module):
    """Two convolutions with instance norms, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = ReflectedConv(channels, channels, 3), norm(channels)
        self.conv2, self.norm2 = ReflectedConv(channels, channels, 3), norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        return self.norm2(self.conv2(y)) + x


class UsualNetwork(nn.Module):
    """Three convolutions down, five residual blocks, two nearest doublings, one to RGB."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            *(ReflectedConv(3, 32, 9), norm(32), nn.ReLU()),
            *(ReflectedConv(32, 64, 3, 2), norm(64), nn.ReLU()),
            *(ReflectedConv(64, 128, 3, 2), norm(128), nn.ReLU()),
        )
        self.body = nn.Sequential(*(Residual(128) for _ in range(5)))
        self.up1, self.norm1 = ReflectedConv(128, 64, 3), norm(64)
        self.up2, self.norm2 = ReflectedConv(64, 32, 3), norm(32)
        self.out = ReflectedConv(32, 3, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.down(x))
        x = F.relu(self.norm1(self.up1(F.interpolate(x, scale_factor=2, mode="nearest"))))
        x = F.relu(self.norm2(self.up2(F.interpolate(x, scale_factor=2, mode="nearest"))))
        return self.out(x)


def norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True)


def seconds(work: Callable[[], object], device: str = "cpu", runs: int = 5) -> float:
    """The median time of a few runs after two warm-ups."""
    times = []
    for run in range(runs + 2):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if run >= 2:
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def machine(device: str) -> str:
    """The processor or card, for the table's caption."""
    if device == "cuda":
        return torch.cuda.get_device_name()
    bf16 = "AMX" if torch.cpu._is_amx_tile_supported() else "no AMX"
    bf16 += ", AVX512-BF16" if torch.cpu._is_avx512_bf16_supported() else ", no AVX512-BF16"
    return f"{torch.get_num_threads()} threads, {bf16}, torch {torch.__version__}"


def elsewhere(script: str, *arguments: object) -> float:
    """The number that a script of this folder prints in a process of its own."""
    command = [sys.executable, script, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout)


def time_network(height: int, width: int, device: str) -> float:
    """Seconds that the usual network takes for one image."""
    network = UsualNetwork().to(device).eval()
    photo = torch.rand(1, 3, height, width, device=device) * 255
    with torch.inference_mode():
        return seconds(lambda: network(photo), device)


def paint(source: str, target: str) -> None:
    """The usual script from file to file, for timing whole processes."""
    from PIL import Image
    from torchvision import transforms

    photo = transforms.ToTensor()(Image.open(source).convert("RGB")).mul(255)[None]
    with torch.no_grad():
        painted = UsualNetwork()(photo)[0].clamp(0, 255).numpy()
    Image.fromarray(painted.transpose(1, 2, 0).astype("uint8")).save(target)


def main() -> None:
    """`python baseline.py PHOTO OUT` paints; `python baseline.py HEIGHT WIDTH DEVICE` times."""
    arguments = sys.argv[1:]
    if len(arguments) == 3:
        print(time_network(int(arguments[0]), int(arguments[1]), arguments[2]))
    else:
        paint(*arguments)


if __name__ == "__main__":
    main()
