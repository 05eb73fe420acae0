"""The transfer network of Dumoulin, Shlens & Kudlur, "A Learned Representation for Artistic Style"
(ICLR 2017), table 1 and appendix A.

The convolutions are the trunk, shared by every style.  A style is one vector: gamma and beta of the
conditional instance norm after each convolution, laid out by `TrunkConfig.layout`.  Blending styles
is therefore a weighted sum of vectors.

Two things are ours, not the paper's.  Grain (`grain.py`) is added to photographs, so that strokes
appear in flat areas.  And a style can take the photograph's contrast for its last norm, which
otherwise gives every picture the same mean and standard deviation: the identity style reproduces
dark photographs this way.  Both are linear in the style, so they blend.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylepack.network.convolution import convolve, convolve_doubled, doubling_kernel
from stylepack.network.grain import grain
from stylepack.network.norm import conditional_instance_norm

STRIDE = 4  # two stride-2 convolutions: the body sees the image at a quarter of its size
SMALLEST = 8  # pixels a side that reflection padding inside the network needs
DARKEST = 0.018  # logits of photographs are clamped to +-4: 4.6 of 255 from black and from white


class NormSlot(NamedTuple):
    """The slices of a style vector that are one norm's gamma and beta."""

    name: str
    channels: int
    gamma: slice
    beta: slice


@dataclass(frozen=True)
class TrunkConfig:
    """Sizes of a trunk; the defaults are the paper's.

    `grain`: standard deviation of the grain added to photographs, RGB in 0..1.
    """

    widths: tuple[int, int, int] = (32, 64, 128)
    residual_blocks: int = 5
    edge_kernel: int = 9
    grain: float = 0.0

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
        """One slot per norm in order of use: gamma first, then beta."""
        slots, start = [], 0
        for name, _, channels, _ in self.convolutions():
            middle, end = start + channels, start + 2 * channels
            slots.append(NormSlot(name, channels, slice(start, middle), slice(middle, end)))
            start = end
        return slots

    @property
    def style_size(self) -> int:
        """Length of a style vector: 3,206 for the paper's sizes."""
        return 2 * sum(slot.channels for slot in self.layout())

    def neutral_style(self) -> Tensor:
        """(style_size,) float32 vector with every gamma 1 and every beta 0."""
        style = torch.zeros(self.style_size)
        for slot in self.layout():
            style[slot.gamma] = 1.0
        return style


class Trunk(nn.Module):
    """The shared convolutions, computed in the dtype of the input images.

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

    def forward(self, images: Tensor, style: Tensor, photo_contrast: float = 0.0) -> Tensor:
        """Paint images.

        Args:
            images: (N, 3, H, W) RGB in 0..1, any H and W from 1 up, any float dtype.
            style: (style_size,) for the whole batch, or (N, style_size), one per image.
            photo_contrast: share of the photograph's contrast; 1 for the identity style.

        Returns:
            (N, 3, H, W) RGB in 0..1, the dtype of `images`.
        """
        if photo_contrast:
            share = torch.tensor([photo_contrast], device=images.device)
            style = self.with_contrast(style, images, share)
        height, width = images.shape[-2:]
        if self.config.grain:
            images = pad_to_stride(images)
            rows = grain(0, images.shape[-2], images.shape[-1])
            images = images.add(rows.to(images), alpha=self.config.grain)
        return torch.sigmoid(self.logits(images, style)[..., :height, :width])

    def with_contrast(self, style: Tensor, images: Tensor, share: Tensor) -> Tensor:
        """Styles with a share of each photograph's contrast added to the last gamma and beta.

        Args:
            style: (style_size,) or (N, style_size).
            images: (N, 3, H, W) RGB in 0..1, without grain.
            share: (N,) or (1,).

        Returns:
            (N, style_size) in the dtype of `style`.
        """
        last = self.slots["out"]
        contrast = share[:, None] * photograph_contrast(images)
        changed = style.expand(len(contrast), -1).clone()
        changed[:, last.gamma.start : last.beta.stop] += contrast
        return changed

    def logits(self, images: Tensor, style: Tensor) -> Tensor:
        """The network's output before the sigmoid: (N, 3, H, W), the dtype of `images`."""
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
        x = F.relu_(self._doubling_layer("up1", x, style))
        x = F.relu_(self._doubling_layer("up2", x, style))
        x = self._layer("out", x, style)
        return x[..., :height, :width]

    def _layer(self, name: str, x: Tensor, style: Tensor, stride: int = 1) -> Tensor:
        """Reflection padding, convolution, conditional instance norm."""
        weight = self.get_parameter(f"{name}.weight").to(x.dtype)
        edge = weight.shape[-1] // 2
        x = convolve(F.pad(x, (edge, edge, edge, edge), mode="reflect"), weight, stride)
        return self._norm(name, x, style)

    def _doubling_layer(self, name: str, x: Tensor, style: Tensor) -> Tensor:
        """Doubling by nearest neighbour, then a layer."""
        kernel = doubling_kernel(self.get_parameter(f"{name}.weight")).to(x.dtype)
        x = convolve_doubled(repeat_edges(x), kernel)
        return self._norm(name, x, style)

    def _norm(self, name: str, x: Tensor, style: Tensor) -> Tensor:
        slot = self.slots[name]
        return conditional_instance_norm(x, style[:, slot.gamma], style[:, slot.beta])


def photograph_contrast(images: Tensor) -> Tensor:
    """Standard deviation and mean of each channel's logits: (N, 3, H, W) -> (N, 6) float32.

    As gamma and beta of the last norm they undo it, so that the sigmoid reproduces the photograph
    if the last convolution returns its logits in any contrast.
    """
    variance, mean = torch.var_mean(photograph_logits(images), dim=(2, 3), correction=0)
    return torch.cat([variance.sqrt(), mean], dim=1)


def photograph_logits(images: Tensor) -> Tensor:
    """Inverse sigmoid of a photograph, clamped at `DARKEST`: RGB in 0..1 -> float32."""
    return torch.logit(images.float(), eps=DARKEST)


def repeat_edges(x: Tensor) -> Tensor:
    """Repeat the outermost rows and columns: (N, C, H, W) -> (N, C, H + 2, W + 2)."""
    if torch.compiler.is_compiling():  # it gets the strides of the padding's gradient wrong
        x = torch.cat([x[..., :1, :], x, x[..., -1:, :]], dim=-2)
        return torch.cat([x[..., :1], x, x[..., -1:]], dim=-1)
    return F.pad(x, (1, 1, 1, 1), mode="replicate")


def pad_to_stride(images: Tensor) -> Tensor:
    """Repeat the last row and column until both sides are multiples of 4, at least 8."""
    height, width = images.shape[-2:]
    new_height, new_width = padded_size(height, width)
    if (new_height, new_width) == (height, width):
        return images
    return F.pad(images, (0, new_width - width, 0, new_height - height), mode="replicate")


def padded_size(height: int, width: int) -> tuple[int, int]:
    """Both sides rounded up to multiples of 4, at least 8."""
    return (
        max(SMALLEST, -(-height // STRIDE) * STRIDE),
        max(SMALLEST, -(-width // STRIDE) * STRIDE),
    )
