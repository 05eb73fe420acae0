"""`stylepack study`: the COMP6248 report's experiments, as published and corrected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylepack.cli import console
from stylepack.cli.console import follow
from stylepack.cli.options import (
    OUT,
    App,
    Device,
    LossNetwork,
    RecipeName,
    Seed,
    TrunkFile,
    VggInput,
    VggWeights,
    flag,
    opt,
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
    Plan,
    ReconstructPlan,
    planned,
    study_recipe,
)
from stylepack.library.resolve import resolve
from stylepack.recipe import RecipeChanges, load_recipe
from stylepack.signals import stop_on_signals

if TYPE_CHECKING:
    from stylepack.lab.study.materials import Request
    from stylepack.lab.study.study import Study

study = App(
    help="""Repeat the COMP6248 report's experiments on your own paintings and photographs.

    Examples:
      stylepack study interpolate --corners starry,scream,wave,composition
      stylepack study reconstruct --styles art/ --name starry -o starry/
    """
)

Styles = Annotated[Path | None, opt("FOLDER", "Paintings.")]
Photos = Annotated[Path | None, opt("FOLDER", "Photographs (default: the five bundled ones).")]
Names = Annotated[str | None, opt("A,B,...", "Paintings (default: the first by name).")]
AsPublished = Annotated[bool, flag("--as-published", "Use the report's settings and procedure.")]
Quick = Annotated[bool, flag("--quick", "Run at a small scale, under five minutes on one core.")]
Updates = Annotated[int | None, opt("N", "Updates of each network.")]
Crop = Annotated[int | None, opt("N", "Crop size in pixels.")]
Batch = Annotated[int | None, opt("N", "Photographs an update.")]
Limit = Annotated[int | None, opt("N", "Photographs to measure.")]
Output = Annotated[Path, opt("FOLDER", "Folder for the study.", names=OUT)]


@dataclass(frozen=True)
class StudyOptions:
    """Options common to all studies."""

    published: bool
    quick: bool
    recipe: str | None
    loss_network: str | None
    vgg_weights: Path | None
    vgg_input: str | None
    device: str

    def plan(self, kind: type[Plan], **changes: Any) -> Plan:
        """The sizes of a study; `changes` that are not None take precedence."""
        return planned(kind, published=self.published, quick=self.quick, changes=changes)

    def request(
        self,
        styles: Path | None,
        photos: Path | None = None,
        names: tuple[str, ...] = (),
        **changes: Any,
    ) -> Request:
        """The inputs of a study; `changes` are fields of `RecipeChanges`.

        With --as-published the recipe is `seed`, the report's.  Unless a loss network is given, the
        bundled one is used where no VGG weights are cached and it has the recipe's layers.
        """
        base = load_recipe(self.recipe or ("seed" if self.published else "default"))
        changed = RecipeChanges(loss_network=self.loss_network, **changes)
        recipe = study_recipe(base, quick=self.quick, changes=changed)

        from stylepack.lab.study.materials import Request
        from stylepack.losses.weights import WeightSource, without_download
        from stylepack.network.device import pick_device

        source = WeightSource(self.vgg_weights, self.vgg_input)
        if self.loss_network is None:
            recipe = without_download(recipe, source)
        device = pick_device(self.device)
        return Request(recipe, source, device, self.published, styles, photos, names)


@study.command()
def losses(
    styles: Styles = None,
    photos: Photos = None,
    output: Output = Path("study-losses"),
    run: Annotated[Path | None, opt("RUN", "Draw the curves of a run of `train` instead.")] = None,
    as_published: AsPublished = False,
    quick: Quick = False,
    names: Names = None,
    selections: Annotated[
        str | None, opt("A,B", f"Ways to select styles: {', '.join(SELECTIONS)}.")
    ] = None,
    block_norms: Annotated[
        int | None, opt("N", "Norms in a residual block (report: 1).", min=1, max=2)
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
    """Plot content and style losses of an n-style network's styles over its updates.

    Without --as-published, three ways to select the styles of an update get the same budget.
    Losses are measured on training batches and on held-out photographs.

    To continue a study that was stopped, type the same command.

    Examples:
      stylepack study losses --styles paintings/ --photos photos/ --quick
      stylepack study losses --run runs/mine
    """
    if run is not None:
        from stylepack.lab.study.losses import RunCurves

        follow_study(RunCurves(run, output))
        return
    chosen = split("--selections", selections)
    for selection in chosen:
        if selection not in SELECTIONS:
            raise UsageError(f"no selection '{selection}'; there are {', '.join(SELECTIONS)}")
    shared = StudyOptions(as_published, quick, recipe, loss_network, vgg_weights, vgg_input, device)
    plan = shared.plan(
        LossesPlan,
        updates=updates,
        photographs=limit,
        selections=chosen or None,
        block_norms=block_norms,
        seed=seed,
    )
    request = shared.request(styles, photos, split("--names", names), crop=crop, batch=batch)

    from stylepack.lab.study.losses import LossesStudy

    follow_study(LossesStudy(request, plan, output))


@study.command()
def compare(
    styles: Styles = None,
    photos: Photos = None,
    output: Output = Path("study-compare"),
    as_published: AsPublished = False,
    quick: Quick = False,
    names: Names = None,
    updates: Updates = None,
    seeds: Annotated[
        int | None, opt("N", f"Trainings of each network (default: {ComparePlan.seeds}).")
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
    """Compare one network of n styles with n networks of one style.

    The report gave each style of the first a fraction of the updates and measured one batch.
    Without --as-published the two are also compared with equal updates, per style and in total,
    on held-out photographs and with several seeds. The last painting is learned by gamma and
    beta alone on the finished network, and from scratch.

    To continue a study that was stopped, type the same command.

    Examples:
      stylepack study compare --styles paintings/ --photos photos/ --quick
      stylepack study compare --styles paintings/ --photos photos/ --as-published
    """
    shared = StudyOptions(as_published, quick, recipe, loss_network, vgg_weights, vgg_input, device)
    plan = shared.plan(ComparePlan, updates=updates, seeds=seeds, photographs=limit)
    request = shared.request(styles, photos, split("--names", names), crop=crop, batch=batch)

    from stylepack.lab.study.compare_report import CompareStudy

    follow_study(CompareStudy(request, plan, output))


@study.command()
def reconstruct(
    styles: Styles = None,
    output: Output = Path("study-reconstruct"),
    as_published: AsPublished = False,
    quick: Quick = False,
    name: Annotated[str | None, opt("NAME", "The painting (default: the first by name).")] = None,
    layers: Annotated[
        str | None, opt("A,B,...", f"Layers in order (default: {','.join(REPORT_LAYERS)}).")
    ] = None,
    optimizer: Annotated[Optimizer | None, typer.Option(help="lbfgs is Gatys et al.'s.")] = None,
    learning_rate: Annotated[
        float | None,
        opt("X", f"Adam's rate (default: {ReconstructPlan.learning_rate}; as published: 0.001)."),
    ] = None,
    side: Annotated[
        int | None, opt("N", "Side of the image in pixels (default: 256).", min=32)
    ] = None,
    updates: Annotated[int | None, opt("N", "Updates of an image at most.")] = None,
    seed: Seed = None,
    recipe: RecipeName = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    device: Device = "auto",
) -> None:
    """Optimise noise for the cumulative style loss tau_n of a painting.

    tau_n is the sum of phi_1 to phi_n, the style losses at the first n layers. Reports the
    images, every phi over the updates, and a table of first phi and final tau.

    To continue a study that was stopped, type the same command.

    Examples:
      stylepack study reconstruct --styles paintings/ --quick
      stylepack study reconstruct --styles paintings/ --name wave --optimizer adam
    """
    chosen = split("--layers", layers) or REPORT_LAYERS
    shared = StudyOptions(as_published, quick, recipe, loss_network, vgg_weights, vgg_input, device)
    plan = shared.plan(
        ReconstructPlan,
        layers=chosen,
        optimizer=optimizer,
        learning_rate=learning_rate,
        side=side,
        updates=updates,
        seed=seed,
    )
    names = (name,) if name else ()
    request = shared.request(
        styles, names=names, content_layers=[chosen[0]], style_layers=[*chosen]
    )

    from stylepack.lab.study.reconstruct import ReconstructStudy

    follow_study(ReconstructStudy(request, plan, output))


@study.command()
def interpolate(
    styles: Styles = None,
    photos: Photos = None,
    output: Output = Path("study-interpolate"),
    as_published: AsPublished = False,
    quick: Quick = False,
    corners: Annotated[
        str | None,
        opt("A,B[,C,...]", f"Packs; the sweep is from A to B (default: {','.join(CORNERS)})."),
    ] = None,
    photo: Annotated[
        Path | None, opt("FILE", "The grid's photograph (default: the first).")
    ] = None,
    steps: Annotated[
        int | None,
        opt("N", f"Pictures from corner to corner (default: {InterpolatePlan.steps}).", min=2),
    ] = None,
    alphas: Annotated[
        int | None, opt("N", f"Points of the sweep (default: {InterpolatePlan.alphas}).", min=2)
    ] = None,
    limit: Limit = None,
    recipe: RecipeName = None,
    loss_network: LossNetwork = None,
    vgg_weights: VggWeights = None,
    vgg_input: VggInput = None,
    trunk: TrunkFile = None,
    device: Device = "auto",
) -> None:
    """Paint mixes between packs, and measure style losses from one pack to another.

    Between two or four corners the weights are bilinear, between more by inverse distance; they
    sum to 1, but not with --as-published. The sweep, style loss of A and of B against alpha,
    needs the packs' paintings (--styles), in files named like the packs.

    To continue a study that was stopped, type the same command.

    Examples:
      stylepack study interpolate --quick
      stylepack study interpolate --corners starry,wave --styles paintings/
    """
    shared = StudyOptions(as_published, quick, recipe, loss_network, vgg_weights, vgg_input, device)
    plan = shared.plan(
        InterpolatePlan,
        corners=split("--corners", corners) or None,
        steps=steps,
        alphas=alphas,
        photographs=limit,
    )
    request = shared.request(styles, photos)

    from stylepack.lab.study.interpolate import InterpolateStudy

    follow_study(InterpolateStudy(request, plan, output, resolve(plan.corners, trunk), photo))


def split(option: str, names: str | None) -> tuple[str, ...]:
    """Names in `a,b`, the value of an option; empty for None.

    Raises:
        UsageError: a name is repeated.
    """
    found = [name.strip() for name in (names or "").split(",") if name.strip()]
    for name in found:
        if found.count(name) > 1:
            raise UsageError(f"{option} names {name} twice")
    return tuple(found)


def follow_study(study: Study) -> None:
    """Run a study with a progress bar and print the report's path, or stop at Ctrl-C."""
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
