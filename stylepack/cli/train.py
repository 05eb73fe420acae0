"""`stylepack train`: paintings and photographs to a trunk and its packs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylepack.cli import screen
from stylepack.cli.following import follow_previews, losses_in_words, measure, metrics_in_words
from stylepack.cli.options import (
    Author,
    Device,
    License,
    LossNetwork,
    RecipeName,
    Seed,
    StyleWeight,
    VggInput,
    VggWeights,
    of_recipe,
)
from stylepack.cli.stopping import stop_on_signals
from stylepack.errors import UsageError
from stylepack.packs.mix import parse_mix
from stylepack.packs.trunks import find_trunk
from stylepack.training.recipe import load_recipe
from stylepack.training.settings import RunSettings

if TYPE_CHECKING:
    import torch

    from stylepack.training.run import Run


def train(
    styles: Annotated[
        Path | None,
        typer.Option(help="Folder of paintings, one style each; a paintings.csv may name them."),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photographs to learn on, searched in depth.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="RUN", help="Folder for the run.")
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            metavar="TRUNK",
            help="Begin with this trunk, a name or file, and its packs.  (default: random weights)",
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Go on with a stopped run; options given with it replace its own."
        ),
    ] = None,
    recipe: RecipeName = None,
    updates: Annotated[
        int | None, typer.Option(help=of_recipe("Updates in all.", "updates"))
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help=of_recipe("Photographs an update.", "batch"))
    ] = None,
    crop: Annotated[
        int | None, typer.Option(help=of_recipe("Crop size in pixels.", "crop"))
    ] = None,
    first_crop: Annotated[
        int | None,
        typer.Option(help="Crop size for the first half of the updates; smaller is faster."),
    ] = None,
    style_weight: StyleWeight = None,
    balance: Annotated[
        str | None,
        typer.Option(
            metavar="NAME=X,...", help="Times the style weight for single paintings: wave=4."
        ),
    ] = None,
    content_weight: Annotated[
        float | None, typer.Option(help=of_recipe("Weight of the content loss.", "content_weight"))
    ] = None,
    tv_weight: Annotated[
        float | None, typer.Option(help=of_recipe("Weight of the total variation.", "tv_weight"))
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help=of_recipe("Adam's learning rate.", "learning_rate"))
    ] = None,
    seed: Seed = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    sheet_every: Annotated[
        int | None, typer.Option(help="Updates between contact sheets.  (500)")
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(help="Updates between checkpoints.  (500)")
    ] = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Train nothing: paint RUN/preview.png, every painting over style weights, "
            "from short runs on the trunk of --start-from or the bundled one.",
        ),
    ] = False,
    device: Device = "auto",
    author: Author = None,
    license: License = None,
) -> None:
    """Train a trunk on every painting of a folder and write one style pack for each.

    Ctrl-C finishes the update, saves a checkpoint and stops; `--resume RUN` goes on.
    """
    check_vgg_input(vgg_input)
    if min(sheet_every or 1, checkpoint_every or 1) < 1:
        raise UsageError("--sheet-every and --checkpoint-every must be at least 1")
    changes: dict[str, Any] = {
        "updates": updates,
        "batch": batch,
        "crop": crop,
        "first_crop": first_crop,
        "style_weight": style_weight,
        "content_weight": content_weight,
        "tv_weight": tv_weight,
        "learning_rate": learning_rate,
        "seed": seed,
        "loss_network": loss_network,
    }
    wanted: dict[str, Any] = {
        "styles": styles and styles.absolute(),
        "photos": photos and photos.absolute(),
        "start_from": start_from and find_trunk(start_from).absolute(),
        "balance": dict(parse_mix(balance).parts) if balance else None,
        "vgg_weights": vgg_weights and vgg_weights.absolute(),
        "vgg_input": vgg_input,
        "sheet_every": sheet_every,
        "checkpoint_every": checkpoint_every,
        "author": author,
        "license": license,
    }
    given = {key: value for key, value in wanted.items() if value is not None}
    if resume is not None:
        if output is not None or recipe is not None:
            raise UsageError("--resume goes on in its own folder and recipe: no -o, no --recipe")
        folder, settings = resume, RunSettings.read(resume)
        settings = replace(settings, recipe=settings.recipe.changed(changes), **given)
    elif styles is None or photos is None or output is None:
        raise UsageError("train needs --styles DIR --photos DIR -o RUN, or --resume RUN")
    else:
        folder = output
        settings = RunSettings(recipe=load_recipe(recipe or "default", changes), **given)

    from stylepack.network.device import pick_device
    from stylepack.training.run import Run

    if preview:
        preview_styles(folder, settings, pick_device(device))
        return
    start = Run.start if resume is None else Run.resume
    run = start(folder, settings, pick_device(device))
    follow(run)


def preview_styles(folder: Path, settings: RunSettings, device: torch.device) -> None:
    """Paint preview.png in `folder`: every painting learned briefly at several weights."""
    from stylepack.training.finetune import Finetune, finetune_recipe
    from stylepack.training.loss_network import WeightSource
    from stylepack.training.paintings import read_paintings
    from stylepack.training.preview import STEPS, Preview

    source = WeightSource(settings.vgg_weights, settings.vgg_input)
    recipe = finetune_recipe(settings.recipe, STEPS)
    trunk = settings.start_from or find_trunk(None)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {error.strerror}") from error
    works = (
        Finetune(painting, settings.photos, trunk, recipe, source, device)
        for painting in read_paintings(settings.styles)
    )
    follow_previews([Preview(work) for work in works], folder / "preview.png")


def follow(run: Run) -> None:
    """Show a run's progress to its end, or to the first Ctrl-C."""
    recipe = run.recipe
    screen.say(
        f"{len(run.names)} styles ({', '.join(run.names)}), {len(run.photos.paths)} photographs, "
        f"{len(run.held_out.paths)} held out, on {run.trainer.device}"
    )
    told = 0
    with (
        stop_on_signals("saving a checkpoint") as stop,
        screen.meter("training", recipe.updates, run.trainer.update) as meter,
        notices_of(run),
        closing(run.train()) as steps,
    ):
        for step in steps:
            for reason in run.skipped[told:]:
                screen.warn(f"skipped: {reason}")
            told = len(run.skipped)
            while run.notices:
                screen.warn(run.notices.pop(0))
            meter.advance(losses_in_words(step), to=step.update)
            if stop and step.update < recipe.updates:
                break
    if stop and run.trainer.update < recipe.updates:
        screen.say(
            f"stopped at update {run.trainer.update}; "
            f"go on with `stylepack train --resume {run.folder}`"
        )
        raise typer.Exit(stop.exit_code)
    evaluation = run.evaluation()
    measure(evaluation)
    for manifest in run.write_packs(evaluation):
        screen.say(metrics_in_words(manifest))
    screen.say(f"wrote {run.folder / 'trunk.safetensors'} and {run.folder / 'packs'}")


@contextmanager
def notices_of(run: Run) -> Iterator[None]:
    """Tell what is left of a run's notices at the end, whatever the end is."""
    try:
        yield
    finally:
        for notice in run.notices:
            screen.warn(notice)


def check_vgg_input(value: str | None) -> None:
    """Refuse anything but the two input scales.

    Raises:
        UsageError: `value` is neither None, caffe nor imagenet.
    """
    if value not in (None, "caffe", "imagenet"):
        raise UsageError(f"--vgg-input is '{value}'; it must be caffe or imagenet")
