"""`stylepack add-style`: learn a new style from one painting."""

from __future__ import annotations

import math
import shlex
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.cli import console
from stylepack.cli.console import follow, follow_previews, learn
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
    arg,
    flag,
    opt,
)
from stylepack.errors import UsageError
from stylepack.library.shelf import check_free
from stylepack.library.trunks import find_trunk
from stylepack.recipe import RecipeChanges, load_recipe
from stylepack.signals import Stop

if TYPE_CHECKING:
    from stylepack.training.finetune import Finetune

PACK = "The pack"
LEARNING = "Learning"


def add_style(
    painting: Annotated[Path, arg("PAINTING", "An image file.")],
    name: Annotated[str, opt("NAME", "The pack's name (default: the file's).")] = "",
    title: Annotated[str, opt("TEXT", "The painting's title.", PACK)] = "",
    artist: Annotated[str, opt("TEXT", "The painting's artist.", PACK)] = "",
    author: Author = None,
    license: License = None,
    replace: Replace = False,
    style_weight: StyleWeight = None,
    preview: Annotated[
        bool, flag("--preview", "Install nothing; paint NAME.preview.png at five style weights.")
    ] = False,
    photos: Annotated[
        Path | None, opt("FOLDER", "Photographs to learn on (default: bundled ones).", LEARNING)
    ] = None,
    max_time: Annotated[
        float | None, opt("SECONDS", "Learn for this long at most.", LEARNING, min=1)
    ] = None,
    updates: Annotated[
        int | None, opt("N", "Updates at most (default: 60).", LEARNING, min=1)
    ] = None,
    resume: Annotated[
        bool, flag("--resume", "Continue a style that was stopped, or the installed one.")
    ] = False,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    recipe: RecipeName = None,
    seed: Seed = None,
    trunk: TrunkFile = None,
    device: Device = "auto",
) -> None:
    """Learn a new style from one painting and install it as a pack.

    Only gamma and beta are trained; the trunk and the other packs stay as they are. A first
    version, like that of `apply --painting`, takes seconds. Learning then stops when the loss on
    held-out photographs stops falling. Nothing is downloaded: without --loss-network, VGG is used
    if its weights are cached, else a small bundled network.

    After the first version Ctrl-C keeps the style as it is; you can install it or continue later.

    Examples:
        stylepack add-style painting.jpg --name dream

        stylepack add-style painting.jpg --preview
    """
    if resume and preview:
        raise UsageError("--preview cannot continue a style; leave out --resume")
    changes = RecipeChanges(style_weight=style_weight, seed=seed, loss_network=loss_network)
    base = load_recipe(recipe or "default", changes)

    from stylepack.losses.weights import WeightSource, without_download
    from stylepack.network.device import pick_device
    from stylepack.training.add_style import (
        described_painting,
        earlier_style,
        first_version,
        planned,
    )
    from stylepack.training.finetune import PREVIEW_STEPS, Finetune, Preview

    described = described_painting(painting, name, title=title, artist=artist)
    target = pick_device(device)
    place = find_trunk(trunk)
    earlier = earlier_style(described, place) if resume else None
    if not preview:
        check_free(described.name, replace or resume)
    source = WeightSource(vgg_weights, vgg_input)
    if not loss_network:
        base = without_download(base, source)
    quick = None if preview or earlier else first_version(described, place, base, updates)
    work = Finetune(
        described,
        photos or BUNDLED_PHOTOS,
        place,
        planned(base, updates or (PREVIEW_STEPS if preview else None), earlier, quick),
        source,
        target,
        max_time or math.inf,
        earlier,
        quick,
    )
    if quick:
        try:
            follow(work.first_version(), f"a first version of {described.name}", len(quick))
        except KeyboardInterrupt:
            console.say("stopped before there was a style to keep; the same command starts over")
            raise
    console.say(f"loss network: {base.loss_network}; {start_in_words(work)}")
    if preview:
        follow_previews([Preview(work)], Path(f"{described.name}.preview.png"))
        return
    stop = learn(work, work.train(), lambda: work.trainer.planned, "keeping the style")
    given = {
        "--photos": photos,
        "--recipe": recipe,
        "--updates": updates,
        "--style-weight": style_weight,
        "--seed": seed,
        "--loss-network": loss_network,
        "--vgg-weights": vgg_weights,
        "--vgg-input": vgg_input,
        "--trunk": trunk,
    }
    again = ["stylepack", "add-style", str(painting), "--name", described.name, "--resume"]
    for option, value in given.items():
        again += [] if value is None else [option, str(value)]
    if stop and not install_as_it_is(work, stop, shlex.join(again), (author or "", license or "")):
        raise typer.Exit(stop.exit_code)
    install(work, author or "", license or "", replace or resume)
    if stop:
        console.say(f"continue learning: {shlex.join(again)}")


def start_in_words(work: Finetune) -> str:
    """`starting from starry 60%, wave 40%`, or `continuing after 30 updates`."""
    earlier = work.earlier
    if earlier.updates:
        return f"continuing after {earlier.updates} updates"
    mix = zip(earlier.started_from.references, earlier.started_from.weights, strict=True)
    return f"starting from {', '.join(f'{name} {share:.0%}' for name, share in mix) or 'scratch'}"


def install_as_it_is(work: Finetune, stop: Stop, again: str, words: tuple[str, str]) -> bool:
    """Keep a style whose learning was stopped; return whether to install it as it is."""
    from stylepack.training.add_style import keep_unfinished

    work.settle()
    file = keep_unfinished(work, *words)
    total = work.earlier.updates + work.recipe.updates
    name = work.painting.name
    console.say(f"kept '{name}' after {work.updates} of {total} updates: {file}")
    if stop.asked == signal.SIGINT and console.can_ask():
        if console.ask(f"Install '{name}' as it is?"):
            return True
    else:
        console.say(f"install it as it is: stylepack packs install {shlex.quote(str(file))}")
    console.say(f"continue learning: {again}")
    return False


def install(work: Finetune, author: str, license: str, replace: bool) -> None:
    """Measure a learned style and install its pack."""
    from stylepack.training.add_style import install_learned, keep_unfinished
    from stylepack.training.export import metrics_in_words

    evaluation = work.evaluation()
    try:
        follow(evaluation.measure(), "measuring", len(evaluation))
        pack = work.pack(evaluation, author, license)
    except BaseException:  # an interrupt here must not lose minutes of learning
        file = keep_unfinished(work, author, license)
        console.say(f"kept the style: stylepack packs install {shlex.quote(str(file))}")
        raise
    place = install_learned(work, pack, replace=replace)
    console.say(metrics_in_words(pack.manifest))
    name = pack.manifest.name
    console.say(f"installed '{name}'; try it: stylepack apply PHOTO --style {name}")
    console.result(place)
