"""Options and progress that the studies' commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stylepack.cli import console
from stylepack.cli.console import follow
from stylepack.errors import UsageError
from stylepack.lab.study.plans import study_recipe
from stylepack.recipe import RecipeChanges, load_recipe
from stylepack.signals import stop_on_signals

if TYPE_CHECKING:
    from stylepack.lab.study.materials import Request
    from stylepack.lab.study.study import Study

Styles = Annotated[Path | None, typer.Option(metavar="FOLDER", help="Paintings.")]
Photos = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Photographs (default: the five bundled ones)."),
]
Names = Annotated[
    str | None,
    typer.Option(metavar="A,B,...", help="Paintings (default: the first by name)."),
]
AsPublished = Annotated[
    bool, typer.Option("--as-published", help="Use the report's settings and procedure.")
]
Quick = Annotated[
    bool, typer.Option("--quick", help="Run at a small scale, under five minutes on one core.")
]
Updates = Annotated[int | None, typer.Option(metavar="N", help="Updates of each network.")]
Crop = Annotated[int | None, typer.Option(metavar="N", help="Crop size in pixels.")]
Batch = Annotated[int | None, typer.Option(metavar="N", help="Photographs an update.")]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Photographs to measure.")]


def split(option: str, names: str | None) -> tuple[str, ...]:
    """Names in `a,b`, as typed after an option; none of nothing.

    Raises:
        UsageError: a name is repeated.
    """
    found = [name.strip() for name in (names or "").split(",") if name.strip()]
    for name in found:
        if found.count(name) > 1:
            raise UsageError(f"{option} names {name} twice")
    return tuple(found)


def request_of(
    recipe: str | None,
    changes: RecipeChanges,
    *,
    published: bool,
    quick: bool,
    styles: Path | None,
    photos: Path | None = None,
    names: tuple[str, ...] = (),
    vgg_weights: Path | None,
    vgg_input: str | None,
    device: str,
) -> Request:
    """The request of a study, from the command's options.

    With --as-published the recipe is `seed`, the report's.  Unless `changes` names a loss network,
    the bundled one is used where no VGG weights are cached and it has the recipe's layers.
    """
    base = load_recipe(recipe or ("seed" if published else "default"))
    chosen = study_recipe(base, quick=quick, changes=changes)

    from stylepack.lab.study.materials import Request
    from stylepack.losses.weights import WeightSource, without_download
    from stylepack.network.device import pick_device

    source = WeightSource(vgg_weights, vgg_input)
    if changes.loss_network is None:
        chosen = without_download(chosen, source)
    return Request(chosen, source, pick_device(device), published, styles, photos, names)


def follow_study(study: Study) -> None:
    """Show a study's progress to its end and print the report's path, or stop at Ctrl-C."""
    total = len(study)
    with stop_on_signals("keeping what is done", console.say) as stop:
        done = follow(study.run(), "studying", total, stop=stop)
    if stop and done < total:
        console.say(f"stopped after {done} of {total}; type the same command to continue")
        raise typer.Exit(stop.exit_code)
    console.say("drawing the figures")
    *_, report = study.write()
    console.say(f"wrote the report, its figures and tables in {study.folder.path}")
    console.result(report)
