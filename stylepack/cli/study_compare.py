"""`stylepack study compare`: the report's figure 2."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli.options import Device, LossNetwork, RecipeName, VggInput, VggWeights
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
from stylepack.studies.plans import ComparePlan, planned
from stylepack.training.recipe import RecipeChanges


def compare(
    styles: Styles = None,
    photos: Photos = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the study goes.")
    ] = Path("study-compare"),
    as_published: AsPublished = False,
    quick: Quick = False,
    names: Names = None,
    updates: Updates = None,
    seeds: Annotated[
        int | None, typer.Option(help=f"Trainings of each network.  ({ComparePlan.seeds})")
    ] = None,
    crop: Crop = None,
    batch: Batch = None,
    limit: Limit = None,
    recipe: RecipeName = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    device: Device = "auto",
) -> None:
    """One network of n styles against n networks of one style.

    The report gave each style of the first a fraction of the updates and
    read one batch.  Without --as-published both sides are compared fairly
    too: equal updates per style and in total, on held-out photographs, with
    several seeds, and with what they cost.  The last painting is learned by
    gamma and beta alone on the finished network, and from scratch.

    A study that was stopped goes on when the same command is typed again.
    """
    changes = {"updates": updates, "seeds": seeds, "photographs": limit}
    plan = planned(ComparePlan, published=as_published, quick=quick, changes=changes)
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

    from stylepack.studies.contest_report import CompareStudy

    follow_study(CompareStudy(request, plan, output))
