"""Loss networks: frozen VGG-16 and VGG-19 whose activations are taken by name."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylepack.errors import UsageError
from stylepack.losses import functional as losses

# Convolutions a block and their output channels (Simonyan & Zisserman 2015, table 1,
# configurations D and E).
BLOCKS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
WIDTHS = (64, 128, 256, 512, 512)
LAYER = re.compile(r"(conv|relu)([1-5])_([1-4])|pool([1-5])")


@dataclass(frozen=True)
class InputScale:
    """What a VGG expects at its input, applied to RGB in 0..1: (x - mean) / deviation."""

    mean: tuple[float, float, float]
    deviation: tuple[float, float, float]


# torchvision's VGG16_Weights documents both.  "caffe" is the original Oxford weights' own:
# RGB in 0..255 less the mean, IMAGENET1K_FEATURES; "imagenet" is IMAGENET1K_V1's.
INPUT_SCALES = {
    "caffe": InputScale((0.48235, 0.45882, 0.40784), (1 / 255, 1 / 255, 1 / 255)),
    "imagenet": InputScale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class VGG(nn.Module):
    """VGG up to the deepest layer asked for, giving activations by name.

    Layers are `convB_I`, `reluB_I` and `poolB` for block B and convolution I, both from 1.
    The weights are frozen; gradients flow to the images only.
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
        """Where it computes."""
        return self.get_buffer("mean").device

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Activations of (N, 3, H, W) RGB images in 0..1.

        Args:
            images: any float dtype; the computation is in the dtype of the weights.
            layers: a subset of this network's layers; it stops after the deepest.

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

    def similarity_loss(self, layer: str, painted: Tensor, photo: Tensor) -> Tensor:
        """Distance of self-similarities at a layer, (N,): `losses.similarity_loss`."""
        return losses.similarity_loss(losses.some_places(painted), losses.some_places(photo))

    def load(self, weights: Mapping[str, Tensor], source: object) -> "VGG":
        """Take over weights under torchvision's names `features.N.weight` and `.bias`.

        Only the layers that this network has are needed, so a truncated file serves.

        Raises:
            UsageError: a needed layer is not in the file, or has another shape.
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
    """Take (N, C, H, W) through the steps of a VGG as far as the deepest of `layers`.

    `convolve` applies the convolution of a step; ReLU and pooling are VGG's.
    """
    wanted = set(layers)
    found: dict[str, Tensor] = {}
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
            found[step] = x
            if len(found) == len(wanted):
                break
    return found


def plan(network: str, layers: Iterable[str]) -> list[str]:
    """The steps of a VGG in order up to the deepest of `layers`: index = torchvision's.

    Raises:
        UsageError: a layer that this network does not have.
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
            block_count = LAYER.fullmatch(layer)
            hint = (
                f"block {block_count[2]} of {network} has "
                f"{BLOCKS[network][int(block_count[2]) - 1]} convolutions"
                if block_count and block_count[2]
                else "layers are named like conv1_1, relu3_2 or pool4"
            )
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
