"""Frozen VGG-16 and VGG-19 with activations by layer name."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylepack.errors import UsageError
from stylepack.losses import functional as losses

# Convolutions per block and their output channels (Simonyan & Zisserman 2015, table 1,
# configurations D and E).
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
LAYER = re.compile(r"(conv|relu)([1-5])_([1-4])|pool([1-5])")


@dataclass(frozen=True)
class InputScale:
    """Normalization of RGB in 0..1 that a VGG expects: (x - mean) / deviation."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


# Both from torchvision's VGG16_Weights.  "caffe": IMAGENET1K_FEATURES, the original Oxford weights,
# RGB in 0..255 minus the mean; "imagenet": IMAGENET1K_V1.
INPUT_SCALES = {
    "caffe": InputScale((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)),
    "imagenet": InputScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class VGG(nn.Module):
    """VGG up to the deepest of `layers`, with frozen weights.

    Layers are `convB_I`, `reluB_I` and `poolB` for block B and convolution I, both from 1.
    """

    def __init__(self, network: str, layers: Iterable[str], input_scale: str = "caffe") -> None:
        super().__init__()
        self.layers = frozenset(layers)
        self.steps = plan(network, self.layers)
        scale = INPUT_SCALES[input_scale]
        self.register_buffer("mean", torch.tensor(scale.mean).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(scale.deviation).view(1, 3, 1, 1))
        for name, shape in parameter_shapes(network, self.layers).items():
            self.register_buffer(name, torch.zeros(shape))

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.get_buffer("mean").device

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Activations of (N, 3, H, W) RGB images in 0..1.

        Args:
            images: any float dtype; the computation is in the dtype of the weights.
            layers: a subset of this network's layers; None is all.

        Returns:
            layer name -> (N, C, H', W') activations.
        """
        x = (images.float() - self.get_buffer("mean")) / self.get_buffer("deviation")
        x = x.to(self.get_buffer("conv1_1_weight").dtype)
        return activations_of(x, self.steps, self.layers if layers is None else layers, self._conv)

    def _conv(self, step: str, x: Tensor) -> Tensor:
        weight, bias = self.get_buffer(f"{step}_weight"), self.get_buffer(f"{step}_bias")
        return F.conv2d(x, weight, bias, padding=1)

    def gram_matrix(self, layer: str, activations: Tensor, divisor: str) -> Tensor:
        """Gram matrix of the activations at a layer, (N, C, C): `losses.gram_matrix`."""
        return losses.gram_matrix(activations, divisor)

    def content_loss(self, layer: str, painted: Tensor, photo: Tensor, relative: bool) -> Tensor:
        """Distance of the activations at a layer, (N,): `losses.content_loss`."""
        return losses.content_loss(painted, photo, relative)

    def style_loss(self, layer: str, gram: Tensor, target: Tensor, relative: bool) -> Tensor:
        """Distance of Gram matrices at a layer, (N,): `losses.style_loss`."""
        return losses.style_loss(gram, target, relative)

    def similarity_loss(self, layer: str, painted: Tensor, photo: Tensor) -> Tensor:
        """Distance of self-similarities at a layer, (N,): `losses.similarity_loss`."""
        return losses.similarity_loss(losses.some_places(painted), losses.some_places(photo))

    def load(self, weights: Mapping[str, Tensor], source: object) -> "VGG":
        """Copy weights under torchvision's names `features.N.weight` and `.bias`.

        Raises:
            UsageError: a layer is missing, or has another shape.
        """
        for index, step in enumerate(self.steps):
            if not step.startswith("conv"):
                continue
            for kind in ("weight", "bias"):
                target = self.get_buffer(f"{step}_{kind}")
                given = weights.get(f"features.{index}.{kind}")
                if given is None:
                    raise UsageError(
                        f"{source} does not reach {step}; name shallower layers, or give the full "
                        "weights with --vgg-weights"
                    )
                if given.shape != target.shape:
                    raise UsageError(
                        f"{source}: features.{index}.{kind} ({step}) is {list(given.shape)}, "
                        f"expected {list(target.shape)}; is it the other VGG?"
                    )
                target.copy_(given)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self


def activations_of(
    x: Tensor,
    steps: Sequence[str],
    layers: Iterable[str],
    convolve: Callable[[str, Tensor], Tensor],
) -> dict[str, Tensor]:
    """Activations of (N, C, H, W) at `layers`, through the steps of a VGG up to the deepest.

    `convolve(step, x)` applies a step's convolution.
    """
    wanted = set(layers)
    activations: dict[str, Tensor] = {}
    x = x.contiguous(memory_format=torch.channels_last)
    for step in steps:
        if step.startswith("conv"):
            x = convolve(step, x)
        elif step.startswith("relu"):
            x = F.relu(x, inplace=step.replace("relu", "conv") not in wanted)
        else:
            # A side of one pixel stays one.
            x = F.max_pool2d(x, 2, ceil_mode=min(x.shape[-2:]) < 2)
        if step in wanted:
            activations[step] = x
            if len(activations) == len(wanted):
                break
    return activations


def plan(network: str, layers: Iterable[str]) -> list[str]:
    """The steps of a VGG up to the deepest of `layers`, with torchvision's indices.

    Raises:
        UsageError: no layers, or one that this network does not have.
    """
    layers = list(layers)
    if not layers:
        raise UsageError(f"no layers of {network} are named; name some like relu2_2")
    steps = []
    for block, convolutions in enumerate(BLOCKS[network], start=1):
        for convolution in range(1, convolutions + 1):
            steps += [f"conv{block}_{convolution}", f"relu{block}_{convolution}"]
        steps.append(f"pool{block}")
    for layer in layers:
        if layer not in steps:
            hint = "layers are named like conv1_1, relu3_2 or pool4"
            if (match := LAYER.fullmatch(layer)) and match[2]:
                count = BLOCKS[network][int(match[2]) - 1]
                hint = f"block {match[2]} of {network} has {count} convolutions"
            raise UsageError(f"{network} has no layer '{layer}'; {hint}")
    return steps[: max(steps.index(layer) for layer in layers) + 1]


def parameter_shapes(network: str, layers: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Buffer name -> shape for every convolution up to the deepest of `layers`."""
    shapes: dict[str, tuple[int, ...]] = {}
    channels = 3
    for step in plan(network, layers):
        if step.startswith("conv"):
            width = WIDTHS[int(step[4]) - 1]
            shapes[f"{step}_weight"] = (width, channels, 3, 3)
            shapes[f"{step}_bias"] = (width,)
            channels = width
    return shapes
