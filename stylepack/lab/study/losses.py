"""`study losses`: the losses of an n-style network over its updates (the report's figure 1)."""

import statistics
from collections.abc import Generator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from stylepack.errors import TrainingError, counted
from stylepack.events import Progress
from stylepack.lab.intervals import Estimate
from stylepack.lab.study.materials import Request, choose_paintings
from stylepack.lab.study.networks import Losses, Measured, NetworkSpec
from stylepack.lab.study.plans import LossesPlan
from stylepack.lab.study.report import (
    ALL_KINDS,
    Bars,
    Report,
    draw_bars,
    intervals,
    mean_curve,
    quantity,
    units,
)
from stylepack.lab.study.study import StudyFolder
from stylepack.lab.study.trained import TrainedStudy
from stylepack.training.reports.charts import KINDS, Panel, draw_losses, draw_panels, read_curves
from stylepack.training.reports.losses_csv import NAME
from stylepack.training.settings import RunSettings


class LossesStudy(TrainedStudy):
    """One network per way to select styles, trained and measured alike."""

    plan: LossesPlan

    def __init__(self, request: Request, plan: LossesPlan, output: Path) -> None:
        paintings = choose_paintings(request, plan.styles, least=2)
        plan = replace(plan, styles=len(paintings))
        recipe = replace(request.recipe, updates=plan.updates, seed=plan.seed)
        super().__init__(
            "losses", replace(request, recipe=recipe), plan, output, paintings, paintings
        )
        count = min(plan.readouts, plan.updates)
        readouts = tuple(round(plan.updates * n / count) for n in range(count + 1))
        self.specs = [
            NetworkSpec(way, replace(recipe, selection=way), tuple(paintings), readouts)
            for way in plan.selections
        ]

    def write(self) -> list[Path]:
        """Write tables, figures and the report."""
        measured = {spec.name: self.measured(spec) for spec in self.specs}
        report = Report("Losses of an n-style network over its updates")
        report.say(self._preface())
        files = [self._training_table(), self._held_out_table(measured)]
        files += self._draw(report, measured)
        files.append(self.folder.write_results(self._results(measured)))
        return [*files, report.write(self.folder.path)]

    def _history(self, selection: str) -> Path:
        return self.folder.path / "networks" / selection / NAME

    def _training_table(self) -> Path:
        rows = []
        for selection in self.plan.selections:
            for style, (updates, losses) in read_curves(self._history(selection)).items():
                triples = zip(updates, losses["content_loss"], losses["style_loss"], strict=True)
                rows += [(selection, int(u), style, float(c), float(s)) for u, c, s in triples]
        columns = ("selection", "update", "style", "content_loss", "style_loss")
        return self.folder.write_table("losses.csv", columns, rows)

    def _held_out_table(self, measured: dict[str, Measured]) -> Path:
        columns = ("selection", "update", "style", "photograph", "content", "style_loss", "total")
        rows = (
            (selection, *row)
            for selection, network in measured.items()
            for row in network.rows(self.names)
        )
        return self.folder.write_table("held-out.csv", columns, rows)

    def _draw(self, report: Report, measured: dict[str, Measured]) -> list[Path]:
        shown, folder, photographs = self.plan.selections[0], self.folder.path, len(self.held_out)
        files = [folder / "losses.png", folder / "held-out.png"]
        draw_losses(self._history(shown), files[0], self.names, units(self.materials.recipe))
        report.figure(
            files[0],
            f"Losses of training batches, selection {shown}: every point is the mean of "
            "consecutive updates, each with other photographs.",
        )
        draw_panels(files[1], self._held_out_panels(measured[shown]))
        report.figure(
            files[1],
            f"The same network on {counted(photographs, 'held-out photograph')}, the same for "
            f"every style and readout.{intervals('Bands', photographs)}",
        )
        if len(measured) > 1:
            files += self._compare_selections(report, measured)
        report.say(f"After {self.plan.updates:,} updates, held out, the mean of the styles:")
        report.table(
            ("selection", *ALL_KINDS.values(), "training time, s"),
            [(name, *self._means(m).values(), m.seconds) for name, m in measured.items()],
        )
        return files

    def _held_out_panels(self, measured: Measured) -> list[Panel]:
        """Content and style loss of every style, without update 0, which would set the scale."""
        readouts = [update for update in measured.readouts if update]
        panels = []
        for kind, title in KINDS.items():
            curves = [
                mean_curve(
                    name,
                    readouts,
                    [Estimate.of(getattr(measured.readouts[u][index], kind)) for u in readouts],
                )
                for index, name in enumerate(self.names)
            ]
            unit = quantity(kind, self.materials.recipe)
            panels.append(Panel(f"{title}, held out", "updates", unit, curves, y_scale="log"))
        return panels

    def _compare_selections(self, report: Report, measured: dict[str, Measured]) -> list[Path]:
        files = [self.folder.path / "selections.png", self.folder.path / "selections-styles.png"]
        readouts = [update for update in self.specs[0].readouts if update]
        panels = []
        for kind, title in ALL_KINDS.items():
            curves = [
                mean_curve(name, readouts, [over_styles(m.readouts[u], kind) for u in readouts])
                for name, m in measured.items()
            ]
            unit = quantity(kind, self.materials.recipe)
            panels.append(Panel(f"{title}, mean of styles", "updates", unit, curves, y_scale="log"))
        draw_panels(files[0], panels)
        report.head("Ways to select styles")
        report.figure(
            files[0],
            "Held-out losses, the mean of all styles, for each way to select the styles of an "
            f"update.{intervals('Bands', len(self.held_out))}",
        )
        ends = {name: m.readouts[self.plan.updates] for name, m in measured.items()}
        draw_bars(files[1], [self._bars(kind, ends) for kind in KINDS])
        whiskers = intervals("Whiskers", len(self.held_out))
        report.figure(files[1], f"The same at the end, style by style.{whiskers}")
        return files

    def _bars(self, kind: str, ends: dict[str, list[Losses]]) -> Bars:
        groups = {
            name: [Estimate.of(getattr(style, kind)) for style in losses]
            for name, losses in ends.items()
        }
        heading = f"{KINDS[kind]} after {self.plan.updates:,} updates"
        return Bars(heading, quantity(kind, self.materials.recipe), self.names, groups)

    def _means(self, measured: Measured) -> dict[str, Estimate]:
        """Held-out losses at the end, the mean of the styles."""
        end = measured.readouts[self.plan.updates]
        return {kind: over_styles(end, kind) for kind in ALL_KINDS}

    def _results(self, measured: dict[str, Measured]) -> dict[str, object]:
        return {
            "mean_of_styles": {
                name: {kind: asdict(mean) for kind, mean in self._means(m).items()}
                for name, m in measured.items()
            },
            "seconds": {name: m.seconds for name, m in measured.items()},
            "held_out_photographs": len(self.held_out),
            "final": {
                selection: {
                    name: {kind: asdict(Estimate.of(getattr(losses, kind))) for kind in ALL_KINDS}
                    for name, losses in zip(self.names, m.readouts[self.plan.updates], strict=True)
                }
                for selection, m in measured.items()
            },
        }

    def _preface(self) -> str:
        plan, recipe = self.plan, self.materials.recipe
        several = len(plan.selections) > 1
        budget = ", and the ways to select styles get the same budget" if several else ""
        norms = "one norm, used twice" if plan.block_norms == 1 else "two norms"
        mode = (
            "As published: losses are those of the training batches.  The held-out figure is ours."
            if self.request.published
            else "Corrected: every style is measured on the same held-out photographs, whatever "
            f"the training batch was{budget}.  `--as-published` takes styles in turn, the "
            "report's losses and its residual block."
        )
        mode += f"  Selection: {', '.join(plan.selections)}.  A residual block has {norms}."
        return (
            f"{plan.styles} styles ({', '.join(self.names)}), {plan.updates:,} updates of "
            f"{recipe.batch} crops of {recipe.crop} pixels, recipe `{recipe.name}`, loss network "
            f"{self.request.network_in_words}, "
            f"{counted(len(self.materials.photos.paths), 'training photograph')}.\n\n{mode}"
        )


class RunCurves:
    """The same figure from the folder of a `stylepack train` run, without training."""

    def __init__(self, run: Path, output: Path) -> None:
        """Read the run's settings.

        Raises:
            TrainingError: not a run folder.
        """
        self.run_folder, self.history = run, run / NAME
        if not self.history.is_file():
            raise TrainingError(f"{run} is not a run folder: it has no {NAME}")
        self.recipe = RunSettings.read(run).recipe
        self.folder = StudyFolder(output, {"study": "losses", "run": str(run.absolute())})

    def __len__(self) -> int:
        return 1

    def run(self) -> Generator[Progress]:
        """Yield one step: there is nothing to train."""
        yield Progress(1, "read")

    def write(self) -> list[Path]:
        """Write the figure and the report.

        Raises:
            TrainingError: the run has no updates yet.
        """
        curves = read_curves(self.history)
        if not curves:
            raise TrainingError(f"{self.history} has no updates yet; resume the run first")
        target = self.folder.path / "losses.png"
        draw_losses(self.history, target, units=units(self.recipe))
        report = Report(f"Losses of {self.run_folder.name}")
        report.figure(target, "Losses of training batches, the mean of consecutive updates.")
        last = {
            style: {kind: float(losses[f"{kind}_loss"][-1]) for kind in KINDS}
            for style, (_, losses) in curves.items()
        }
        results = self.folder.write_results({"last_batch": last})
        return [target, results, report.write(self.folder.path)]


def over_styles(losses: Sequence[Losses], kind: str) -> Estimate:
    """The mean over all styles, with an interval over the photographs."""
    by_photo = zip(*(getattr(style, kind) for style in losses), strict=True)
    return Estimate.of([statistics.fmean(values) for values in by_photo])
