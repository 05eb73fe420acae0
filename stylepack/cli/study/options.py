"""Options and progress that the studies' commands share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stylepack.cli import console
from stylepack.cli.console import follow
from stylepack.cli.options import OUT, flag, opt
from stylepack.errors import UsageError
from stylepack.lab.study.plans import Plan, planned, study_recipe
from stylepack.recipe import RecipeChanges, load_recipe
from stylepack.signals import stop_on_signals

if TYPE_CHECKING:
    from stylepack.lab.study.materials import Request
    from stylepack.lab.study.study import Study

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
    """Options that every study has."""

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
