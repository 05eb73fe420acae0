"""Options that several commands share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from stylepack.cli.completion import complete_trunk
from stylepack.recipe import RECIPES, Recipe

DEFAULTS = Recipe()


def of_recipe(text: str, field: str) -> str:
    """Help for an option that overrides a field of the recipe."""
    return f"{text}  (the default recipe's: {getattr(DEFAULTS, field)})"


Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[
    str, typer.Option(help="auto, float32, bfloat16, float16 or int8.  auto: what is fastest here.")
]
TrunkFile = Annotated[
    Path | None,
    typer.Option(
        metavar="NAME|FILE",
        help="A trunk.  (default: the one that the packs belong to, else the bundled one)",
        autocompletion=complete_trunk,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Use packs that do not name their trunk.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace what has the same name.")]
RecipeName = Annotated[
    str | None,
    typer.Option(metavar="NAME|FILE", help=f"A preset ({', '.join(RECIPES)}) or a .toml file."),
]
StyleWeight = Annotated[
    float | None, typer.Option(help=of_recipe("Weight of the style loss.", "style_weight"))
]
Seed = Annotated[int | None, typer.Option(help=of_recipe("Seed of every random draw.", "seed"))]
VggWeights = Annotated[
    Path | None,
    typer.Option(help="The loss network's weights (.safetensors or .pth) instead of a download."),
]
LossNetwork = Annotated[
    str | None,
    typer.Option(metavar="bundled|vgg16|vgg19", help="The network that the losses are taken in."),
]
VggInput = Annotated[
    Literal["caffe", "imagenet"] | None,
    typer.Option(help="What those weights expect: caffe (0..255 less the mean) or imagenet."),
]
Author = Annotated[str | None, typer.Option(help="Author to name in the packs.")]
License = Annotated[str | None, typer.Option(help="Licence to name in the packs.")]
