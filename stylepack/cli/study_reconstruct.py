"""`stylepack study reconstruct`: the report's figures 3 and 4, and table 1."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli.options import Device, LossNetwork, RecipeName, Seed, VggInput, VggWeights
from stylepack.cli.study_running import (
    AsPublished,
    Quick,
    Styles,
    follow_study,
    request_of,
    split,
)
from stylepack.studies.plans import REPORT_LAYERS, Optimizer, ReconstructPlan, planned
from stylepack.training.recipe import RecipeChanges


def reconstruct(
    styles: Styles = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FOLDER", help="Where the study goes.")
    ] = Path("study-reconstruct"),
    as_published: AsPublished = False,
    quick: Quick = False,
    name: Annotated[
        str | None, typer.Option(help="This painting.  (default: the first by name)")
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(metavar="A,B,...", help=f"In order.  ({','.join(REPORT_LAYERS)})"),
    ] = None,
    optimizer: Annotated[
        Optimizer | None, typer.Option(help="lbfgs is that of Gatys et al.")
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(help=f"Adam's.  ({ReconstructPlan.learning_rate}; as published 0.001)"),
    ] = None,
    side: Annotated[
        int | None, typer.Option(min=32, help="Of the image, in pixels.  (256)")
    ] = None,
    updates: Annotated[int | None, typer.Option(help="Updates of an image, at most.")] = None,
    seed: Seed = None,
    recipe: RecipeName = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    device: Device = "auto",
) -> None:
    """Images from noise that minimise the cumulative style loss tau_n of a painting.

    tau_n is the sum of phi_1 to phi_n, the style losses at the first n
    layers.  Shows the images side by side, every phi over the updates, and
    the table of first phi and final tau.

    A study that was stopped goes on with the image that was not finished.
    """
    chosen = split("--layers", layers) or REPORT_LAYERS
    changes = {
        "layers": chosen,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "side": side,
        "updates": updates,
        "seed": seed,
    }
    plan = planned(ReconstructPlan, published=as_published, quick=quick, changes=changes)
    measured = RecipeChanges(
        content_layers=[chosen[0]], style_layers=[*chosen], loss_network=loss_network
    )
    request = request_of(
        recipe,
        measured,
        published=as_published,
        quick=quick,
        styles=styles,
        names=(name,) if name else (),
        vgg_weights=vgg_weights,
        vgg_input=vgg_input,
        device=device,
    )

    from stylepack.studies.reconstruction import ReconstructStudy

    follow_study(ReconstructStudy(request, plan, output))
