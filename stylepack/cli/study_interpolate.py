"""`stylepack study interpolate`: the report's figure 5."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli.options import (
    Device,
    LossNetwork,
    RecipeName,
    TrunkFile,
    VggInput,
    VggWeights,
)
from stylepack.cli.study_running import (
    AsPublished,
    Limit,
    Photos,
    Quick,
    Styles,
    follow_study,
    request_of,
    split,
)
from stylepack.packs.resolve import resolve
from stylepack.studies.plans import CORNERS, InterpolatePlan, planned
from stylepack.training.recipe import RecipeChanges


def interpolate(
    styles: Styles = None,
    photos: Photos = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the study goes.")
    ] = Path("study-interpolate"),
    as_published: AsPublished = False,
    quick: Quick = False,
    corners: Annotated[
        str | None,
        typer.Option(
            metavar="A,B[,C,...]",
            help=f"Packs; the sweep is from A to B.  ({','.join(CORNERS)})",
        ),
    ] = None,
    photo: Annotated[
        Path | None, typer.Option(help="The grid's photograph.  (default: the first one)")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=2, help=f"From corner to corner.  ({InterpolatePlan.steps})")
    ] = None,
    alphas: Annotated[
        int | None, typer.Option(min=2, help=f"Points of the sweep.  ({InterpolatePlan.alphas})")
    ] = None,
    limit: Limit = None,
    recipe: RecipeName = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    trunk: TrunkFile = None,
    device: Device = "auto",
) -> None:
    """Mixes between any number of packs, and the style losses on the way from one to another.

    Between two or four corners weights are bilinear, between others by
    inverse distance; they sum to 1.  --as-published leaves them unnormalised.
    The sweep, style loss of A and of B against alpha, needs the paintings
    that the packs were learned from: --styles.

    A study that was stopped goes on when the same command is typed again.
    """
    changes = {
        "corners": split("--corners", corners) or None,
        "steps": steps,
        "alphas": alphas,
        "photographs": limit,
    }
    plan = planned(InterpolatePlan, published=as_published, quick=quick, changes=changes)
    request = request_of(
        recipe,
        RecipeChanges(loss_network=loss_network),
        published=as_published,
        quick=quick,
        styles=styles,
        photos=photos,
        vgg_weights=vgg_weights,
        vgg_input=vgg_input,
        device=device,
    )

    from stylepack.studies.interpolation import InterpolateStudy

    follow_study(InterpolateStudy(request, plan, output, resolve(plan.corners, trunk), photo))
