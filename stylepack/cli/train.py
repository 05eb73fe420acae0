"""`stylepack train`: train a trunk and its packs on paintings and photographs."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylepack.cli import console
from stylepack.cli.console import follow, follow_previews
from stylepack.cli.options import (
    ADVANCED,
    LEARNING,
    OUT,
    Author,
    Device,
    License,
    LossNetwork,
    RecipeName,
    Seed,
    StyleWeight,
    VggInput,
    VggWeights,
    flag,
    of_recipe,
    opt,
)
from stylepack.errors import UsageError, counted
from stylepack.files import make_folder
from stylepack.launchers import Launch
from stylepack.library.trunks import find_trunk
from stylepack.packs.manifest import TRUNK_FILE
from stylepack.packs.mix import parse_mix
from stylepack.recipe import RecipeChanges, load_recipe
from stylepack.signals import stop_on_signals
from stylepack.training.settings import RunOptions, RunSettings

if TYPE_CHECKING:
    import torch

    from stylepack.training.run import Run


def train(
    styles: Annotated[Path | None, opt("FOLDER", "Paintings, one style each.")] = None,
    photos: Annotated[Path | None, opt("FOLDER", "Photographs, searched recursively.")] = None,
    output: Annotated[Path | None, opt("RUN", "Folder for the run.", names=OUT)] = None,
    start_from: Annotated[Path | None, opt("TRUNK", "Start from a trunk, by name or file.")] = None,
    resume: Annotated[Path | None, opt("RUN", "Continue a stopped run.")] = None,
    recipe: RecipeName = None,
    updates: Annotated[
        int | None, opt("N", of_recipe("Updates in all.", "updates"), LEARNING)
    ] = None,
    batch: Annotated[
        str | None,
        opt("N|auto", of_recipe("Photographs an update", "batch"), LEARNING),
    ] = None,
    crop: Annotated[
        int | None, opt("N", of_recipe("Crop size in pixels.", "crop"), LEARNING)
    ] = None,
    first_crop: Annotated[
        int | None, opt("N", "Crop size in the first half of the updates.", LEARNING)
    ] = None,
    style_weight: StyleWeight = None,
    balance: Annotated[
        str | None,
        opt("NAME=X,...", "Factors of style weights: wave=4.", LEARNING),
    ] = None,
    content_weight: Annotated[
        float | None, opt("X", of_recipe("Weight of the content loss.", "content_weight"), LEARNING)
    ] = None,
    tv_weight: Annotated[
        float | None, opt("X", of_recipe("Weight of total variation.", "tv_weight"), LEARNING)
    ] = None,
    learning_rate: Annotated[
        float | None, opt("X", of_recipe("Adam's learning rate.", "learning_rate"), LEARNING)
    ] = None,
    seed: Seed = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    sheet_every: Annotated[
        int | None, opt("N", "Updates between contact sheets (default: 500).", ADVANCED)
    ] = None,
    checkpoint_every: Annotated[
        int | None, opt("N", "Updates between checkpoints (default: 500).", ADVANCED)
    ] = None,
    preview: Annotated[
        bool, flag("--preview", "Only paint RUN/preview.png at five style weights.")
    ] = False,
    device: Device = "auto",
    compiled: Annotated[
        bool | None,
        flag("--compile/--no-compile", "Use torch.compile (default: on CUDA).", ADVANCED),
    ] = None,
    author: Author = None,
    license: License = None,
) -> None:
    """Train a trunk on a folder of paintings and write one pack for each.

    Takes hours to days: 40,000 updates by default. Ctrl-C saves a checkpoint and stops; --resume
    continues, and other options then replace the run's own. --batch auto takes as many photographs
    as fit the device. VGG's weights, half a gigabyte, are downloaded once; --loss-network bundled
    needs no download. Under torchrun all processes train one trunk.

    Examples:
      stylepack train --styles art/ --photos photos/ -o run --loss-network bundled
      stylepack train --resume run
    """
    launch = Launch.from_environment()
    console.speak_as(launch.rank)
    if any(every is not None and every < 1 for every in (sheet_every, checkpoint_every)):
        raise UsageError("--sheet-every and --checkpoint-every must be at least 1")
    changes = RecipeChanges(
        updates=updates,
        batch=launch.world if batch == "auto" else whole_number(batch, "--batch"),
        crop=crop,
        first_crop=first_crop,
        style_weight=style_weight,
        content_weight=content_weight,
        tv_weight=tv_weight,
        learning_rate=learning_rate,
        seed=seed,
        loss_network=loss_network,
    )
    given = RunOptions(
        styles=styles and styles.absolute(),
        photos=photos and photos.absolute(),
        start_from=start_from and find_trunk(start_from).absolute(),
        balance=dict(parse_mix(balance).parts) if balance is not None else None,
        vgg_weights=vgg_weights and vgg_weights.absolute(),
        vgg_input=vgg_input,
        sheet_every=sheet_every,
        checkpoint_every=checkpoint_every,
        compiled=compiled,
        author=author,
        license=license,
    )
    if resume is not None:
        if output is not None or recipe is not None:
            raise UsageError(
                "--resume continues in the run's folder with its recipe; leave out -o and --recipe"
            )
        if start_from is not None and not preview and launch.rank == 0:
            console.warn(f"{resume} continues from its own checkpoint; --start-from has no effect")
        if batch == "auto":
            raise UsageError(
                "--batch auto is for the start of a run; a resumed run keeps its batch"
            )
        folder, settings = resume, RunSettings.read(resume)
        settings = replace(settings, recipe=settings.recipe.changed(changes)).changed(given)
    elif styles is None or photos is None or output is None:
        raise UsageError("train needs --styles FOLDER --photos FOLDER -o RUN, or --resume RUN")
    else:
        folder = output
        base = load_recipe(recipe or "default", changes)
        settings = RunSettings(styles, photos, base).changed(given)

    from stylepack.training.distributed import Ranks, joined, own_device
    from stylepack.training.run import Run

    place = own_device(device, launch)
    if preview:
        if launch.rank == 0:
            preview_styles(folder, settings, place)
        return
    Ranks(launch.rank, launch.world).part(settings.recipe.batch)  # refused before they connect
    with joined(launch, place) as ranks:
        if resume is None:
            fit = batch == "auto"
            run = Run.start(folder, settings, place, ranks, launch, fit_batch=fit)
        else:
            run = Run.resume(folder, settings, place, ranks, launch)
        with closing(run):
            code = follow_run(run)
    if code:
        raise typer.Exit(code)


def preview_styles(folder: Path, settings: RunSettings, device: torch.device) -> None:
    """Paint preview.png in `folder`: every painting learned briefly at several weights."""
    from stylepack.losses.weights import WeightSource
    from stylepack.training.finetune import PREVIEW_STEPS, Finetune, Preview, finetune_recipe
    from stylepack.training.paintings import read_paintings

    source = WeightSource(settings.vgg_weights, settings.vgg_input)
    recipe = finetune_recipe(settings.recipe, PREVIEW_STEPS)
    trunk = settings.start_from or find_trunk(None)
    make_folder(folder, "choose another folder with -o")
    works = (
        Finetune(painting, settings.photos, trunk, recipe, source, device)
        for painting in read_paintings(settings.styles)
    )
    follow_previews([Preview(work) for work in works], folder / "preview.png")


def photographs_in_words(run: Run) -> str:
    """`90 photographs, 10 held out`, or a note that there are too few to hold some out."""
    count, held_out = len(run.photos.paths), len(run.held_out.paths)
    if run.photos.paths == run.held_out.paths:
        return f"{counted(count, 'photograph')} (too few to hold some out)"
    return f"{counted(count, 'photograph')}, {held_out} held out"


def follow_run(run: Run) -> int:
    """Show a run until it ends or Ctrl-C stops it; return the exit code."""
    recipe, resume = run.recipe, f"`stylepack train --resume {run.folder}`"
    together = f", {run.ranks.world} processes" if run.ranks.world > 1 else ""
    console.say(
        f"{len(run.names)} styles ({', '.join(run.names)}), {photographs_in_words(run)}, "
        f"batch {recipe.batch}, on {run.trainer.device}{together}"
    )
    done = run.trainer.update
    if done >= recipe.updates:
        console.say(f"all {done:,} updates are done; --updates N trains longer")
    with stop_on_signals("saving a checkpoint", console.say) as stop:
        events = run.train(lambda: stop.asked)
        follow(events, "training", recipe.updates, done=done, speed=True)
    if run.throughput.reports:
        console.say(str(run.throughput))
    if run.trainer.update < recipe.updates:
        console.say(f"stopped at update {run.trainer.update}; continue: {resume}")
        return 128 + run.stopping
    if asked := run.stopping or stop.asked:
        console.say(f"stopped; to write the packs: {resume}")
        return 128 + asked
    if not run.ranks.first:
        return 0
    with stop_on_signals(f"write the packs later with {resume}", console.say) as stop:
        follow(run.export(lambda: stop.asked), "measuring", len(run.held_out.paths))
    if stop:
        return stop.exit_code
    console.say(f"wrote the trunk and {counted(len(run.names), 'pack')} in {run.folder}")
    console.result(run.folder / TRUNK_FILE)
    return 0


def whole_number(text: str | None, option: str) -> int | None:
    """Parse an option as a whole number; None if it was not given.

    Raises:
        UsageError: it is not a whole number.
    """
    if text is None or text.isdecimal():
        return None if text is None else int(text)
    raise UsageError(f"{option} is '{text}'; it must be a whole number or auto")
