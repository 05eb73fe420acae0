"""Initial weights of a small loss network, by channel selection and least squares.

For every convolution of the teacher the channels that predict the others best are kept, and the
small network's convolution is fitted to them from its own activations, layer by layer, so that each
layer corrects earlier errors (channel pruning by reconstruction: He, Zhang & Sun 2017).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from stylepack.losses.distilled import DEVIATION, MEAN, Distilled
from stylepack.losses.teachers import Teachers

MOST_ROWS = 40_000  # pixels that a layer is fitted to
LEAST = 1e-2  # channels below this share of the layer's largest become 0
RIDGE = 1e-4  # relative to the mean square of the inputs


@torch.no_grad()
def inherit(network: Distilled, teacher: Teachers, images: Tensor, sizes: dict[str, float]) -> None:
    """Set the weights of `network` to approximate the teacher.

    Args:
        network: its activations get a mean square of 1.
        teacher: the network to imitate.
        images: (N, 3, H, W) RGB in 0..1.
        sizes: layer -> divisor of the teacher's activations for the heads.
    """
    names = [name for name, _, _ in network.config.convolutions()]
    activations = teacher(images, [*names, *network.layers])
    x = (images - MEAN) / DEVIATION
    for step in network.steps:
        if step.startswith("conv"):
            wanted = activations[step].float()
            kept = select_channels(F.relu(wanted), network.get_parameter(f"{step}.weight").shape[0])
            wanted = wanted[:, kept]
            size = F.relu(wanted).square().mean((0, 2, 3), keepdim=True).sqrt()
            # Scaling up a channel that is hardly ever active would amplify noise.
            wanted = torch.where(size > LEAST * size.max(), wanted / size.clamp_min(1e-12), 0.0)
            _fit(network, step, x, wanted)
            x = network.convolve(step, x)
        elif step.startswith("relu"):
            x = F.relu(x)
        else:
            x = F.max_pool2d(x, 2)
        if step in network.layers:
            _fit(network, f"head_{step}", x, activations[step].float() / sizes[step])


def select_channels(activations: Tensor, count: int) -> Tensor:
    """Indices of the channels that predict the others best: (N, C, H, W) -> (count,).

    Forward selection by second moments: each channel is the one that by itself explains most of
    what the previous channels leave unexplained.
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
    """Fit the convolution `name` from (N, c, H, W) to `wanted`, (N, C, H, W), by least squares."""
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
