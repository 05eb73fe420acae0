"""Training recipes: every hyperparameter, with its source.

Does not import torch, because `stylepack train --help` reads its defaults from this file.
"""

import json
import math
import re
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from stylepack.errors import UsageError

GramDivisor = Literal["pixels", "size"]
Selection = Literal["random", "round-robin", "sequence"]  # the last: one style after the other

LIMITS = {  # larger values exhaust memory or are typos
    "batch": 65_536,
    "crop": 4096,
    "first_crop": 4096,
    "style_side": 4096,
    "photo_side": 65_536,
    "grain": 1.0,
    "ema": 1.0,
}
_BLOCK = re.compile(r"(?:conv|relu)([1-5])_")


@dataclass(frozen=True)
class Recipe:
    """One training set-up.  The defaults are the `default` recipe, which made the bundled trunk.

    Its losses are relative, so one pair of weights suits every painting: content is the mean
    squared error over the mean square of the photograph's features, style is ||G - A||^2 / ||A||^2
    averaged over layers and scales.  One deep content layer keeps the objects and lets strokes move
    their edges; one style layer per block sees strokes of every size (Gatys et al. 2016).
    """

    name: str = "default"

    # The loss network: VGG by torchvision's names, or the small bundled one.
    loss_network: Literal["bundled", "vgg16", "vgg19"] = "vgg19"
    weights: Literal["IMAGENET1K_V1", "IMAGENET1K_FEATURES"] = "IMAGENET1K_V1"
    content_layers: tuple[str, ...] = ("relu4_1",)
    style_layers: tuple[str, ...] = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

    # The losses.
    relative: bool = True  # divide each loss by the size of its target
    scales: int = 2  # style is measured on the image and its half
    # Relative weights of the style layers; none if all weigh the same.  Blocks 4 and 5 hold the
    # strokes, and cost more content than the colours and grain of blocks 1 and 2.
    layer_weights: tuple[float, ...] = (0.4, 0.4, 1.0, 2.0, 1.2)
    gram_divisor: GramDivisor = "size"  # C*H*W ("size") or H*W ("pixels")
    content_weight: float = 1.0
    similarity_weight: float = 0.4  # self-similarity of the content layers
    style_weight: float = 8.0
    tone_weight: float = 0.5  # light and dark areas of the photograph
    palette_weight: float = 1.0  # colours that the painting does not have
    color_weight: float = 1.0  # amounts of the painting's colours
    tv_weight: float = 0.0  # mean squared difference of neighbours, RGB in 0..1
    saturation_weight: float = 10.0  # logits so large that the sigmoid passes no gradient
    lattice_weight: float = 2.0  # a lattice of 4x4 pixels, the period of the two doublings
    hatching_weight: float = 0.5  # hatching finer than the painting's and the photograph's
    identity_weight: float = 10.0  # pixels of the identity style `photo`

    # The optimization.
    updates: int = 40_000
    batch: int = 4
    learning_rate: float = 1e-3
    style_rate: float = 4.0  # multiple of the learning rate for gamma and beta
    warmup: int = 100  # updates over which the learning rate rises from 0
    decay: Literal["none", "cosine"] = "cosine"
    ema: float = 0.999  # moving average of the weights; 0 keeps the last weights
    initial_std: float = 0.0  # of Gaussian convolution weights; 0 is torch's default
    selection: Selection = "random"
    identity: bool = True  # train the identity style `photo` too
    seed: int = 0

    # The network, if training starts from random weights.
    widths: tuple[int, ...] = (16, 32, 64)  # channels at full, half and quarter size

    # The images.  Sizes are in pixels.
    grain: float = 0.02  # standard deviation of the noise on photographs, RGB in 0..1
    crop: int = 256
    first_crop: int = 0  # crop size for the first half of the updates; 0 is `crop`
    photo_side: int = 384  # crops come from photographs with a short side up to this
    style_side: int = 384  # short side of the paintings

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(f"{name} is {value}; it must be finite")
            if name in ("scales", "updates", "batch", "learning_rate") and not value > 0:
                raise UsageError(f"{name} is {value}; it must be above 0")
            if isinstance(value, int | float) and value < 0:
                raise UsageError(f"{name} is {value}; it must be 0 or more")
            limit = LIMITS.get(name, 1e30 if isinstance(value, float) else 2**63 - 1)
            if isinstance(value, int | float) and value > limit:
                raise UsageError(f"{name} is {value}; it must be at most {limit}")
        if min(self.side, self.photo_side) < 32:
            raise UsageError(
                "crop, first_crop, photo_side and style_side must be at least 32 pixels"
            )
        if len(self.widths) != 3 or not all(1 <= width <= 1024 for width in self.widths):
            raise UsageError(f"widths is {list(self.widths)}; it must be three numbers in 1..1024")
        if not all(math.isfinite(w) and 0 <= w <= 1e6 for w in self.layer_weights) or (
            self.layer_weights and not sum(self.layer_weights)
        ):
            raise UsageError(
                f"layer_weights is {list(self.layer_weights)}; it must be numbers in 0..1e6, "
                "one above 0"
            )
        if self.layer_weights and len(self.layer_weights) != len(self.style_layers):
            raise UsageError(
                f"layer_weights has {len(self.layer_weights)} numbers; it must have one for each "
                f"of the {len(self.style_layers)} style_layers, or none"
            )
        if self.ema == 1:
            raise UsageError("ema is 1; it must be below 1")
        if self.scales > self.most_scales:
            raise UsageError(
                f"scales is {self.scales}; pictures of {self.side} pixels have at most "
                f"{self.most_scales} scales for {', '.join(self.style_layers)}"
            )

    @property
    def side(self) -> int:
        """Short side in pixels of the smallest pictures that losses are computed on."""
        return min(self.crop, self.first_crop or self.crop, self.style_side)

    @property
    def most_scales(self) -> int:
        """Number of scales at which the smallest pictures have a pixel in every style layer."""
        blocks = [int(match[1]) for name in self.style_layers if (match := _BLOCK.match(name))]
        return (self.side >> max(blocks, default=1) - 1).bit_length()

    @property
    def loss_weights(self) -> str:
        """Name of the loss network's weights: torchvision's, or stylepack for the bundled one."""
        return "stylepack" if self.loss_network == "bundled" else self.weights

    def crop_at(self, update: int) -> int:
        """Crop size in pixels at an update counted from 0."""
        early = self.first_crop and update < self.updates // 2
        return self.first_crop if early else self.crop

    def changed(self, changes: "RecipeChanges") -> "Recipe":
        """This recipe with the given values changed.

        Raises:
            UsageError: a value of the wrong type or out of range.
        """
        given = {key: value for key, value in vars(changes).items() if value is not None}
        return _with(self, given, None)

    def to_toml(self) -> str:
        """The recipe as a TOML file that `load_recipe` reads back."""
        # JSON and TOML write strings, numbers, booleans and lists alike, except that TOML escapes
        # DEL.
        lines = (
            f"{key} = {json.dumps(value, ensure_ascii=False)}\n"
            for key, value in asdict(self).items()
        )
        return "".join(lines).replace("\x7f", "\\u007f")


@dataclass(frozen=True)
class RecipeChanges:
    """Fields of a recipe that a command line replaces; None keeps the recipe's own."""

    updates: int | None = None
    batch: int | None = None
    crop: int | None = None
    first_crop: int | None = None
    style_weight: float | None = None
    content_weight: float | None = None
    tv_weight: float | None = None
    learning_rate: float | None = None
    seed: int | None = None
    loss_network: str | None = None
    content_layers: list[str] | None = None
    style_layers: list[str] | None = None


NO_CHANGES = RecipeChanges()


# Johnson, Alahi & Fei-Fei 2016, "Perceptual Losses for Real-Time Style Transfer"; values from the
# authors' train.lua (github.com/jcjohnson/fast-neural-style), whose layers 4, 9, 16, 23 are
# relu1_2, relu2_2, relu3_3, relu4_3.  Its total variation (TotalVariation.lua) has the gradient of
# 1e-6 times half the sum over the batch of squared differences of 0..255 pixels; as a mean per
# image of 0..1 differences the weight is 1e-6 / 2 * 255^2 * (3 * 256 * 256) * 4 = 2.6e4.
# Differences: conditional instance norm after every convolution, sigmoid instead of 150 tanh,
# nearest upsampling instead of transposed convolution.
_JOHNSON = Recipe(
    name="johnson",
    loss_network="vgg16",
    weights="IMAGENET1K_FEATURES",
    content_layers=("relu3_3",),
    style_layers=("relu1_2", "relu2_2", "relu3_3", "relu4_3"),
    layer_weights=(),
    relative=False,
    scales=1,
    gram_divisor="size",
    content_weight=1.0,
    similarity_weight=0.0,
    style_weight=5.0,
    tv_weight=2.6e4,
    tone_weight=0.0,
    palette_weight=0.0,
    color_weight=0.0,
    saturation_weight=0.0,
    lattice_weight=0.0,
    hatching_weight=0.0,
    updates=40_000,
    batch=4,
    learning_rate=1e-3,
    style_rate=1.0,
    warmup=0,
    widths=(32, 64, 128),
    grain=0.0,
    decay="none",
    ema=0.0,
    identity=False,
    crop=256,
    photo_side=256,
    style_side=256,
)

# Dumoulin, Shlens & Kudlur 2017, appendix A (Adam 1e-3, 40,000 updates, batch 16, Gaussian initial
# weights of standard deviation 0.01); the rest is from the authors' code,
# github.com/magenta/magenta, image_stylization_train.py, learning.py and vgg.py: 256 pixels,
# content vgg_16/conv3 at 1 and style conv1 to conv4 at 1e-4 (each the last ReLU of its block),
# means of squares, Gram divided by H*W, no total variation, RGB in 0..255 minus the mean, a style
# drawn for every image.  The network is the paper's, without johnson's differences.  Differences
# from the code: VGG has max pooling, not average; crops are random and mirrored, not central;
# paintings have a short side of 256 pixels, not the file's size; no biases, which the norms would
# subtract again.
_DUMOULIN = replace(
    _JOHNSON,
    name="dumoulin",
    gram_divisor="pixels",
    style_weight=1e-4,
    tv_weight=0.0,
    batch=16,
    initial_std=0.01,
)

# The COMP6248 report, which follows github.com/pytorch/examples fast_neural_style: content relu2_2
# at 1e5, style at 1e10, Gram divided by C*H*W, ImageNet-normalized input, one style per update in
# turn.
_SEED = replace(
    _JOHNSON,
    name="seed",
    weights="IMAGENET1K_V1",
    content_layers=("relu2_2",),
    content_weight=1e5,
    style_weight=1e10,
    tv_weight=0.0,
    selection="round-robin",
)

RECIPES = {recipe.name: recipe for recipe in (Recipe(), _DUMOULIN, _JOHNSON, _SEED)}


def load_recipe(source: str, changes: RecipeChanges = NO_CHANGES) -> Recipe:
    """A recipe by preset name or from a TOML file, with changes applied.

    A TOML file has only the keys that it changes; `base = "johnson"` starts from another preset.

    Raises:
        UsageError: no such preset or file, or an unknown key or invalid value.
    """
    recipe = RECIPES.get(source) or _read_toml(source)
    return recipe.changed(changes)


def recipe_from(values: dict[str, Any], source: object) -> Recipe:
    """A recipe from plain values, as read from TOML or JSON.

    Raises:
        UsageError: an unknown key, or a value of the wrong type.
    """
    values = dict(values)
    base = values.pop("base", "default")
    if not isinstance(base, str) or base not in RECIPES:
        raise UsageError(f"{source}: no recipe '{base}'; there are {', '.join(RECIPES)}")
    return _with(RECIPES[base], values, source)


def _with(recipe: Recipe, values: dict[str, Any], source: object) -> Recipe:
    """A recipe with changed values; errors name their `source`, None for the command line."""
    hints = get_type_hints(Recipe)
    checked: dict[str, Any] = {}
    if values.get("style_layers") and "layer_weights" not in values:
        checked["layer_weights"] = ()  # the base's belong to its own layers
    for key, value in values.items():
        if key not in hints:
            known = ", ".join(field.name for field in fields(Recipe))
            raise UsageError(f"{source}: a recipe has no '{key}'; it has {known}")
        checked[key] = _checked(key, value, hints[key], source)
    try:
        return replace(recipe, **checked)
    except UsageError as error:
        if source:
            raise UsageError(f"{source}: {error}") from None
        key, _, rest = str(error).partition(" ")
        raise UsageError(f"{_option(key) if key in hints else key} {rest}") from None


def _read_toml(source: str) -> Recipe:
    path = Path(source)
    if path.suffix != ".toml":
        raise UsageError(
            f"no recipe '{source}'; use {', '.join(RECIPES)} or the path of a .toml file"
        )
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read recipe {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    return recipe_from({"name": path.stem, **values}, path)


def _checked(key: str, value: Any, expected: Any, source: object) -> Any:
    choices = get_args(expected)
    if choices and choices[-1] is ...:  # tuple[str, ...] and the like
        kind = choices[0]
        allowed = (int, float) if kind is float else (kind,)
        may_be_empty = kind is float
        if (
            isinstance(value, list)
            and (value or may_be_empty)
            and all(type(item) in allowed for item in value)
        ):
            return tuple(kind(item) for item in value)
        words = {str: "layer names", int: "whole numbers", float: "numbers"}
        what = f"a list of {words[kind]}"
    elif choices:
        if value in choices:
            return value
        what = f"one of {', '.join(choices)}"
    else:
        if type(value) is expected:
            return value
        if expected is float and type(value) is int:
            return float(value)
        what = {"str": "text", "int": "a whole number", "float": "a number"}.get(
            expected.__name__, "true or false"
        )
    where = f"{source}: recipe key '{key}'" if source else _option(key)
    raise UsageError(f"{where} is {value!r}; it must be {what}")


def _option(key: str) -> str:
    return f"--{key.replace('_', '-')}"
