"""`study losses`: the losses of an n-style network over its updates (the report's figure 1)."""

import statistics
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

from stylepack.errors import TrainingError
from stylepack.events import Event, Progress
from stylepack.lab.intervals import Estimate
from stylepack.lab.study.materials import Materials, Request, choose_paintings
from stylepack.lab.study.networks import HeldOut, Losses, Measured, StudyNetwork, finished_network
from stylepack.lab.study.plans import LossesPlan
from stylepack.lab.study.report import (
    ALL_KINDS,
    KINDS,
    Bars,
    Curve,
    Panel,
    Report,
    counted,
    draw_bars,
    draw_panels,
    intervals,
    quantity,
)
from stylepack.lab.study.study import StudyFolder
from stylepack.recipe import Recipe, Selection
from stylepack.training.dataset import FEWEST
from stylepack.training.reports.losses_log import NAME
from stylepack.training.reports.sheets import averaged, read_curves
from stylepack.training.settings import RunSettings


class LossesStudy:
    """One network for each way to select styles, trained and measured alike."""

    def __init__(self, request: Request, plan: LossesPlan, output: Path) -> None:
        paintings = choose_paintings(request, plan.styles, least=2)
        self.plan = plan = replace(plan, styles=len(paintings))
        recipe = replace(request.recipe, updates=plan.updates, seed=plan.seed)
        self.request = request = replace(request, recipe=recipe)
        self.materials = Materials(request, paintings, least=FEWEST)
        self.objective = self.materials.objective(paintings)
        settings = request.settings({"study": "losses", **asdict(plan)}, paintings)
        self.folder = StudyFolder(output, settings | {"photos": self.materials.fingerprint})

    def __len__(self) -> int:
        return len(self.plan.selections) * self.plan.updates

    @property
    def moments(self) -> list[int]:
        """The updates at which the networks are measured, evenly spread from 0 on."""
        count = min(self.plan.moments, self.plan.updates)
        return [round(self.plan.updates * n / count) for n in range(count + 1)]

    @cached_property
    def held_out(self) -> HeldOut:
        """The photographs that no network learns on."""
        photos, side = self.materials.held_out, self.materials.recipe.crop
        return HeldOut(photos, self.plan.photographs, side, self.objective)

    def run(self) -> Generator[Event]:
        """Train what is not trained yet."""
        return self.materials.journal.around(self._steps())

    def _steps(self) -> Generator[Progress]:
        for place, selection in enumerate(self.plan.selections):
            before = place * self.plan.updates
            if self._finished(selection) is None:
                for step in self._pupil(selection).train(self.held_out):
                    style = statistics.fmean(step.style)
                    words = f"{selection}: style loss {style:#.3g}"
                    yield Progress(before + step.update, words)
            else:
                yield Progress(before + self.plan.updates, f"{selection}: done before")

    def write(self) -> list[Path]:
        """Tables, figures and the report."""
        measured = self._measured()
        report = Report("Losses of an n-style network over its updates")
        report.say(self._preface())
        files = [self._training_table(), self._held_out_table(measured)]
        files += self._draw(report, measured)
        files.append(self.folder.write_results(self._results(measured)))
        return [*files, report.write(self.folder.path)]

    def _pupil(self, selection: Selection) -> StudyNetwork:
        materials = self.materials
        recipe = replace(materials.recipe, selection=selection)
        return StudyNetwork(
            selection,
            self.folder,
            recipe,
            self._names,
            self.objective,
            materials.photos,
            self.moments,
            block_norms=self.plan.block_norms,
        )

    @property
    def _names(self) -> list[str]:
        return [painting.name for painting in self.materials.paintings]

    def _finished(self, selection: str) -> Measured | None:
        return finished_network(self.folder, selection, self.plan.styles, self.moments)

    def _measured(self) -> dict[str, Measured]:
        found = {name: self._finished(name) for name in self.plan.selections}
        return {name: measured for name, measured in found.items() if measured is not None}

    def _training_table(self) -> Path:
        rows = []
        for selection in self.plan.selections:
            curves = read_curves(self.folder.path / "networks" / selection / NAME)
            for style, (updates, losses) in curves.items():
                triples = zip(updates, losses["content_loss"], losses["style_loss"], strict=True)
                rows += [(selection, int(u), style, float(c), float(s)) for u, c, s in triples]
        columns = ("selection", "update", "style", "content_loss", "style_loss")
        return self.folder.write_table("losses.csv", columns, rows)

    def _held_out_table(self, measured: dict[str, Measured]) -> Path:
        columns = ("selection", "update", "style", "photograph", "content", "style_loss", "total")
        rows = (
            (selection, update, name, photo, *values)
            for selection, one in measured.items()
            for update, losses in one.moments.items()
            for name, found in zip(self._names, losses, strict=True)
            for photo, values in enumerate(
                zip(found.content, found.style, found.total, strict=True), start=1
            )
        )
        return self.folder.write_table("held-out.csv", columns, rows)

    def _draw(self, report: Report, measured: dict[str, Measured]) -> list[Path]:
        shown, folder, photographs = self.plan.selections[0], self.folder.path, len(self.held_out)
        files = [folder / "losses.png", folder / "held-out.png"]
        draw_training(
            folder / "networks" / shown / NAME, self.materials.recipe, self._names, files[0]
        )
        report.figure(
            files[0],
            f"Losses of the batches that were trained on, selection {shown}: every point is a mean "
            "of consecutive updates, each of other photographs.",
        )
        draw_panels(files[1], self._held_out_panels(measured[shown]))
        report.figure(
            files[1],
            f"The same network on {counted(photographs, 'held-out photograph')}, the same for "
            f"every style and moment.{intervals('Bands', photographs)}",
        )
        if len(measured) > 1:
            files += self._compare_selections(report, measured)
        report.say(f"After {self.plan.updates:,} updates, held out, the mean of the styles:")
        report.table(
            ("selection", *ALL_KINDS.values(), "training time, s"),
            [(name, *self._means(one).values(), one.seconds) for name, one in measured.items()],
        )
        return files

    def _held_out_panels(self, measured: Measured) -> list[Panel]:
        """Content and style loss of every style; update 0 is left out, it dwarfs the rest."""
        moments = [moment for moment in measured.moments if moment]
        panels = []
        for kind, title in KINDS.items():
            curves = [
                Curve.of(
                    name,
                    moments,
                    [Estimate.of(getattr(measured.moments[m][index], kind)) for m in moments],
                )
                for index, name in enumerate(self._names)
            ]
            unit = quantity(kind, self.materials.recipe)
            panels.append(Panel(f"{title}, held out", "updates", unit, curves, y_scale="log"))
        return panels

    def _compare_selections(self, report: Report, measured: dict[str, Measured]) -> list[Path]:
        files = [self.folder.path / "selections.png", self.folder.path / "selections-styles.png"]
        moments = [moment for moment in self.moments if moment]
        panels = []
        for kind, title in ALL_KINDS.items():
            curves = [
                Curve.of(name, moments, [over_styles(one.moments[m], kind) for m in moments])
                for name, one in measured.items()
            ]
            panels.append(
                Panel(
                    f"{title}, mean of styles",
                    "updates",
                    quantity(kind, self.materials.recipe),
                    curves,
                    y_scale="log",
                )
            )
        draw_panels(files[0], panels)
        report.head("Ways to select styles")
        report.figure(
            files[0],
            "Held-out losses, the mean of all styles, for each way to select the styles of an "
            f"update.{intervals('Bands', len(self.held_out))}",
        )
        ends = {name: one.moments[self.plan.updates] for name, one in measured.items()}
        draw_bars(files[1], [self._bars(kind, ends) for kind in KINDS])
        whiskers = intervals("Whiskers", len(self.held_out))
        report.figure(files[1], f"The same at the end, style by style.{whiskers}")
        return files

    def _bars(self, kind: str, ends: dict[str, list[Losses]]) -> Bars:
        groups = {
            name: [Estimate.of(getattr(one, kind)) for one in losses]
            for name, losses in ends.items()
        }
        heading = f"{KINDS[kind]} after {self.plan.updates:,} updates"
        unit = quantity(kind, self.materials.recipe)
        return Bars(heading, unit, self._names, groups)

    def _means(self, measured: Measured) -> dict[str, Estimate]:
        """Held-out losses at the end, the mean of the styles."""
        end = measured.moments[self.plan.updates]
        return {kind: over_styles(end, kind) for kind in ALL_KINDS}

    def _results(self, measured: dict[str, Measured]) -> dict[str, object]:
        return {
            "mean_of_styles": {
                name: {kind: asdict(figure) for kind, figure in self._means(one).items()}
                for name, one in measured.items()
            },
            "seconds": {name: one.seconds for name, one in measured.items()},
            "held_out_photographs": len(self.held_out),
            "final": {
                selection: {
                    name: {kind: asdict(Estimate.of(getattr(losses, kind))) for kind in ALL_KINDS}
                    for name, losses in zip(
                        self._names, one.moments[self.plan.updates], strict=True
                    )
                }
                for selection, one in measured.items()
            },
        }

    def _preface(self) -> str:
        plan, recipe = self.plan, self.materials.recipe
        ways = ", ".join(plan.selections)
        several = len(plan.selections) > 1
        budget = ", and the ways to select styles get the same budget" if several else ""
        norms = "one norm, used twice" if plan.block_norms == 1 else "two norms"
        mode = (
            "As published: losses are read on the batches at hand.  The held-out figure is ours."
            if self.request.published
            else "Corrected: every style is measured on the same held-out photographs, whatever "
            f"batch training had at the time{budget}.  `--as-published` takes styles in turn, the "
            "report's losses and its residual block."
        )
        mode += f"  Selection: {ways}.  A residual block has {norms}."
        return (
            f"{plan.styles} styles ({', '.join(self._names)}), {plan.updates:,} updates of "
            f"{recipe.batch} crops of {recipe.crop} pixels, recipe `{recipe.name}`, loss network "
            f"{self.request.network_in_words}, "
            f"{counted(len(self.materials.photos.paths), 'photograph')} to learn on.\n\n{mode}"
        )


class RunCurves:
    """The same figure from the folder of a `stylepack train` run: nothing is trained."""

    def __init__(self, run: Path, output: Path) -> None:
        """Begin.

        Raises:
            TrainingError: not a run folder, or no update of it is written yet.
        """
        self.run_folder, self.history = run, run / NAME
        if not self.history.is_file():
            raise TrainingError(f"{run} is not a run folder: it has no {NAME}")
        self.recipe = RunSettings.read(run).recipe
        self.folder = StudyFolder(output, {"study": "losses", "run": str(run.absolute())})

    def __len__(self) -> int:
        return 1

    def run(self) -> Generator[Progress]:
        """There is nothing to train."""
        yield Progress(1, "read")

    def write(self) -> list[Path]:
        """The figure and the report."""
        curves = read_curves(self.history)
        if not curves:
            raise TrainingError(f"{self.history} has no updates yet; go on with the run first")
        target = self.folder.path / "losses.png"
        draw_training(self.history, self.recipe, [*curves], target)
        report = Report(f"Losses of {self.run_folder.name}")
        report.figure(
            target, "Losses of the batches that were trained on, the mean of consecutive updates."
        )
        last = {
            style: {kind: float(losses[f"{kind}_loss"][-1]) for kind in KINDS}
            for style, (_, losses) in curves.items()
        }
        results = self.folder.write_results({"last_batch": last})
        return [target, results, report.write(self.folder.path)]


def over_styles(losses: list[Losses], kind: str) -> Estimate:
    """The mean over all styles, with the interval of the photographs."""
    by_photo = zip(*(getattr(one, kind) for one in losses), strict=True)
    return Estimate.of([statistics.fmean(values) for values in by_photo])


def draw_training(history: Path, recipe: Recipe, names: Sequence[str], target: Path) -> None:
    """Content and style loss of every style over the updates, from a losses.csv."""
    curves = read_curves(history)
    panels = []
    for kind, title in KINDS.items():
        lines = []
        for style in names:
            if style not in curves:
                continue  # so few updates that it was never drawn
            updates, losses = curves[style]
            if not losses[f"{kind}_loss"].any():
                continue  # the identity style has no style loss
            x, y = averaged(updates, losses[f"{kind}_loss"])
            lines.append(Curve(style, x.tolist(), y.tolist()))
        unit = quantity(kind, recipe)
        panels.append(Panel(f"{title}, training batches", "updates", unit, lines, y_scale="log"))
    draw_panels(target, panels)
