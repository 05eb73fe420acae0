"""The trunk as an ONNX file, for browsers and phones: photograph and style in, painting out.

The graph is built here operation by operation, with dynamic sizes, since torch's exporters differ
from version to version.  `differences` compares it with torch.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from stylepack.errors import PackError, first_line
from stylepack.network.grain import grain
from stylepack.network.norm import EPSILON
from stylepack.network.trunk import DARKEST, SMALLEST, STRIDE, Trunk, pad_to_stride
from stylepack.packs.pack import Pack

OPSET, IR_VERSION = 17, 8  # supported by runtimes from 2022 on
GRAIN_TILE = 256  # pixels a side; the exported network repeats its grain, `apply` does not
SIZES = ((64, 48), (37, 50), (5, 3))  # pixels of the pictures that a model is checked on
LARGEST_DIFFERENCE = 1e-3  # from torch, in 0..1: a quarter of a step of 255
FORMAT = "stylepack-onnx-v1"


def trunk_model(trunk: Trunk) -> onnx.ModelProto:
    """The ONNX model of a trunk.

    Inputs: `image`, (N, 3, H, W) float32 RGB in 0..1, any size; `style`, (style_size + 1,)
    float32, a pack's vector or a weighted sum of several, whose last entry is the share of the
    photograph's contrast.  Output: `painting`, like `image`.
    """
    graph = _Graph(trunk)
    graph.paint()
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, "height", "width"])
    style = helper.make_tensor_value_info("style", TensorProto.FLOAT, [trunk.config.style_size + 1])
    painting = helper.make_tensor_value_info(
        "painting", TensorProto.FLOAT, ["n", 3, "height", "width"]
    )
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "stylepack", [image, style], [painting], initializer=graph.constants
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="stylepack",
    )
    onnx.checker.check_model(model)
    return model


def packs_beside(packs: Mapping[str, Pack], trunk: Trunk, trunk_sha256: str, model: str) -> str:
    """The JSON beside a model: its inputs, and the vectors of packs."""
    keys = ("norm", "channels", "gamma", "beta")
    layout = [
        dict(zip(keys, (slot.name, slot.channels, slot.gamma.start, slot.beta.start), strict=True))
        for slot in trunk.config.layout()
    ]
    described = {
        name: {
            "title": pack.manifest.title,
            "artist": str(pack.manifest.style_image.get("artist", "")),
            "license": pack.manifest.license,
            "sha256": pack.manifest.sha256,
            "style": [float(f"{number:.9g}") for number in pack.vector.tolist()],
        }
        for name, pack in packs.items()
    }
    return json.dumps(
        {
            "format": FORMAT,
            "model": model,
            "trunk_sha256": trunk_sha256,
            "image": "float32 (n, 3, height, width), RGB in 0..1, any size",
            "style": "float32, the weighted sum of packs' styles; weights sum to 1",
            "style_size": trunk.config.style_size + 1,
            "own_contrast": trunk.config.style_size,
            "layout": layout,
            "packs": described,
        },
        ensure_ascii=False,
    )


def checked_model(trunk: Trunk, styles: Sequence[Tensor]) -> tuple[bytes, float]:
    """(bytes of a trunk's model, largest difference of onnxruntime's paintings from torch's).

    Args:
        trunk: float32, on the CPU.
        styles: (style_size + 1,) each, for random pictures of several sizes.

    Raises:
        PackError: onnxruntime refuses the model, or paints something else.
    """
    model = trunk_model(trunk).SerializeToString()
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(1, 3, height, width, generator=generator) for height, width in SIZES]
    apart = differences(model, trunk, styles, images)
    if not apart <= LARGEST_DIFFERENCE:
        raise PackError(
            f"onnxruntime's painting differs from torch's by {apart:.2g} of 1; nothing is written"
        )
    return model, apart


def differences(
    model: bytes, trunk: Trunk, styles: Sequence[Tensor], images: Sequence[Tensor]
) -> float:
    """The largest difference, in 0..1, between onnxruntime's paintings and torch's.

    Args:
        model: the file's bytes.
        trunk: the exported network, float32 on the CPU.
        styles: (style_size + 1,) each.
        images: (N, 3, H, W) RGB in 0..1 each.

    Raises:
        PackError: onnxruntime refuses the model.
    """
    try:
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common base
        raise PackError(f"onnxruntime refuses the exported trunk: {first_line(error)}") from error
    largest = 0.0
    for vector in styles:
        for image in images:
            (painted,) = session.run(None, {"image": image.numpy(), "style": vector.numpy()})
            wanted = paint_with_tile(trunk, image, vector)
            largest = max(largest, float((torch.from_numpy(painted) - wanted).abs().max()))
    return largest


@torch.no_grad()
def paint_with_tile(trunk: Trunk, images: Tensor, vector: Tensor) -> Tensor:
    """`Trunk.forward` with the grain of the exported network."""
    height, width = images.shape[-2:]
    style = trunk.with_contrast(vector[None, :-1], images, vector[-1:])
    padded = pad_to_stride(images)
    if trunk.config.grain:
        rows, columns = (torch.arange(side) % GRAIN_TILE for side in padded.shape[-2:])
        padded = padded + trunk.config.grain * _tile()[rows][:, columns]
    return torch.sigmoid(trunk.logits(padded, style)[..., :height, :width])


def _tile() -> Tensor:
    return grain(0, GRAIN_TILE, GRAIN_TILE).float()


class _Graph:
    """Nodes and constants, in order; methods take and return names of values."""

    def __init__(self, trunk: Trunk) -> None:
        self.trunk = trunk
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.known: set[str] = set()

    def paint(self) -> None:
        """Add the whole network."""
        gammas, betas = self.norms()
        gammas["out"], betas["out"] = self.with_contrast(gammas["out"], betas["out"])
        height, width = self.side(2), self.side(3)
        x = self.grained(self.padded("image", height, width))
        x = self.relu(self.layer("conv1", x, gammas, betas))
        x = self.relu(self.layer("conv2", x, gammas, betas, stride=2))
        x = self.relu(self.layer("conv3", x, gammas, betas, stride=2))
        for block in range(1, self.trunk.config.residual_blocks + 1):
            y = self.relu(self.layer(f"res{block}a", x, gammas, betas))
            x = self.op("Add", x, self.layer(f"res{block}b", y, gammas, betas))
        for name in ("up1", "up2"):
            x = self.relu(self.layer(name, self.doubled(x), gammas, betas))
        x = self.op("Sigmoid", self.layer("out", x, gammas, betas))
        ends = self.op("Concat", height, width, axis=0)
        cut = (self.ints("start", [0, 0]), ends, self.ints("sides", [2, 3]))
        self.nodes.append(helper.make_node("Slice", [x, *cut], ["painting"]))

    def norms(self) -> tuple[dict[str, str], dict[str, str]]:
        """Gammas and betas by norm, and `own`: slices of the style."""
        slots = self.trunk.config.layout()
        parts = [f"{slot.name}.{kind}" for slot in slots for kind in ("gamma", "beta")]
        sizes = [slot.channels for slot in slots for _ in range(2)]
        split = self.ints("style_parts", [*sizes, 1])
        self.nodes.append(helper.make_node("Split", ["style", split], [*parts, "own"], axis=0))
        names = [slot.name for slot in slots]
        return {n: f"{n}.gamma" for n in names}, {n: f"{n}.beta" for n in names}

    def with_contrast(self, gamma: str, beta: str) -> tuple[str, str]:
        """The last gamma and beta, (N, 3, 1, 1), plus their share of the photograph's contrast."""
        low, high = self.number("darkest", DARKEST), self.number("lightest", 1 - DARKEST)
        cut = self.op("Clip", "image", low, high)
        rest = self.op("Sub", self.number("one", 1.0), cut)
        logits = self.op("Log", self.op("Div", cut, rest))
        mean = self.op("ReduceMean", logits, axes=[2, 3])
        away = self.op("Sub", logits, mean)
        variance = self.op("ReduceMean", self.op("Mul", away, away), axes=[2, 3])
        shape = self.ints("a_channel", [1, 3, 1, 1])
        changed = [
            self.op("Add", self.op("Reshape", own, shape), self.op("Mul", "own", more))
            for own, more in ((gamma, self.op("Sqrt", variance)), (beta, mean))
        ]
        return changed[0], changed[1]

    def padded(self, x: str, height: str, width: str) -> str:
        """`pad_to_stride`."""
        for axis, side in ((2, height), (3, width)):
            last = self.op("Sub", side, self.ints("one_pixel", [1]))
            indices = self.op("Min", self.range(self.padded_side(side)), last)
            x = self.op("Gather", x, indices, axis=axis)
        return x

    def padded_side(self, side: str) -> str:
        """`padded_size` for one side."""
        stride = self.ints("stride", [STRIDE])
        more = self.op("Add", side, self.ints("stride_less_one", [STRIDE - 1]))
        whole = self.op("Mul", self.op("Div", more, stride), stride)
        return self.op("Max", whole, self.ints("smallest", [SMALLEST]))

    def grained(self, x: str) -> str:
        """Add grain from a repeated tile."""
        if not self.trunk.config.grain:
            return x
        tile = self.half("grain_tile", _tile())
        for axis in (0, 1):
            side = self.op("Shape", x, start=axis + 2, end=axis + 3)
            indices = self.op("Mod", self.range(side), self.ints("tile_side", [GRAIN_TILE]))
            tile = self.op("Gather", tile, indices, axis=axis)
        noise = self.op("Mul", tile, self.number("grain", self.trunk.config.grain))
        return self.op("Add", x, noise)

    def layer(
        self,
        name: str,
        x: str,
        gammas: Mapping[str, str],
        betas: Mapping[str, str],
        stride: int = 1,
    ) -> str:
        """Reflection padding, convolution, conditional instance norm."""
        weight = self.trunk.get_parameter(f"{name}.weight")
        edge = weight.shape[-1] // 2
        pads = self.ints(f"edge{edge}", [0, 0, edge, edge] * 2)
        x = self.op("Pad", x, pads, mode="reflect")
        x = self.op("Conv", x, self.half(f"{name}.weight", weight), strides=[stride, stride])
        if name != "out":
            norm = (gammas[name], betas[name])
            return self.op("InstanceNormalization", x, *norm, epsilon=EPSILON)
        plain = (self.floats("ones", np.ones(3)), self.floats("zeros", np.zeros(3)))
        x = self.op("InstanceNormalization", x, *plain, epsilon=EPSILON)
        return self.op("Add", self.op("Mul", x, gammas[name]), betas[name])

    def doubled(self, x: str) -> str:
        """Doubling by nearest neighbour."""
        return self.op(
            "Resize",
            x,
            "",
            self.floats("twice", np.array([1, 1, 2, 2])),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def side(self, axis: int) -> str:
        """The photograph's height (axis 2) or width (3), of shape (1,)."""
        return self.op("Shape", "image", start=axis, end=axis + 1)

    def range(self, side: str) -> str:
        """0, 1, ... up to a side of shape (1,)."""
        none, one = (self.constant(f"index{n}", np.array(n, np.int64)) for n in (0, 1))
        return self.op("Range", none, self.op("Squeeze", side), one)

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node and return the name of its value."""
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def half(self, name: str, tensor: Tensor) -> str:
        """A constant stored in float16 and cast to float32, which halves the file."""
        stored = self.constant(f"{name}.half", tensor.detach().half().numpy())
        return self.op("Cast", stored, to=TensorProto.FLOAT)

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, np.float32))

    def floats(self, name: str, values: NDArray[Any]) -> str:
        return self.constant(name, values.astype(np.float32))

    def ints(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, np.array(values, np.int64))

    def constant(self, name: str, value: NDArray[Any]) -> str:
        """A constant, stored once per name."""
        if name not in self.known:
            self.known.add(name)
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name
