"""The transfer network of Dumoulin, Shlens & Kudlur, "A Learned Representation for
Artistic Style" (ICLR 2017), table 1 and appendix A.

The convolutions are the trunk, shared by every style.  A style is one vector: gamma and
beta of the conditional instance norm that follows each convolution, laid out by
`TrunkConfig.layout`.  Blending styles is therefore a weighted sum of vectors.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylepack.network.norm import conditional_instance_norm

STRIDE = 4  # two stride-2 convolutions: the body sees the image at a quarter of its size
SMALLEST = 8  # pixels a side; what reflection padding inside the network needs


class NormSlot(NamedTuple):
    """Where one norm's gamma and beta lie in a style vector, and how many channels it has."""

    name: str
    channels: int
    gamma: slice
    beta: slice


@dataclass(frozen=True)
class TrunkConfig:
    """Sizes of a trunk; the defaults are the paper's."""

    widths: tuple[int, int, int] = (32, 64, 128)
    residual_blocks: int = 5
    edge_kernel: int = 9

    def convolutions(self) -> list[tuple[str, int, int, int]]:
        """(name, channels in, channels out, kernel) of every convolution, in order of use."""
        a, b, c = self.widths
        k = self.edge_kernel
        body = [
            (f"res{block}{half}", c, c, 3)
            for block in range(1, self.residual_blocks + 1)
            for half in "ab"
        ]
        return [
            ("conv1", 3, a, k),
            ("conv2", a, b, 3),
            ("conv3", b, c, 3),
            *body,
            ("up1", c, b, 3),
            ("up2", b, a, 3),
            ("out", a, 3, k),
        ]

    def layout(self) -> list[NormSlot]:
        """One slot a norm: gamma first, then beta, norm after norm in order of use."""
        slots, start = [], 0
        for name, _, channels, _ in self.convolutions():
            middle, end = start + channels, start + 2 * channels
            slots.append(NormSlot(name, channels, slice(start, middle), slice(middle, end)))
            start = end
        return slots

    @property
    def style_size(self) -> int:
        """Numbers in a style vector: 3,206 for the paper's sizes."""
        return 2 * sum(slot.channels for slot in self.layout())

    def neutral_style(self) -> Tensor:
        """(style_size,) float32 vector with every gamma 1 and every beta 0."""
        style = torch.zeros(self.style_size)
        for slot in self.layout():
            style[slot.gamma] = 1.0
        return style


class Trunk(nn.Module):
    """The shared convolutions.  Computes in the dtype of the images it is given.

    No convolution has a bias: the instance norm after it would subtract it again.
    """

    def __init__(self, config: TrunkConfig | None = None) -> None:
        super().__init__()
        self.config = config or TrunkConfig()
        self.slots = {slot.name: slot for slot in self.config.layout()}
        for name, c_in, c_out, kernel in self.config.convolutions():
            # Holds the weight; `_layer` pads by reflection and convolves.
            self.add_module(name, nn.Conv2d(c_in, c_out, kernel, bias=False))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Tensor, style: Tensor) -> Tensor:
        """Paint images.

        Args:
            images: (N, 3, H, W) RGB in 0..1, any H and W from 1 up, any float dtype.
            style: (style_size,) for the whole batch, or (N, style_size), one per image.

        Returns:
            (N, 3, H, W) RGB in 0..1, the dtype of `images`.
        """
        return torch.sigmoid(self.logits(images, style))

    def logits(self, images: Tensor, style: Tensor) -> Tensor:
        """What `forward` puts through its sigmoid: (N, 3, H, W), the dtype of `images`."""
        if style.dim() == 1:
            style = style[None]
        height, width = images.shape[-2:]
        x = pad_to_stride(images).contiguous(memory_format=torch.channels_last)
        x = F.relu_(self._layer("conv1", x, style))
        x = F.relu_(self._layer("conv2", x, style, stride=2))
        x = F.relu_(self._layer("conv3", x, style, stride=2))
        for block in range(1, self.config.residual_blocks + 1):
            y = F.relu_(self._layer(f"res{block}a", x, style))
            x = x + self._layer(f"res{block}b", y, style)
        x = F.relu_(self._layer("up1", double(x), style))
        x = F.relu_(self._layer("up2", double(x), style))
        x = self._layer("out", x, style)
        return x[..., :height, :width]

    def _layer(self, name: str, x: Tensor, style: Tensor, stride: int = 1) -> Tensor:
        """Reflection padding, convolution, conditional instance norm."""
        slot = self.slots[name]
        weight = self.get_parameter(f"{name}.weight").to(x.dtype)
        edge = weight.shape[-1] // 2
        x = F.conv2d(F.pad(x, (edge, edge, edge, edge), mode="reflect"), weight, stride=stride)
        return conditional_instance_norm(x, style[:, slot.gamma], style[:, slot.beta])


def double(x: Tensor) -> Tensor:
    """Nearest-neighbour upsampling by 2: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def pad_to_stride(images: Tensor) -> Tensor:
    """Repeat the last row and column until both sides are multiples of 4, at least 8."""
    height, width = images.shape[-2:]
    new_height, new_width = padded_size(height, width)
    if (new_height, new_width) == (height, width):
        return images
    return F.pad(images, (0, new_width - width, 0, new_height - height), mode="replicate")


def padded_size(height: int, width: int) -> tuple[int, int]:
    """Both sides as the network computes them: multiples of 4, at least 8."""
    return (
        max(SMALLEST, -(-height // STRIDE) * STRIDE),
        max(SMALLEST, -(-width // STRIDE) * STRIDE),
    )
