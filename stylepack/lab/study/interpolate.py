"""`study interpolate`: mixes between corners, and the way from A to B (the report's figure 5)."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylepack.errors import UsageError, printable
from stylepack.events import Event, Progress
from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.images.formats import find_images
from stylepack.images.photo import Photo
from stylepack.lab.intervals import Estimate
from stylepack.lab.references import PackUnderTest, match
from stylepack.lab.study.materials import Materials, Request
from stylepack.lab.study.plans import InterpolatePlan
from stylepack.lab.study.report import (
    Curve,
    Panel,
    Report,
    counted,
    draw_panels,
    intervals,
    quantity,
)
from stylepack.lab.study.study import Json, StudyFolder
from stylepack.library.resolve import Selection
from stylepack.network.device import training_dtype
from stylepack.packs.mix import Mix, grid
from stylepack.packs.pack import blend
from stylepack.painting.gallery import mix_caption, read_small
from stylepack.training.dataset import file_sha256
from stylepack.training.paintings import read_paintings

GRID = "grid"


@dataclass(frozen=True)
class Sweep:
    """One photograph: content loss, style loss of A and of B at every alpha."""

    photograph: str
    losses: list[list[float]]


class InterpolateStudy:
    """The grid, and where there are paintings the sweep between the first two corners."""

    def __init__(
        self,
        request: Request,
        plan: InterpolatePlan,
        output: Path,
        corners: Selection,
        photo: Path | None = None,
    ) -> None:
        self.request, self.plan = request, plan
        self.rows = grid(plan.corners, plan.steps, published=request.published)
        loaded = corners.load()
        # Corners may be paths; mixes, captions and tables go by the packs' names.
        names = {corner: pack.path.stem for corner, pack in corners.packs.items()}
        self.packs = {names[corner]: pack for corner, pack in loaded.packs.items()}
        if len(self.packs) < len(plan.corners):
            raise UsageError("two of the corners go by the same file name; rename one of them")
        self.rows = [[_renamed(mix, names) for mix in row] for row in self.rows]
        self.trunk = loaded.trunk.to(request.device)
        self.photo = photo or find_images(request.photo_folder)[0]
        self.small = read_small(self.photo, plan.cell)
        self.ends = [*self.packs][:2]
        self.contenders = self._contenders()
        paintings = [c.painting for c in self.contenders if c.painting]
        self.materials = Materials(request, paintings)
        self.objective = self.materials.objective(paintings) if paintings else None
        settings = request.settings(
            {
                "study": "interpolate",
                **asdict(plan),
                "trunk": loaded.sha256,
                "photo": file_sha256(self.photo),
                "packs": {name: pack.manifest.sha256 for name, pack in self.packs.items()},
            },
            paintings,
        )
        self.folder = StudyFolder(output, settings | {"photos": self.materials.fingerprint})

    def __len__(self) -> int:
        return self._cells + len(self.photographs) * self.plan.alphas

    @property
    def _cells(self) -> int:
        return sum(map(len, self.rows))

    @property
    def _grid(self) -> Path:
        return self.folder.path / "grid.png"

    @property
    def alphas(self) -> list[float]:
        """From 0, all A, to 1, all B."""
        return [step / (self.plan.alphas - 1) for step in range(self.plan.alphas)]

    @property
    def photographs(self) -> list[Path]:
        """Those that the sweep is measured on: held out of a folder that one may train on."""
        if not self.contenders:
            return []
        found = self.materials.held_out.paths if self.request.photos else self._bundled()
        return found[: self.plan.photographs]

    def run(self) -> Generator[Event]:
        """Paint the grid and measure the sweep, as far as they are not done."""
        return self.materials.journal.around(self._steps())

    def _steps(self) -> Generator[Progress]:
        if self.folder.part(GRID, dict) is None or not self._grid.is_file():
            yield from self._paint_grid()
        yield Progress(self._cells, "grid done")
        for place, path in enumerate(self.photographs):
            before, name = self._cells + place * self.plan.alphas, f"sweep-{place}"
            if self.folder.part(name, self._read) is None:
                yield from self._measure(path, name, before)
            yield Progress(before + self.plan.alphas, path.name)

    def write(self) -> list[Path]:
        """Tables, figures and the report."""
        report = Report("Between styles")
        report.say(self._preface())
        report.figure(self._grid, self._grid_caption())
        files = [self._grid]
        results: Json = {"grid": [[dict(mix.parts) for mix in row] for row in self.rows]}
        if self.contenders:
            files += self._write_sweep(report, results)
        else:
            report.say(
                "The sweep from A to B needs the paintings that the packs were learned from: give "
                "them with `--styles DIR`."
            )
        files.append(self.folder.write_results(results))
        return [*files, report.write(self.folder.path)]

    @torch.no_grad()
    def paint(self, image: Tensor, weights: dict[str, float]) -> Tensor:
        """A (1, 3, H, W) photograph in a mix of packs, its weights as they are: the same shape."""
        style = blend([self.packs[name].vector for name in weights], [*weights.values()])
        style = style.to(image.device)
        photo = image.to(training_dtype(image.device))
        painted: Tensor = self.trunk(photo, style[:-1], float(style[-1])).float()
        return painted

    def _contenders(self) -> list[PackUnderTest]:
        """The two ends of the sweep with their paintings; none where there are no paintings."""
        if self.request.styles is None:
            return []
        ends = {name: self.packs[name] for name in self.ends}
        matched, _ = match(ends, read_paintings(self.request.styles))
        found = [contender for contender in matched if contender.painting]
        lacking = [name for name in self.ends if name not in {c.name for c in found}]
        if lacking:
            raise UsageError(
                f"{self.request.styles} holds no painting of {', '.join(lacking)}; "
                "name the painting's file like its pack, or begin --corners with other packs"
            )
        return found

    def _bundled(self) -> list[Path]:
        """All bundled photographs: the bundled trunk was not trained on them."""
        return sorted({*self.materials.photos.paths, *self.materials.held_out.paths})

    def _paint_grid(self) -> Generator[Progress]:
        photo = self.small.to_float()[None].to(self.request.device)
        pictures: list[list[Image.Image]] = []
        done = 0
        for row in self.rows:
            pictures.append([])
            for mix in row:
                painted = self.paint(photo, dict(mix.parts))
                pictures[-1].append(Photo.from_float(painted[0]).to_image())
                done += 1
                yield Progress(done, str(mix))
        captions = [[self._caption(mix) for mix in row] for row in self.rows]
        sheet = contact_sheet(pictures, captions, self.plan.cell)
        save_png(sheet, self._grid)
        self.folder.keep(GRID, {})

    def _caption(self, mix: Mix) -> str:
        if not self.request.published:
            return mix_caption(mix)
        return f"{mix_caption(mix)}\nsum {sum(mix.weights):.2f}"

    @torch.no_grad()
    def _measure(self, path: Path, name: str, before: int) -> Generator[Progress]:
        """Both style losses on one photograph at every alpha."""
        photo = read_small(path, self.plan.side).to_float()[None].to(self.request.device)
        objective = self.objective
        assert objective is not None
        targets = objective.content_targets(photo)
        both = torch.arange(2, device=photo.device)
        a, b = self.ends
        found: list[list[float]] = []
        for step, alpha in enumerate(self.alphas, start=1):
            painted = self.paint(photo, between(a, b, alpha))
            terms = objective(painted, photo, both, targets=targets)
            found.append([terms.content[0].item(), *terms.style.tolist()])
            yield Progress(before + step, f"{path.name} alpha {alpha:.2f}")
        self.folder.keep(name, vars(Sweep(printable(path.name), found)))

    def _read(self, part: Json) -> Sweep:
        sweep = Sweep(**part)
        if [len(losses) for losses in sweep.losses] != [3] * self.plan.alphas:
            raise ValueError("three losses an alpha are expected")
        return sweep

    def _write_sweep(self, report: Report, results: Json) -> list[Path]:
        """sweep.csv and sweep.png: content loss, style loss of A and of B at every alpha."""
        names = [f"sweep-{place}" for place in range(len(self.photographs))]
        parts = [self.folder.finished(name, self._read) for name in names]
        rows = [
            (part.photograph, alpha, *losses)
            for part in parts
            for alpha, losses in zip(self.alphas, part.losses, strict=True)
        ]
        a, b = self.ends
        columns = ("photograph", "alpha", "content", f"style_{a}", f"style_{b}")
        files = [self.folder.write_table("sweep.csv", columns, rows)]
        steps = range(len(self.alphas))
        figures = [
            [Estimate.of([part.losses[step][kind] for part in parts]) for step in steps]
            for kind in range(3)
        ]
        files.append(self.folder.path / "sweep.png")
        self._draw_sweep(files[-1], figures)
        photos, bands = counted(len(parts), "photograph"), intervals("Bands", len(parts))
        report.head(f"From {a} to {b}")
        report.figure(files[-1], f"Style loss of both against alpha, on {photos}.{bands}")
        report.table(
            ("alpha", "content loss", f"style loss of {a}", f"style loss of {b}"),
            [(f"{alpha:.2f}", *at) for alpha, *at in zip(self.alphas, *figures, strict=True)],
        )
        report.say(f"{_direction(a, figures[1], -1)}  {_direction(b, figures[2], 1)}")
        results["sweep"] = {
            "alphas": self.alphas,
            "content": list(map(asdict, figures[0])),
            a: list(map(asdict, figures[1])),
            b: list(map(asdict, figures[2])),
        }
        return files

    def _draw_sweep(self, target: Path, figures: Sequence[Sequence[Estimate]]) -> None:
        a, b = self.ends
        across = f"alpha (0: {a}, 1: {b})"
        recipe = self.request.recipe
        styles = [
            Curve.of(f"style loss of {name}", self.alphas, figures[kind])
            for kind, name in enumerate(self.ends, start=1)
        ]
        content = Curve.of("content loss", self.alphas, figures[0])
        draw_panels(
            target,
            [
                Panel("style losses", across, quantity("style", recipe), styles, y_scale="log"),
                Panel("content loss", across, quantity("content", recipe), [content]),
            ],
        )

    def _grid_caption(self) -> str:
        if self.request.published:
            return (
                "Weights that are not normalised: each corner counts 1 less its distance in sides "
                "of the square, and the sum is written below."
            )
        how = "bilinear" if len(self.packs) in (2, 4) else "by inverse distance"
        return f"{', '.join(self.packs)}: weights {how}, in every picture 1 in all."

    def _preface(self) -> str:
        mode = (
            "As published: the weights of the grid are not normalised."
            if self.request.published
            else "Corrected: the weights of every picture sum to 1.  `--as-published` leaves the "
            "weights as they are and measures the sweep on one photograph."
        )
        if self.contenders:
            mode += f"  The sweep is on {counted(len(self.photographs), 'photograph')}."
        losses = (
            f"  Loss network {self.request.network_in_words}, recipe `{self.request.recipe.name}`."
            if self.contenders
            else ""
        )
        return (
            f"Corners {', '.join(self.packs)}; photograph of the grid "
            f"{printable(self.photo.name)}.{losses}\n\n{mode}"
        )


def between(a: str, b: str, alpha: float) -> dict[str, float]:
    """Weights on the way from a to b; the ends are the packs alone."""
    weights = {a: 1 - alpha, b: alpha}
    return {name: weight for name, weight in weights.items() if weight}


def _renamed(mix: Mix, names: dict[str, str]) -> Mix:
    return replace(mix, parts=tuple((names[corner], weight) for corner, weight in mix.parts))


def _direction(name: str, figures: Sequence[Estimate], toward: int) -> str:
    """Whether a style's loss only falls on the way to its end, in words."""
    means = [figure.mean for figure in figures][::toward]
    wrong = sum(after > before for before, after in pairwise(means))
    if not wrong:
        return f"The loss of {name} falls at every step towards {name}."
    return f"The loss of {name} rises at {wrong} of {len(means) - 1} steps towards {name}."
