"""A first guess at a small loss network: a few channels of the large one, and least squares.

Of every convolution of the teacher those channels are kept that tell most about the others, and
the small network's convolution is fitted to them from the small network's own activations, layer
after layer, so that each makes up for the errors before it (channel pruning by reconstruction:
He, Zhang & Sun 2017).  Training goes on from there.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.losses.distilled import DEVIATION, MEAN, Distilled
from stylepack.losses.teachers import Teachers

MOST_ROWS = 40_000  # pixels that a layer is fitted to
LEAST = 1e-2  # of the largest channel of a layer: what is smaller becomes 0
RIDGE = 1e-4  # of the mean square of what is fitted from


@torch.no_grad()
def inherit(network: Distilled, teacher: Teachers, images: Tensor, sizes: dict[str, float]) -> None:
    """Set the weights of `network` so that it answers somewhat like the teacher.

    Args:
        network: any weights; its convolutions get activations with a mean square of 1.
        teacher: the network that it is distilled from.
        images: (N, 3, H, W) RGB in 0..1.
        sizes: layer -> what the teacher's activations are divided by for the heads.
    """
    names = [name for name, _, _ in network.config.convolutions()]
    answers = teacher(images, [*names, *network.layers])
    x = (images - MEAN) / DEVIATION
    for step in network.steps:
        if step.startswith("conv"):
            wanted = answers[step].float()
            kept = select_channels(F.relu(wanted), network.get_parameter(f"{step}.weight").shape[0])
            wanted = wanted[:, kept]
            size = _root_mean_square(F.relu(wanted), (0, 2, 3))
            # A channel that hardly ever answers would be blown up to one of noise.
            wanted = torch.where(size > LEAST * size.max(), wanted / size.clamp_min(1e-12), 0.0)
            _fit(network, step, x, wanted)
            x = network.convolve(step, x)
        elif step.startswith("relu"):
            x = F.relu(x)
        else:
            x = F.max_pool2d(x, 2)
        if step in network.layers:
            _fit(network, f"head_{step}", x, answers[step].float() / sizes[step])


def select_channels(activations: Tensor, count: int) -> Tensor:
    """The channels from which the others are best predicted, chosen one after the other.

    (N, C, H, W) -> (count,) indices.  Each is the one that, by itself, explains most of what
    those before it leave (forward selection by the second moments).
    """
    rows = activations.float().permute(1, 0, 2, 3).flatten(1)
    left = (rows @ rows.T / rows.shape[1]).cpu().double()
    chosen: list[int] = []
    for _ in range(count):
        own = left.diagonal().clamp_min(1e-12)
        explained = left.square().sum(0) / own
        explained[chosen] = -1.0
        best = int(explained.argmax())
        chosen.append(best)
        left = left - torch.outer(left[:, best], left[best]) / own[best]
    return torch.tensor(chosen, device=activations.device)


def _fit(network: Distilled, name: str, x: Tensor, wanted: Tensor) -> None:
    """Least squares: the convolution `name` of (N, c, H, W) becomes `wanted`, (N, C, H, W)."""
    weight, bias = network.get_parameter(f"{name}.weight"), network.get_parameter(f"{name}.bias")
    edge = weight.shape[-1] // 2
    patches = F.unfold(network.padded(x, edge), weight.shape[-1]).transpose(0, 1).flatten(1)
    rows = wanted.transpose(0, 1).flatten(1)
    stride = max(1, patches.shape[1] // MOST_ROWS)
    given = torch.cat([patches[:, ::stride], patches.new_ones(1, patches[:, ::stride].shape[1])])
    moments, toward = (given @ given.T).cpu().double(), (given @ rows[:, ::stride].T).cpu().double()
    moments += RIDGE * moments.diagonal().mean() * torch.eye(len(moments)).to(moments)
    solved = torch.linalg.solve(moments, toward).T
    weight.copy_(solved[:, :-1].reshape(weight.shape))
    bias.copy_(solved[:, -1])


def _root_mean_square(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    return x.square().mean(dims, keepdim=True).sqrt()
