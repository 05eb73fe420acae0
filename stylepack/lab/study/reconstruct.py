"""`study reconstruct`: images that minimize tau_n (the report's figures 3 and 4, and table 1)."""

import time
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylepack.events import Progress
from stylepack.files import make_folder
from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.images.photo import Photo
from stylepack.lab.study.materials import Request, choose_paintings
from stylepack.lab.study.plans import ReconstructPlan
from stylepack.lab.study.report import Report
from stylepack.lab.study.study import Json, StudyFolder
from stylepack.lab.study.texture import StyleLoss, Synthesis, cumulative, report_noise
from stylepack.losses.weights import load_loss_network
from stylepack.network.trunk import photograph_logits
from stylepack.recipe import GramDivisor
from stylepack.training.dataset import read_painting
from stylepack.training.reports.charts import Curve, Panel, draw_panels

POINTS = 60  # per curve
GRAM_SIZES: dict[GramDivisor, str] = {"pixels": "H W", "size": "C H W"}
SMALLEST_CELL = 192  # pixels of a picture on the sheet


@dataclass(frozen=True)
class Finished:
    """One image: phi of all layers at some updates, the final tau, updates done and seconds.

    `shown`: tau of the PNG, clamped to 0..1 and rounded to 8 bits.
    """

    updates: list[int]
    phis: list[list[float]]
    final: float
    shown: float
    done: int
    seconds: float


class ReconstructStudy:
    """One image per tau_n, all from the same noise."""

    def __init__(self, request: Request, plan: ReconstructPlan, output: Path) -> None:
        self.request, self.plan = request, plan
        self.painting = choose_paintings(request, 1, least=1)[0]
        recipe, device = request.recipe, request.device
        network = load_loss_network(recipe, request.source, device, torch.float32)
        self.loss = StyleLoss(network, recipe, read_painting(self.painting.path, plan.side))
        settings = request.settings({"study": "reconstruct", **asdict(plan)}, [self.painting])
        self.folder = StudyFolder(output, settings)

    def __len__(self) -> int:
        return len(self.plan.layers) * self.plan.updates

    def run(self) -> Generator[Progress]:
        """Make the missing images; an unfinished one starts again."""
        layers, updates = self.plan.layers, self.plan.updates
        for n in range(1, len(layers) + 1):
            before = (n - 1) * updates
            if not self._is_done(n):
                yield from self._make(n, before)
            yield Progress(before + updates, f"tau_{n} done")

    def write(self) -> list[Path]:
        """Write tables, figures and the report."""
        every = range(1, len(self.plan.layers) + 1)
        done = [self.folder.finished(f"tau-{n}", self._read) for n in every]
        report = Report("Images from cumulative style losses")
        report.say(self._preface())
        files = [self._table(done), self._sheet(report), self._curves(report, done)]
        self._final_table(report, done)
        results = {f"tau_{n}": vars(one) for n, one in enumerate(done, start=1)}
        files.append(self.folder.write_results({"layers": list(self.plan.layers), **results}))
        return [*files, report.write(self.folder.path)]

    def _make(self, n: int, before: int) -> Generator[Progress]:
        plan = self.plan
        noise = report_noise(plan.side, plan.seed, self.request.device)
        work = Synthesis(
            self.loss,
            plan.layers[:n],
            noise,
            optimizer=plan.optimizer,
            learning_rate=plan.learning_rate,
            patience=plan.patience,
            bounded=not self.request.published,
        )
        every = max(1, plan.updates // POINTS)
        updates, phis = [0], [self._phis(work.image)]
        begun, done = time.monotonic(), 0
        for tau in work.steps(plan.updates):
            done += 1
            if done % every == 0:
                updates.append(done)
                phis.append(self._phis(work.image))
            yield Progress(before + done, f"tau_{n} {tau:#.3g}")
        seconds = time.monotonic() - begun
        if updates[-1] != done:
            updates.append(done)
            phis.append(self._phis(work.image))
        picture = Photo.from_float(work.image[0].clamp(0, 1))
        final, shown = (
            cumulative(self._phis(image))[n - 1]
            for image in (work.image, picture.to_float()[None].to(work.image))
        )
        make_folder(self.folder.path / "images", "choose another folder with -o")
        save_png(picture.to_image(), self._image(n))
        finished = Finished(updates, phis, final, shown, done, seconds)
        self.folder.keep(f"tau-{n}", vars(finished))

    @torch.no_grad()
    def _phis(self, image: Tensor) -> list[float]:
        """phi of every layer."""
        phis: list[float] = self.loss(image, self.plan.layers).tolist()
        return phis

    def _image(self, n: int) -> Path:
        return self.folder.path / "images" / f"tau-{n}.png"

    def _is_done(self, n: int) -> bool:
        return bool(self.folder.part(f"tau-{n}", self._read) and self._image(n).is_file())

    def _read(self, part: Json) -> Finished:
        image = Finished(**part)
        if {len(phis) for phis in image.phis} != {len(self.plan.layers)}:
            raise ValueError("expected one phi per layer")
        if len(image.phis) != len(image.updates):
            raise ValueError("expected one row of phi per update")
        return image

    def _table(self, done: Sequence[Finished]) -> Path:
        rows = (
            (n, update, layer, phi)
            for n, one in enumerate(done, start=1)
            for update, phis in zip(one.updates, one.phis, strict=True)
            for layer, phi in zip(self.plan.layers, phis, strict=True)
        )
        return self.folder.write_table("phi.csv", ("n", "update", "layer", "phi"), rows)

    def _sheet(self, report: Report) -> Path:
        pictures, captions = [], []
        for n, layer in enumerate(self.plan.layers, start=1):
            with Image.open(self._image(n), formats=["PNG"]) as image:
                pictures.append(image.convert("RGB"))
            captions.append(f"tau_{n}: {'to ' * (n > 1)}{layer}")
        target = self.folder.path / "images.png"
        cell = max(self.plan.side, SMALLEST_CELL)
        save_png(contact_sheet([pictures], [captions], cell), target)
        report.figure(
            target,
            "Images that minimize tau_n, the sum of phi_1 to phi_n, from the same noise, over "
            f"{', '.join(self.plan.layers)}.",
        )
        return target

    def _curves(self, report: Report, done: Sequence[Finished]) -> Path:
        panels = [
            Panel(
                f"minimizing tau_{n}",
                "updates",
                "phi_i / its first value",
                [
                    Curve(layer, one.updates, [p[i] / one.phis[0][i] for p in one.phis])
                    for i, layer in enumerate(self.plan.layers)
                    if i < n
                ],
                y_scale="log",
            )
            for n, one in enumerate(done, start=1)
        ]
        target = self.folder.path / "phi.png"
        draw_panels(target, panels, columns=4)
        report.figure(target, "Each minimized phi_i, over its value in the noise.")
        return target

    def _final_table(self, report: Report, done: Sequence[Finished]) -> None:
        rows = [
            (
                n,
                layer,
                one.phis[0][n - 1],
                cumulative(one.phis[0])[n - 1],
                one.final,
                one.shown,
                one.done,
                "yes" if one.done < self.plan.updates else "no",
                one.seconds,
            )
            for n, (layer, one) in enumerate(zip(self.plan.layers, done, strict=True), start=1)
        ]
        columns = ("n", "layer", "first phi_n", "first tau_n", "final tau_n", "tau_n as shown")
        report.table((*columns, "updates", "stopped early", "time, s"), rows)
        report.say(
            '"As shown" is tau_n of the PNG: pixels clamped to 0..1 and rounded to 8 bits.  '
            f"Stopped early: tau_n had not fallen by 0.1 % in {self.plan.patience} updates."
        )

    def _start_in_words(self) -> str:
        drawn = report_noise(self.plan.side, self.plan.seed, torch.device("cpu"))
        start = torch.sigmoid(photograph_logits(drawn))
        return (
            "The noise is clamped to the sigmoid's range: its standard deviation is "
            f"{255 * drawn.std():.1f} of 255 as drawn and {255 * start.std():.1f} at the start."
        )

    def _preface(self) -> str:
        plan, recipe = self.plan, self.request.recipe
        optimizer = f"Adam at {plan.learning_rate:g}" if plan.optimizer == "adam" else "L-BFGS"
        measure = (
            "phi_i = ||G - A||^2 / ||A||^2"
            if recipe.relative
            else "phi_i = the mean square of G - A, the Gram matrices divided by "
            f"{GRAM_SIZES[recipe.gram_divisor]}"
        )
        added = (
            "each phi is relative to its target, so that all layers count"
            if recipe.relative
            else "the layers' phi are summed unscaled"
        )
        mode = (
            f"As published: {added}; the pixels themselves are optimized, in RGB over 255, and may "
            "leave 0..1."
            if self.request.published
            else f"Corrected: {added}; the logits of the pixels are optimized, so that the image "
            f"that is measured is the one that is shown.  {self._start_in_words()}  "
            "`--as-published` has the report's plain phi, unbounded pixels and Adam at 1e-3."
        )
        return (
            f"{self.painting.name} at a short side of {plan.side} pixels; noise of {plan.side} x "
            f"{plan.side} drawn from N(255/2, 255^2/4), {optimizer}, at most {plan.updates:,} "
            f"updates; loss network {self.request.network_in_words}; {measure}.\n\n{mode}"
        )
