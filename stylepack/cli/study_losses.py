"""`stylepack study losses`: the report's figure 1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli.options import Device, LossNetwork, RecipeName, Seed, VggInput, VggWeights
from stylepack.cli.study_running import (
    AsPublished,
    Batch,
    Crop,
    Limit,
    Names,
    Photos,
    Quick,
    Styles,
    Updates,
    follow_study,
    request_of,
    split,
)
from stylepack.errors import UsageError
from stylepack.studies.plans import SELECTIONS, LossesPlan, planned
from stylepack.training.recipe import RecipeChanges


def losses(
    styles: Styles = None,
    photos: Photos = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the study goes.")
    ] = Path("study-losses"),
    run: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Draw the curves of this run of `train`; train nothing."),
    ] = None,
    as_published: AsPublished = False,
    quick: Quick = False,
    names: Names = None,
    selections: Annotated[
        str | None,
        typer.Option(metavar="A,B", help=f"Ways to select styles: {', '.join(SELECTIONS)}."),
    ] = None,
    block_norms: Annotated[
        int | None,
        typer.Option(min=1, max=2, help="Norms of a residual block; the report's has one, twice."),
    ] = None,
    updates: Updates = None,
    crop: Crop = None,
    batch: Batch = None,
    limit: Limit = None,
    seed: Seed = None,
    recipe: RecipeName = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    device: Device = "auto",
) -> None:
    """Content and style loss of each style of an n-style network over its updates.

    Without --as-published three ways to select the styles of an update get
    the same budget.  Losses are taken on the batches that are trained on and
    on held-out photographs, the same ones for every style.

    A study that was stopped goes on when the same command is typed again.
    """
    if run is not None:
        from stylepack.studies.curves import RunCurves

        follow_study(RunCurves(run, output))
        return
    chosen = split("--selections", selections)
    for selection in chosen:
        if selection not in SELECTIONS:
            raise UsageError(f"no selection '{selection}'; there are {', '.join(SELECTIONS)}")
    changes = {
        "updates": updates,
        "photographs": limit,
        "selections": chosen or None,
        "block_norms": block_norms,
        "seed": seed,
    }
    plan = planned(LossesPlan, published=as_published, quick=quick, changes=changes)
    sizes = RecipeChanges(crop=crop, batch=batch, loss_network=loss_network)
    request = request_of(
        recipe,
        sizes,
        published=as_published,
        quick=quick,
        styles=styles,
        photos=photos,
        names=split("--names", names),
        vgg_weights=vgg_weights,
        vgg_input=vgg_input,
        device=device,
    )

    from stylepack.studies.curves import LossesStudy

    follow_study(LossesStudy(request, plan, output))
