"""`study interpolate`: mixes of packs and their losses (the report's figure 5)."""

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from stylepack.errors import UsageError, counted, printable
from stylepack.events import Event, Progress
from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.images.formats import find_images
from stylepack.images.photo import Photo
from stylepack.lab.intervals import Estimate
from stylepack.lab.references import match
from stylepack.lab.study.blends import BlendComparison
from stylepack.lab.study.materials import Materials, Request
from stylepack.lab.study.plans import InterpolatePlan
from stylepack.lab.study.report import Report, intervals, mean_curve, quantity
from stylepack.lab.study.study import Json, StudyFolder
from stylepack.library.resolve import Selection
from stylepack.network.device import training_dtype
from stylepack.packs.mix import Mix, grid
from stylepack.packs.pack import blend
from stylepack.painting.gallery import mix_caption, read_small
from stylepack.training.dataset import file_sha256
from stylepack.training.paintings import Painting, read_paintings
from stylepack.training.reports.charts import Panel, draw_panels

GRID = "grid"


@dataclass(frozen=True)
class MixLosses:
    """Losses on one photograph: for each mix, content and the style loss of every painting."""

    photograph: str
    losses: list[list[float]]


class InterpolateStudy:
    """The grid and, if there are paintings, the losses of mixes.

    The sweep is between the first two corners, A and B; packs trained for mixes of them are
    measured against blends.  Equal mixes have the first 1, 2, 3 ... corners.
    """

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
        # Corners may be paths; mixes, captions and tables have the packs' names.
        names = {corner: pack.path.stem for corner, pack in corners.packs.items()}
        self.packs = {names[corner]: pack for corner, pack in loaded.packs.items()}
        if len(self.packs) < len(plan.corners):
            raise UsageError("two of the corners have the same file name; rename one of them")
        self.rows = [[_renamed(mix, names) for mix in row] for row in self.rows]
        self.trunk = loaded.trunk.to(request.device)
        self.photo = photo or find_images(request.photo_folder)[0]
        self.small = read_small(self.photo, plan.cell)
        self.ends = [*self.packs][:2]
        paintings = self._paintings()
        self.names = [painting.name for painting in paintings]
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
        self.comparison = self._comparison(paintings[:2]) if paintings and plan.mixes else None

    def __len__(self) -> int:
        measured = len(self.photographs) * len(self.mixes)
        return self._cells + measured + (len(self.comparison) if self.comparison else 0)

    @property
    def _cells(self) -> int:
        return sum(map(len, self.rows))

    @property
    def _grid(self) -> Path:
        return self.folder.path / "grid.png"

    @property
    def alphas(self) -> list[float]:
        """From 0 (A) to 1 (B)."""
        return _from_0_to_1(self.plan.alphas)

    @property
    def mixes(self) -> list[dict[str, float]]:
        """The measured mixes: the sweep's, then equal ones of the first 1, 2, 3 ... corners."""
        every = range(1, len(self.names) + 1)
        equal = [dict.fromkeys(self.names[:n], 1 / n) for n in every]
        a, b = self.ends
        return [between(a, b, alpha) for alpha in self.alphas] + equal

    @property
    def photographs(self) -> list[Path]:
        """The sweep's photographs: held out of a folder, or all bundled ones."""
        if not self.objective:
            return []
        held_out = self.materials.held_out.paths
        if not self.request.photos:  # the bundled trunk was not trained on them
            held_out = sorted({*self.materials.photos.paths, *held_out})
        return held_out[: self.plan.photographs]

    def run(self) -> Generator[Event]:
        """Paint the grid, measure mixes and train packs for them, as far as it is not done."""
        return self.materials.journal.around(self._steps())

    def _steps(self) -> Generator[Progress]:
        if self.folder.part(GRID, dict) is None or not self._grid.is_file():
            yield from self._paint_grid()
        yield Progress(self._cells, "grid done")
        for index, path in enumerate(self.photographs):
            before, name = self._cells + index * len(self.mixes), f"sweep-{index}"
            if self.folder.part(name, self._read) is None:
                yield from self._measure(path, name, before)
            yield Progress(before + len(self.mixes), path.name)
        if self.comparison:
            yield from self.comparison.steps(len(self) - len(self.comparison))

    def write(self) -> list[Path]:
        """Write tables, figures and the report."""
        report = Report("Between styles")
        report.say(self._preface())
        report.figure(self._grid, self._grid_caption())
        files = [self._grid]
        results: Json = {"grid": [[dict(mix.parts) for mix in row] for row in self.rows]}
        if self.objective:
            parts = [
                self.folder.finished(f"sweep-{index}", self._read)
                for index in range(len(self.photographs))
            ]
            files += self._write_sweep(report, results, parts)
            if len(self.names) > 2:
                files.append(self._write_equal(report, results, parts))
            if self.comparison:
                files += self.comparison.write(report, results)
        else:
            report.say(
                "The losses of mixes need the paintings that the packs were trained on: give "
                "them with `--styles DIR`."
            )
        files.append(self.folder.write_results(results))
        return [*files, report.write(self.folder.path)]

    @torch.no_grad()
    def paint(self, image: Tensor, weights: dict[str, float]) -> Tensor:
        """Paint a (1, 3, H, W) photograph in packs with weights that need not sum to 1."""
        style = blend([self.packs[name].vector for name in weights], [*weights.values()])
        style = style.to(image.device)
        photo = image.to(training_dtype(image.device))
        painted: Tensor = self.trunk(photo, style[:-1], float(style[-1])).float()
        return painted

    def _paintings(self) -> list[Painting]:
        """The corners' paintings, the sweep's two ends first; empty without a folder of them.

        Raises:
            UsageError: the painting of an end is missing.
        """
        if self.request.styles is None:
            return []
        matched, _ = match(self.packs, read_paintings(self.request.styles))
        paintings = {pack.name: pack.painting for pack in matched if pack.painting}
        missing = [name for name in self.ends if name not in paintings]
        if missing:
            raise UsageError(
                f"{self.request.styles} has no painting of {', '.join(missing)}; "
                "name the painting's file like its pack, or start --corners with other packs"
            )
        return [replace(painting, name=name) for name, painting in paintings.items()]

    def _comparison(self, paintings: Sequence[Painting]) -> BlendComparison:
        """Packs trained for mixes of A and B."""
        return BlendComparison(
            self.materials,
            self.folder,
            self.trunk,
            paintings,
            [self.packs[name].style for name in self.ends],
            self.photographs,
            alphas=_from_0_to_1(self.plan.mixes),
            side=self.plan.side,
            updates=self.plan.mix_updates,
        )

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
        save_png(contact_sheet(pictures, captions, self.plan.cell), self._grid)
        self.folder.keep(GRID, {})

    def _caption(self, mix: Mix) -> str:
        if not self.request.published:
            return mix_caption(mix)
        return f"{mix_caption(mix)}\nsum {sum(mix.weights):.2f}"

    @torch.no_grad()
    def _measure(self, path: Path, name: str, before: int) -> Generator[Progress]:
        """The losses of every mix on one photograph."""
        photo = read_small(path, self.plan.side).to_float()[None].to(self.request.device)
        objective = self.objective
        assert objective is not None
        targets = objective.content_targets(photo)
        every = torch.arange(len(self.names), device=photo.device)
        losses: list[list[float]] = []
        for step, mix in enumerate(self.mixes, start=1):
            painted = self.paint(photo, mix)
            terms = objective(painted, photo, every, targets=targets)
            losses.append([terms.content[0].item(), *terms.style.tolist()])
            yield Progress(before + step, f"{path.name} {Mix(tuple(mix.items()))}")
        self.folder.keep(name, vars(MixLosses(printable(path.name), losses)))

    def _read(self, part: Json) -> MixLosses:
        measured = MixLosses(**part)
        expected = [1 + len(self.names)] * len(self.mixes)
        if [len(losses) for losses in measured.losses] != expected:
            raise ValueError("expected content and every style loss per mix")
        return measured

    def _write_sweep(self, report: Report, results: Json, parts: Sequence[MixLosses]) -> list[Path]:
        """Write sweep.csv and sweep.png, and add them to the report."""
        rows = [
            (part.photograph, alpha, *losses[:3])
            for part in parts
            for alpha, losses in zip(self.alphas, part.losses, strict=False)
        ]
        a, b = self.ends
        columns = ("photograph", "alpha", "content", f"style_{a}", f"style_{b}")
        files = [self.folder.write_table("sweep.csv", columns, rows)]
        steps = range(len(self.alphas))
        means = [
            [Estimate.of([part.losses[step][kind] for part in parts]) for step in steps]
            for kind in range(3)
        ]
        files.append(self.folder.path / "sweep.png")
        self._draw_sweep(files[-1], means)
        photos, bands = counted(len(parts), "photograph"), intervals("Bands", len(parts))
        report.head(f"From {a} to {b}")
        report.figure(files[-1], f"Style loss of both against alpha, on {photos}.{bands}")
        report.table(
            ("alpha", "content loss", f"style loss of {a}", f"style loss of {b}"),
            [(f"{alpha:.2f}", *at) for alpha, *at in zip(self.alphas, *means, strict=True)],
        )
        report.say(f"{_direction(a, means[1], -1)}  {_direction(b, means[2], 1)}")
        results["sweep"] = {"alphas": self.alphas} | {
            name: list(map(asdict, mean))
            for name, mean in zip(("content", a, b), means, strict=True)
        }
        return files

    def _write_equal(self, report: Report, results: Json, parts: Sequence[MixLosses]) -> Path:
        """Write equal.csv, and add the equal mixes to the report."""
        equal = [part.losses[len(self.alphas) :] for part in parts]
        counts = range(1, len(self.names) + 1)
        columns = ("photograph", "packs", "content", *(f"style_{name}" for name in self.names))
        rows = [
            (part.photograph, n, *losses)
            for part, every in zip(parts, equal, strict=True)
            for n, losses in zip(counts, every, strict=True)
        ]
        means = [
            [Estimate.of(losses) for losses in zip(*(every[n - 1] for every in equal), strict=True)]
            for n in counts
        ]
        report.head(f"Equal mixes of up to {len(self.names)} packs")
        report.table(
            ("mix", "content loss", *(f"style loss of {name}" for name in self.names)),
            [(", ".join(self.names[:n]), *at) for n, at in zip(counts, means, strict=True)],
        )
        results["equal"] = [
            dict(zip(("content", *self.names), map(asdict, at), strict=True)) for at in means
        ]
        return self.folder.write_table("equal.csv", columns, rows)

    def _draw_sweep(self, target: Path, means: Sequence[Sequence[Estimate]]) -> None:
        a, b = self.ends
        across, recipe = f"alpha (0: {a}, 1: {b})", self.request.recipe
        content, *styles = (
            mean_curve(label, self.alphas, mean)
            for label, mean in zip(
                ("content loss", f"style loss of {a}", f"style loss of {b}"), means, strict=True
            )
        )
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
                "Weights are not normalized: each corner counts 1 minus its distance in sides of "
                "the square; the sum is below each picture."
            )
        how = "bilinear" if len(self.packs) in (2, 4) else "by inverse distance"
        return f"{', '.join(self.packs)}: weights {how}, with sum 1 in every picture."

    def _preface(self) -> str:
        mode = (
            "As published: the weights of the grid are not normalized."
            if self.request.published
            else "Corrected: the weights of every picture sum to 1.  `--as-published` does not "
            "normalize the weights and measures the sweep on one photograph."
        )
        losses = ""
        if self.objective:
            mode += f"  The sweep is on {counted(len(self.photographs), 'photograph')}."
            network, recipe = self.request.network_in_words, self.request.recipe.name
            losses = f"  Loss network {network}, recipe `{recipe}`."
        return (
            f"Corners {', '.join(self.packs)}; photograph of the grid "
            f"{printable(self.photo.name)}.{losses}\n\n{mode}"
        )


def _from_0_to_1(count: int) -> list[float]:
    return [step / (count - 1) for step in range(count)]


def between(a: str, b: str, alpha: float) -> dict[str, float]:
    """Weights between a and b, without zeros."""
    return {name: weight for name, weight in ((a, 1 - alpha), (b, alpha)) if weight}


def _renamed(mix: Mix, names: dict[str, str]) -> Mix:
    return replace(mix, parts=tuple((names[corner], weight) for corner, weight in mix.parts))


def _direction(name: str, estimates: Sequence[Estimate], toward: int) -> str:
    """A sentence on whether a style's loss falls at every step towards it."""
    means = [estimate.mean for estimate in estimates][::toward]
    wrong = sum(after > before for before, after in pairwise(means))
    if not wrong:
        return f"The loss of {name} falls at every step towards {name}."
    return f"The loss of {name} rises at {wrong} of {len(means) - 1} steps towards {name}."
