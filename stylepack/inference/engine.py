"""The trunk over an image of any size, exactly, in bounded memory.

An instance norm needs the mean and variance of each channel over the whole image, which is
why tools that paint tile by tile show seams and change style from tile to tile.  Here every
layer is first measured over the whole image, strip by strip; the layer after it then computes
the strips that it needs again.  The residual body sees the image at a quarter of its size and
is kept whole.  Of the outer layers as much is kept as the memory set aside for them holds.
The result is the untiled one up to rounding.

This is not a mode: a small image fits whole, and nothing of it is computed twice.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from stylepack.inference.int8 import Levels, Products
from stylepack.inference.kernels import Code
from stylepack.inference.layers import DoublingLayer, Layer, Style, Work
from stylepack.inference.rows import Framed, Pixels, Source, Whole
from stylepack.inference.statistics import Moments, strips
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk, padded_size

Advance = Callable[[float], None]  # is called with the share of the work that is done, 0..1


def in_silence(share: float) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Memory:
    """How much to work on at once.

    A strip has about `strip` pixels of the image, or `rows` rows if those are more.  Of images that
    are four strips of up to twice the size it is a quarter: the longer, the quicker.  `keep`
    activations of the outer layers, numbers of two or four bytes, may be kept rather than
    computed again.
    """

    strip: int = 1 << 18
    rows: int = 64
    keep: int = 1 << 27

    def strip_rows(self, height: int, width: int) -> int:
        """Rows of a strip of an image of this size, a multiple of 4."""
        rows, quarter = max(self.rows, self.strip // width), height // 4
        if quarter * width <= 2 * self.strip:
            rows = max(rows, quarter)
        return -(-rows // 4) * 4


class Memo:
    """What paintings of one image in many styles have in common, kept from one to the next.

    `first` is the first layer, whose convolution knows nothing of the style; `plain` is the image
    painted in the identity style, (3, H, W) uint8.  For one thread and one trunk.
    """

    def __init__(self) -> None:
        self.image: Tensor | None = None
        self.first: Layer | None = None
        self.plain: Tensor | None = None

    def of(self, image: Tensor) -> "Memo":
        """Forget everything if `image` is another one than the last."""
        if image is not self.image:
            self.image, self.first, self.plain = image, None, None
        return self


def paint_streaming(
    trunk: Trunk,
    style: Style,
    image: Tensor,
    memory: Memory,
    advance: Advance = in_silence,
    *,
    int8: Products | None = None,
    memo: Memo | None = None,
) -> Tensor:
    """Paint one image.

    Args:
        trunk: on its device, in the dtype to compute in; float32 on the CPU with `int8`.
        style: on the same device.
        image: (3, H, W) uint8 RGB on the CPU.
        memory: the size of strips, and how much may be kept.
        advance: called with the share of the work that is done, 0..1, at every strip of a layer;
            it may raise to stop the work.
        int8: convolve in whole numbers (`network/int8.py`) for as long as the image allows it, and
            keep here what the next image in this style can use.
        memo: keep there what the next style on this image can use, if the memory allows it.

    Returns:
        (3, H, W) uint8 RGB on the CPU.  No gradient: it is for `torch.no_grad()`.
    """
    step = memory.strip_rows(*padded_size(*image.shape[-2:]))
    weights = trunk.get_parameter("conv1.weight")
    dtype = weights.dtype if int8 is None else training_dtype(weights.device)
    there = image.to(weights.device)
    course = _Course(advance)
    work = Work(trunk, style.for_photograph(trunk, there, step), dtype, int8, course.tick)
    pixels = Pixels(there, trunk.config.grain, dtype if int8 is None else torch.uint8)
    keep = _what_to_keep(trunk, pixels, memory.keep)

    conv1 = Layer(work, "conv1", pixels)
    known = memo.of(image).first if memo else None
    if known is not None and known.coarse == conv1.coarse:
        conv1.take_over(known)
    else:
        conv1.measure(step, keep="conv1" in keep)
    if conv1.coarse and conv1.code is None:  # even this layer had better be done in floats
        work = replace(work, products=None)
        pixels = Pixels(there, trunk.config.grain, dtype)
        conv1 = Layer(work, "conv1", pixels).measure(step, keep="conv1" in keep)
    if memo and conv1.kept is not None:
        memo.first = conv1
    conv2 = Layer(work, "conv2", conv1, stride=2)
    conv2.measure(step // 2, keep="conv2" in keep)
    course.reach(0.15)
    body = _body(work, conv2, step // 4)
    del conv1, conv2  # and what they kept
    course.reach(0.6)
    up1 = DoublingLayer(work, "up1", body).measure(step // 2, keep="up1" in keep)
    course.reach(0.7)
    up2 = DoublingLayer(work, "up2", up1).measure(step, keep="up2" in keep)
    course.reach(0.85)
    out = Layer(work, "out", up2).measure(step, keep=True)

    painted = torch.empty_like(image)
    height, width = image.shape[-2:]
    for a, b in strips(height, step):
        rows = torch.sigmoid(out.normalised(a, b)[0, :, :, :width].float())
        painted[:, a:b] = rows.mul_(255).round_().to(torch.uint8)
    course.reach(1.0)
    return painted


class _Course:
    """How far one painting is."""

    def __init__(self, advance: Advance) -> None:
        self.advance, self.share = advance, 0.0

    def reach(self, share: float) -> None:
        """Note and report that this share is done."""
        self.share = share
        self.advance(share)

    def tick(self) -> None:
        """Report the share that was reached last."""
        self.advance(self.share)


def _body(work: Work, source: Source, step: int) -> Whole:
    """conv3 and the residual blocks, (1, C, H/4, W/4) whole: two such tensors at any time."""
    body = Body(Layer(work, "conv3", source, stride=2), step)
    for block in range(1, work.trunk.config.residual_blocks + 1):
        inner = Layer(work, f"res{block}a", body.source())
        inner.measure(step, keep=True, room=body.room)
        outer = Layer(work, f"res{block}b", inner)
        outer.measure(step, keep=True, room=body.room, using_up=inner)
        body.add(outer)
        del inner, outer  # before the next block asks for its own memory
    return body.source(repeat=True)


class Body:
    """The activations that residual blocks add to: those of a layer after its ReLU, at first.

    `x`, (1, C, H, W), is without `low`, (C,) float32, which is the same for all pixels.  In large
    images all layers keep their rows in one `room`: one that was given back and asked for again
    would not always fit where it was.
    """

    def __init__(self, layer: Layer, step: int) -> None:
        self.strips = list(strips(layer.height, step))
        self.coarse = layer.coarse
        edge = 0 if self.coarse else 1  # what must be turned into levels needs copying anyway
        shape = (1, layer.height + 2 * edge, layer.width + 2 * edge, layer.channels)
        room = torch.empty(shape, dtype=layer.work_dtype, device=layer.weight.device)
        self.framed = room.permute(0, 3, 1, 2) if edge else None
        inside = room[:, edge : edge + layer.height, edge : edge + layer.width]
        self.x = inside.permute(0, 3, 1, 2)
        self.room = layer.make_room()
        layer.measure(step, keep=True, room=self.room)
        self.low = torch.zeros_like(layer.mean)
        for a, b in self.strips:
            self.x[:, :, a:b] = layer.normalised(a, b).relu_()

    def add(self, layer: Layer) -> None:
        """Add a layer's norm, without a ReLU."""
        for a, b in self.strips:
            layer.add_to(self.x[:, :, a:b], a, b)
        self.low += layer.left_out
        self.coarse = layer.coarse

    def source(self, *, repeat: bool = False) -> Whole:
        """What the next layer takes: levels, if its product can be in whole numbers.

        Its borders are those that `bordered` makes with or without `repeat`.
        """
        levels = self._levels() if self.coarse else None
        code = levels or Code(self.low, torch.ones_like(self.low))
        if self.framed is None:
            return Whole(self.x, code)
        return Framed(self.framed, code, repeat=repeat)

    def _levels(self) -> Levels | None:
        found = Moments(with_extremes=True)
        for a, b in self.strips:
            found.add(self.x[:, :, a:b])
        spread = found.spread(*found.joined())
        reach = spread.reach()
        return None if reach is None else Levels.spanning(spread, reach)


def _what_to_keep(trunk: Trunk, pixels: Pixels, memory: int) -> set[str]:
    """Names of the outer layers whose convolutions are kept.

    conv1 and conv2 are gone before up1 and up2 come, so each pair has the memory to itself.
    The half-size layer first: it saves more work for its memory.
    """
    a, b, _ = trunk.config.widths
    area = pixels.height * pixels.width
    kept = set()
    for half_size, full_size in (("conv2", "conv1"), ("up1", "up2")):
        if area // 4 * b <= memory:
            kept.add(half_size)
        if area // 4 * b + area * a <= memory:
            kept.add(full_size)
    return kept
