"""`stylepack add-style`: one painting more on the installed trunk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.cli import console
from stylepack.cli.console import follow, follow_previews, follow_style
from stylepack.cli.options import (
    Author,
    Device,
    License,
    LossNetwork,
    RecipeName,
    Replace,
    Seed,
    StyleWeight,
    TrunkFile,
    VggInput,
    VggWeights,
)
from stylepack.errors import UsageError
from stylepack.library.shelf import check_free
from stylepack.library.trunks import find_trunk
from stylepack.packs.manifest import typed_name
from stylepack.recipe import RecipeChanges, load_recipe


def add_style(
    painting: Annotated[Path, typer.Argument(help="The painting, an image file.")],
    name: Annotated[str, typer.Option(help="The pack's name.  (default: the file's)")] = "",
    photos: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs to learn on.  (default: a few bundled ones)"),
    ] = None,
    recipe: RecipeName = None,
    updates: Annotated[
        int | None,
        typer.Option(min=1, help="Updates at most.  (default: 250)"),
    ] = None,
    max_time: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="Learn no longer than this.")
    ] = None,
    style_weight: StyleWeight = None,
    seed: Seed = None,
    loss_network: LossNetwork = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Install nothing: paint NAME.preview.png over style weights, from short runs.",
        ),
    ] = False,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    trunk: TrunkFile = None,
    replace: Replace = False,
    device: Device = "auto",
    title: Annotated[str, typer.Option(help="The painting's title, for the pack.")] = "",
    artist: Annotated[str, typer.Option(help="The painting's artist, for the pack.")] = "",
    author: Author = None,
    license: License = None,
) -> None:
    """Learn a new style from one painting: gamma and beta alone, on the installed trunk.

    The trunk and every other pack stay as they are.  Learning stops when the losses on other
    photographs stop falling.  Without --loss-network the recipe's VGG is used where its weights
    are cached or given, and the small bundled network elsewhere: nothing is downloaded.
    Ctrl-C stops and installs nothing.
    """
    if painting.is_dir():
        raise UsageError(f"{painting} is a folder; give the picture of one painting")
    if not painting.is_file():
        raise UsageError(f"no such file: {painting}")
    if name:
        typed_name(name, "--name")
    changes = RecipeChanges(style_weight=style_weight, seed=seed, loss_network=loss_network)
    base = load_recipe(recipe or "default", changes)

    from stylepack.library.install import install_new
    from stylepack.losses.weights import WeightSource, without_download
    from stylepack.network.device import pick_device
    from stylepack.training.export import metrics_in_words
    from stylepack.training.finetune import PREVIEW_STEPS, Finetune, Preview, finetune_recipe
    from stylepack.training.paintings import describe, pack_name

    target = pick_device(device)
    facts = {key: value for key, value in (("title", title), ("artist", artist)) if value}
    described = describe(painting, name or pack_name(painting), facts)
    if not preview:
        check_free(described.name, replace)
    source = WeightSource(vgg_weights, vgg_input)
    if not loss_network:
        base = without_download(base, source)
    work = Finetune(
        described,
        photos or BUNDLED_PHOTOS,
        find_trunk(trunk),
        finetune_recipe(base, updates or (PREVIEW_STEPS if preview else None)),
        source,
        target,
        max_time or math.inf,
    )
    mix = ", ".join(f"{name} {share:.0%}" for name, share in work.started_from.items())
    console.say(f"loss network: {base.loss_network}; starting from {mix or 'nothing'}")
    if preview:
        follow_previews([Preview(work)], Path(f"{described.name}.preview.png"))
        return
    follow_style(work.train(), described.name, work.recipe.updates)
    evaluation = work.evaluation()
    follow(evaluation.measure(), "measuring", len(evaluation))
    pack = work.pack(evaluation, author or "", license or "")
    place = install_new(pack, work.trunk.config, replace)
    console.say(metrics_in_words(pack.manifest))
    console.say(f"installed {place}; try: stylepack apply PHOTO --style {described.name}")
