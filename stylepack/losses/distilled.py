"""The bundled loss network: a small network that replaces VGG.

It has VGG's pooling and layer names, a fraction of its channels, and a linear head per layer that
predicts VGG's activations.  Linear heads need not be evaluated over an image.  Let A = [W b] be a
head and M the mean over the pixels of g g^T, where g is a pixel's activations and a 1.  Then A M
A^T predicts VGG's Gram matrix, and its trace the mean square of VGG's activations.

A frozen network uses R of A = Q R instead of A.  Q only rotates Gram matrices, so their distances
are the same, and R M R^T is up to sixteen times smaller.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stylepack.errors import PackError, UsageError
from stylepack.losses import functional as losses
from stylepack.losses.vgg import WIDTHS, activations_of, plan
from stylepack.packs.header import Header
from stylepack.packs.tensors import read_tensors, write_tensors

ARCHITECTURE = "stylepack-loss-v1"
CONFIG_KEY = "stylepack.loss_network"
LARGEST = 64 << 20  # bytes of a file
MOST_CORRECTION = 1000.0  # and its inverse is the least
Padding = Literal["zeros", "reflect"]
MEAN, DEVIATION = 0.45, 0.25  # approximately, of photographs in 0..1


@dataclass(frozen=True)
class DistilledConfig:
    """Sizes of a distilled loss network, and its teacher.

    `corrections`: factors of the style losses, one for each of `layers`; none if all are 1.
    """

    teacher: str = "vgg19"
    layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    widths: tuple[int, ...] = (24, 64, 112, 112, 112)  # channels per block
    padding: Padding = "reflect"  # around every 3x3 convolution
    corrections: tuple[float, ...] = ()

    def steps(self) -> list[str]:
        """The teacher's layers in order of use, up to the deepest of `layers`."""
        return plan(self.teacher, self.layers)

    def convolutions(self) -> list[tuple[str, int, int]]:
        """(name, channels in, channels out) of every convolution, in order of use."""
        convolutions, channels = [], 3
        for step in self.steps():
            if step.startswith("conv"):
                width = self.widths[block_of(step)]
                convolutions.append((step, channels, width))
                channels = width
        return convolutions


class Distilled(nn.Module):
    """A small VGG with a linear head per layer, whose activations are in `dtype`."""

    def __init__(self, config: DistilledConfig, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.config = config
        self.dtype = dtype
        self.layers = frozenset(config.layers)
        self.steps = config.steps()
        for name, c_in, c_out in config.convolutions():
            self.add_module(name, nn.Conv2d(c_in, c_out, 3, padding=1))
        for layer in config.layers:
            block = block_of(layer)
            self.add_module(f"head_{layer}", nn.Conv2d(config.widths[block], WIDTHS[block], 1))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return self.get_parameter("conv1_1.weight").device

    def forward(self, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Its own activations of (N, 3, H, W) RGB in 0..1 at `layers`: layer -> (N, c, H', W')."""
        x = ((images.float() - MEAN) / DEVIATION).to(self.dtype)
        return activations_of(
            x, self.steps, self.layers if layers is None else layers, self.convolve
        )

    def convolve(self, step: str, x: Tensor) -> Tensor:
        """Apply a convolution or head to (N, c, H, W), with padding."""
        weight, bias = self.get_parameter(f"{step}.weight"), self.get_parameter(f"{step}.bias")
        padded = self.padded(x, weight.shape[-1] // 2)
        return F.conv2d(padded, weight.to(x.dtype), bias.to(x.dtype))

    def padded(self, x: Tensor, edge: int) -> Tensor:
        """Pad (N, C, H, W) by `edge` pixels on every side."""
        if not edge:
            return x
        mode = "constant" if self.config.padding == "zeros" else "reflect"
        if mode == "reflect" and min(x.shape[-2:]) <= edge:  # nothing to reflect
            mode = "replicate"
        return F.pad(x, (edge, edge, edge, edge), mode=mode)

    def predict(self, layer: str, activations: Tensor) -> Tensor:
        """The teacher's activations at a layer, predicted from this network's own."""
        return self.convolve(f"head_{layer}", activations)

    def gram_matrix(self, layer: str, activations: Tensor, divisor: str) -> Tensor:
        """Gram matrix of the predicted activations, (N, C, C) float32: `losses.gram_matrix`.

        A `frozen` network returns a rotated, smaller one, (N, c + 1, c + 1), scaled so that mean
        squared differences are the same.
        """
        head = self._head(layer)
        gram = head @ _moments(activations) @ head.T
        return gram / self._channels(layer) if divisor == "size" else gram

    def content_loss(self, layer: str, painted: Tensor, photo: Tensor, relative: bool) -> Tensor:
        """Squared distance of the predicted activations, (N,): `losses.content_loss`."""
        head = self._head(layer)
        metric = head.T @ head / len(head)
        apart = losses.gram_matrix(painted - photo, "pixels")
        error = (apart * metric[:-1, :-1]).sum(dim=(1, 2))
        if not relative:
            return error
        size = (_moments(photo) * metric).sum(dim=(1, 2))
        return error / size.clamp_min(1e-12)

    def style_loss(self, layer: str, gram: Tensor, target: Tensor, relative: bool) -> Tensor:
        """Distance of Gram matrices at a layer, corrected, (N,): `losses.style_loss`."""
        factors = dict(zip(self.config.layers, self.config.corrections, strict=False))
        return losses.style_loss(gram, target, relative) * factors.get(layer, 1.0)

    def similarity_loss(self, layer: str, painted: Tensor, photo: Tensor) -> Tensor:
        """Distance of the predicted self-similarities, (N,): `losses.similarity_loss`."""
        places = (self.predict(layer, losses.some_places(x)) for x in (painted, photo))
        return losses.similarity_loss(*places)

    def frozen(self) -> "Distilled":
        """This network with rotated heads and without gradients for its weights."""
        for layer in self.config.layers:
            root = torch.linalg.qr(self._whole_head(layer).detach(), mode="r").R
            scaled = root * (len(root) / self._channels(layer)) ** 0.5
            self.register_buffer(f"turned_{layer}", scaled, persistent=False)
        return self.requires_grad_(False).eval()

    def _head(self, layer: str) -> Tensor:
        """A, or R of a `frozen` network, with the same A^T A over the number of rows."""
        turned: Tensor | None = getattr(self, f"turned_{layer}", None)
        return self._whole_head(layer) if turned is None else turned

    def _whole_head(self, layer: str) -> Tensor:
        """A = [W b], (C, c + 1) float32."""
        weight, bias = (self.get_parameter(f"head_{layer}.{kind}") for kind in ("weight", "bias"))
        return torch.cat([weight[:, :, 0, 0], bias[:, None]], dim=1).float()

    def _channels(self, layer: str) -> int:
        return WIDTHS[block_of(layer)]


def _moments(activations: Tensor) -> Tensor:
    """Second moments of the channels and of a 1: (N, c, H, W) -> (N, c + 1, c + 1) float32."""
    own, mean = losses.gram_and_mean(activations, "pixels")
    ones = mean.new_ones(len(mean), 1)
    return torch.cat(
        [torch.cat([own, mean[:, :, None]], 2), torch.cat([mean, ones], 1)[:, None]], 1
    )


def save_distilled(path: Path, network: Distilled, metadata: dict[str, str]) -> None:
    """Write the network in float16, with its configuration in the metadata."""
    tensors = {name: tensor.half() for name, tensor in network.state_dict().items()}
    config = {CONFIG_KEY: json.dumps(asdict(network.config))}
    write_tensors(path, tensors, {"modelspec.architecture": ARCHITECTURE, **config, **metadata})


def load_distilled(path: Path, layers: Iterable[str], dtype: torch.dtype) -> Distilled:
    """Read a distilled loss network, frozen, with its convolutions in `dtype`.

    Raises:
        UsageError: no such file, or it was not distilled at one of `layers`.
        PackError: not a distilled loss network, or tensors that do not fit its configuration.
    """
    header, tensors, _ = read_tensors(path, LARGEST)
    config = _read_config(header, path)
    for layer in layers:
        if layer not in config.layers:
            raise UsageError(
                f"the loss network {path.name} replaces {config.teacher} at "
                f"{', '.join(config.layers)}, not at {layer}; use --loss-network vgg16 or vgg19"
            )
    with torch.device("meta"):
        network = Distilled(config, dtype)
    for name, expected in network.state_dict().items():
        if name not in tensors or tensors[name].shape != expected.shape:
            raise PackError(f"{path}: tensor '{name}' is missing or misshapen")
    if len(tensors) != len(network.state_dict()):
        raise PackError(f"{path} has tensors that its configuration does not name")
    network.load_state_dict({k: t.float() for k, t in tensors.items()}, assign=True)
    for name, _, _ in config.convolutions():
        network.get_submodule(name).to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.frozen()


def _read_config(header: Header, path: Path) -> DistilledConfig:
    if header.metadata.get("modelspec.architecture") != ARCHITECTURE:
        raise PackError(f"{path} is not a distilled loss network ('{ARCHITECTURE}')")
    try:
        fields: dict[str, Any] = json.loads(header.metadata[CONFIG_KEY])
        layers = tuple(str(layer) for layer in fields["layers"])
        widths = tuple(int(width) for width in fields["widths"])
        padding = fields.get("padding", "zeros")
        if padding not in get_args(Padding):
            raise ValueError(padding)
        corrections = tuple(float(factor) for factor in fields.get("corrections", ()))
        config = DistilledConfig(str(fields["teacher"]), layers, widths, padding, corrections)
        deepest = max(block_of(step) for step in config.steps())
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, UsageError):
        raise PackError(f"{path}: metadata '{CONFIG_KEY}' is missing or damaged") from None
    if len(widths) <= deepest or not all(1 <= width <= 1024 for width in widths):
        raise PackError(f"{path}: metadata '{CONFIG_KEY}' has sizes out of range")
    if len(corrections) not in (0, len(layers)) or not all(
        1 / MOST_CORRECTION <= factor <= MOST_CORRECTION for factor in corrections
    ):
        raise PackError(f"{path}: metadata '{CONFIG_KEY}' has corrections out of range")
    return config


def block_of(step: str) -> int:
    """Index of a layer's block, from 0."""
    return int(step[4]) - 1
