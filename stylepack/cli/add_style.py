"""`stylepack add-style`: one painting more on the installed trunk."""

from __future__ import annotations

import math
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli import screen
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
from stylepack.cli.stopping import stop_on_signals
from stylepack.cli.train import check_vgg_input, losses_in_words, measure, metrics_in_words
from stylepack.errors import UsageError
from stylepack.packs.shelf import BUNDLED_PHOTOS, BUNDLED_TRUNK, install_place
from stylepack.training.recipe import load_recipe


def add_style(
    painting: Annotated[Path, typer.Argument(help="The painting, an image file.")],
    name: Annotated[str, typer.Option(help="The pack's name.  (default: the file's)")] = "",
    photos: Annotated[
        Path | None,
        typer.Option(help="Folder of photographs to learn on.  (default: a few bundled ones)"),
    ] = None,
    recipe: RecipeName = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates at most.  (default: 200)")
    ] = None,
    max_time: Annotated[
        float | None, typer.Option(metavar="SECONDS", min=1, help="Learn no longer than this.")
    ] = None,
    style_weight: StyleWeight = None,
    seed: Seed = None,
    loss_network: LossNetwork = None,
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
    check_vgg_input(vgg_input)
    if not painting.is_file():
        raise UsageError(f"no such file: {painting}")
    changes = {"style_weight": style_weight, "seed": seed, "loss_network": loss_network}
    base = load_recipe(recipe or "default", changes)

    from stylepack.network.device import pick_device
    from stylepack.training.finetune import Finetune, finetune_recipe
    from stylepack.training.loss_network import WeightSource, at_hand
    from stylepack.training.paintings import describe, pack_name

    target = pick_device(device)
    facts = {key: value for key, value in (("title", title), ("artist", artist)) if value}
    described = describe(painting, name or pack_name(painting), facts)
    place = install_place(described.name, replace)
    source = WeightSource(vgg_weights, vgg_input)
    if not loss_network:
        base = at_hand(base, source)
    work = Finetune(
        described,
        photos or BUNDLED_PHOTOS,
        trunk or BUNDLED_TRUNK,
        finetune_recipe(base, steps),
        source,
        target,
        max_time or math.inf,
    )
    mix = ", ".join(f"{name} {share:.0%}" for name, share in work.started_from.items())
    screen.say(f"loss network: {base.loss_network}; starting from {mix or 'nothing'}")
    told = 0
    with (
        stop_on_signals("nothing will be installed") as stop,
        screen.meter(f"learning {described.name}", work.recipe.updates) as meter,
        closing(work.train()) as updates,
    ):
        for step in updates:
            for reason in work.photos.skipped[told:]:
                screen.warn(f"skipped: {reason}")
            told = len(work.photos.skipped)
            meter.advance(losses_in_words(step))
            if stop:
                raise typer.Exit(stop.exit_code)
    evaluation = work.evaluation()
    measure(evaluation)
    pack = work.pack(evaluation, author or "", license or "")
    pack.save(place, work.trunk.config)
    screen.say(metrics_in_words(pack.manifest))
    screen.say(f"installed {place}; try: stylepack apply PHOTO --style {described.name}")
