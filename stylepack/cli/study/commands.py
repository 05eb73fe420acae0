"""`stylepack study`: the COMP6248 report's experiments, as they were and put right."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stylepack.cli.options import (
    Device,
    LossNetwork,
    RecipeName,
    Seed,
    TrunkFile,
    VggInput,
    VggWeights,
)
from stylepack.cli.study.options import (
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
from stylepack.lab.study.plans import (
    CORNERS,
    REPORT_LAYERS,
    SELECTIONS,
    ComparePlan,
    InterpolatePlan,
    LossesPlan,
    Optimizer,
    ReconstructPlan,
    planned,
)
from stylepack.library.resolve import resolve
from stylepack.recipe import RecipeChanges

study = typer.Typer(
    no_args_is_help=True,
    help="Repeat the COMP6248 report's experiments on your own paintings and photographs.",
)


@study.command()
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

    from stylepack.lab.study.compare_report import CompareStudy

    follow_study(CompareStudy(request, plan, output))


@study.command()
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

    from stylepack.lab.study.interpolate import InterpolateStudy

    follow_study(InterpolateStudy(request, plan, output, resolve(plan.corners, trunk), photo))


@study.command()
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
        from stylepack.lab.study.losses import RunCurves

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

    from stylepack.lab.study.losses import LossesStudy

    follow_study(LossesStudy(request, plan, output))


@study.command()
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

    from stylepack.lab.study.reconstruct import ReconstructStudy

    follow_study(ReconstructStudy(request, plan, output))
