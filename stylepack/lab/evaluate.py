"""`evaluate`: packs compared with the photograph, the painting and optimized pixels."""

import csv
import io
import json
import sys
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from stylepack.errors import TrainingError, UsageError, printable
from stylepack.events import Event, Progress
from stylepack.files import write_text
from stylepack.images.contact_sheet import contact_sheet, save_png
from stylepack.images.photo import Photo, read_rgb
from stylepack.lab.intervals import RESAMPLES, Estimate
from stylepack.lab.references import LEARNING_RATE, PackUnderTest, PixelOptimization, match
from stylepack.library.resolve import Selection
from stylepack.losses.objective import Terms
from stylepack.losses.weights import WeightSource
from stylepack.network.device import keep_large_blocks, training_dtype
from stylepack.recipe import Recipe
from stylepack.training import held_out
from stylepack.training.dataset import PhotoFolder, seeded
from stylepack.training.paintings import objective_for, read_paintings
from stylepack.training.settings import versions

METHODS = ("photograph", "pack", "optimized", "painting")  # in the order of the report
SHEET_PHOTOS = 4
CELL = 224  # pixels
CLOSEST = 1e-10  # lowest mean squared error, for at most 100 dB


@dataclass(frozen=True)
class Request:
    """Packs to compare, their references, and the extent of the comparison."""

    photos: Path
    paintings: Path
    packs: Selection
    limit: int = 24  # photographs
    updates: int = 0  # of pixel optimization; 0 skips it
    held_out: bool = False  # only photographs that training on this folder holds out


@dataclass(frozen=True)
class Row:
    """Measurements of one picture: quantity -> value.

    `content`, and `psnr` in dB for the identity style; for other styles `style`, the style loss of
    each layer at full size (`style relu4_1`), and `total`, the sum of content, style and
    total-variation losses at the recipe's weights.
    """

    pack: str
    method: str
    photograph: str
    values: dict[str, float]


Figures = dict[str, dict[str, dict[str, Estimate]]]  # pack -> method -> quantity


@dataclass(frozen=True)
class _View:
    """A photograph, (1, 3, H, W) RGB in 0..1, its content targets, and results so far."""

    name: str
    photo: Tensor
    targets: dict[str, Tensor]
    rows: list[Row] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)


class Comparison:
    """Every pack on every photograph: iterate `measure()`, then `write()`."""

    def __init__(
        self, request: Request, recipe: Recipe, source: WeightSource, device: torch.device
    ) -> None:
        self.request, self.recipe, self.source = request, recipe, source
        paintings = read_paintings(request.paintings)
        photos = PhotoFolder.open(request.photos, [p.path for p in paintings])
        self.photos = sampled(photos.split()[1] if request.held_out else photos)
        loaded = request.packs.load()
        self.trunk, self.digest = loaded.trunk.to(device), loaded.sha256
        self.tested, self.unmatched = match(loaded.packs, paintings)
        if not self.tested:
            raise UsageError(
                f"{request.paintings} has no painting of {', '.join(loaded.packs) or 'any pack'};"
                " name a painting's file like its pack"
            )
        # Content loss needs no painting, but an objective does.
        against = [pack.painting for pack in self.tested if pack.painting] or paintings[:1]
        self.objective = objective_for(recipe, source, against, device)
        self.device = device
        self.rows: list[Row] = []
        self.measured: list[str] = []  # names of the photographs
        self.pictures: list[list[Image.Image]] = []  # the sheet's rows
        keep_large_blocks()

    def __len__(self) -> int:
        """Number of steps of `measure`."""
        optimized = sum(pack.painting is not None for pack in self.tested) * self.request.updates
        return self.planned * (len(self.tested) + optimized)

    @property
    def planned(self) -> int:
        """Number of photographs to measure."""
        return min(self.request.limit, len(self.photos.paths))

    def measure(self) -> Generator[Event]:
        """Measure the photographs one by one; yield a step per pack and per optimization update.

        A photograph's results are added before its last step.  A damaged one is replaced by
        another.

        Raises:
            TrainingError: none of the photographs can be read.
        """
        return self.photos.journal.around(self._steps())

    def _steps(self) -> Generator[Progress]:
        done = 0
        for path, photo in held_out.whole_photographs(self.photos, self.device):
            if photo is None:
                continue
            name = printable(path.relative_to(self.request.photos).as_posix())
            view = _View(name, photo, self.objective.content_targets(photo))
            words = ""
            for following in self._pieces(view):
                if words:
                    done += 1
                    yield Progress(done, words)
                words = following
            self.measured.append(name)
            self.rows += view.rows
            if len(self.pictures) < SHEET_PHOTOS:
                self.pictures.append(view.pictures)
            done += 1
            yield Progress(done, words)
            if len(self.measured) == self.planned:
                return
        if not self.measured:
            raise TrainingError(
                f"none of the {len(self.photos.paths)} photographs of {self.request.photos} "
                "can be read"
            )

    def figures(self) -> Figures:
        """Means over the photographs, by pack, method and quantity."""
        values: dict[str, dict[str, dict[str, list[float]]]] = {}
        for row in self.rows:
            methods = values.setdefault(row.pack, {})
            for quantity, value in row.values.items():
                methods.setdefault(row.method, {}).setdefault(quantity, []).append(value)
        return {
            pack: {
                method: {quantity: Estimate.of(v) for quantity, v in methods[method].items()}
                for method in METHODS
                if method in methods
            }
            for pack, methods in values.items()
        }

    def write(self, folder: Path, figures: Figures) -> None:
        """Write evaluation.csv, evaluation.json and sheet.png."""
        write_text(folder / "evaluation.csv", _csv(self.rows))
        text = json.dumps(self._report(figures), indent=1, ensure_ascii=False)
        write_text(folder / "evaluation.json", text + "\n")
        save_png(self._sheet(), folder / "sheet.png")

    def _pieces(self, view: _View) -> Generator[str]:
        self._photograph(view)
        for index, tested in enumerate(self.tested):
            yield from self._pack(view, tested, index)

    @torch.no_grad()
    def _photograph(self, view: _View) -> None:
        """Measure the unpainted photograph against every painting, in one pass."""
        names = [pack.name for pack in self.tested if pack.painting]
        indices = torch.arange(len(names), device=self.device)
        terms = self.objective(view.photo, view.photo, indices, targets=view.targets)
        for index, name in enumerate(names):
            self._add(view, name, "photograph", index, terms, index)
        view.pictures.append(_small(view.photo))

    def _pack(self, view: _View, tested: PackUnderTest, index: int) -> Generator[str]:
        """Measure a pack, `index` in the objective, and its references."""
        name, painting, updates = tested.name, tested.painting, self.request.updates
        painted = self._painted(view.photo, tested)
        view.pictures.append(_small(painted))
        if painting is None:
            terms = self._terms(painted, view, 0)
            values = {"content": terms.content.item(), "psnr": psnr(painted, view.photo)}
            view.rows.append(Row(name, "pack", view.name, values))
        else:
            height, width = view.photo.shape[-2:]
            itself = cropped(painting.path, (width, height))[None].to(self.device)
            self._add(view, name, "pack", index, self._terms(painted, view, index))
            self._add(view, name, "painting", index, self._terms(itself, view, index))
        yield f"{view.name} {name}"
        if painting is not None and updates:
            work = PixelOptimization(self.objective, view.photo, index, view.targets)
            for update, loss in enumerate(work.steps(updates), start=1):
                yield f"{view.name} {name} optimizing {update}/{updates}: {loss:#.3g}"
            self._add(view, name, "optimized", index, self._terms(work.picture, view, index))
            view.pictures.append(_small(work.picture))

    @torch.no_grad()
    def _painted(self, photo: Tensor, tested: PackUnderTest) -> Tensor:
        style, contrast = tested.pack.style.to(self.device), tested.pack.manifest.own_contrast
        painted: Tensor = self.trunk(photo.to(training_dtype(self.device)), style, contrast)
        return painted.float()

    @torch.no_grad()
    def _terms(self, picture: Tensor, view: _View, index: int) -> Terms:
        indices = torch.tensor([index], device=self.device)
        return self.objective(picture, view.photo, indices, targets=view.targets)

    def _add(
        self, view: _View, pack: str, method: str, index: int, terms: Terms, image: int = 0
    ) -> None:
        """Add a row, with the style losses of an `image` of the terms."""
        content, style = terms.content.item(), terms.style[image].item()
        total = self.recipe.content_weight * content
        total += self.recipe.tv_weight * terms.variation.item()
        total += self.objective.style_weights[index].item() * style
        layers = zip(self.recipe.style_layers, terms.layers[:, image].tolist(), strict=True)
        values = {"content": content, "style": style, "total": total}
        values |= {f"style {layer}": loss for layer, loss in layers}
        view.rows.append(Row(pack, method, view.name, values))

    def _report(self, figures: Figures) -> dict[str, Any]:
        request, source = self.request, self.source
        optimized = {"updates": request.updates, "optimizer": "Adam", "rate": LEARNING_RATE}
        return {
            "command": [printable(word) for word in sys.argv],
            "versions": versions(),
            "device": self.device.type,
            "trunk": {"file": printable(str(request.packs.trunk)), "sha256": self.digest},
            "recipe": asdict(self.recipe),
            "loss_network": {
                "name": self.recipe.loss_network,
                "weights": printable(source.file.name) if source.file else self.recipe.loss_weights,
            },
            "short_side": held_out.SHORT_SIDE,
            "optimized": optimized if request.updates else None,
            "interval": f"95 %, percentile bootstrap of {RESAMPLES} resamples",
            "photographs_planned": self.planned,
            "photographs": self.measured,
            "skipped": [printable(reason) for reason in self.photos.journal.skipped],
            "packs": {p.name: _described(p, figures.get(p.name, {})) for p in self.tested},
        }

    def _sheet(self) -> Image.Image:
        """The paintings, then a row per photograph."""
        blank = Image.new("RGB", (CELL, 1), "white")
        top, captions = [blank], ["photograph"]
        for tested in self.tested:
            painting = tested.painting
            top.append(_fitted(read_rgb(painting.path)) if painting else blank)
            captions.append(tested.name)
            if painting and self.request.updates:
                top.append(blank)
                captions.append(f"{tested.name}, optimized")
        above = ["" if picture is blank else "the painting" for picture in top]
        below = [captions] * len(self.pictures)
        return contact_sheet([top, *self.pictures], [above, *below], CELL)


def sampled(photos: PhotoFolder) -> PhotoFolder:
    """The photographs in a fixed random order, so that the first ones are a sample."""
    order = torch.randperm(len(photos.paths), generator=seeded(0, "evaluation")).tolist()
    return PhotoFolder([photos.paths[index] for index in order], photos.journal)


def psnr(picture: Tensor, photo: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two (1, 3, H, W) in 0..1, at most 100."""
    error = (picture - photo).square().mean().clamp_min(CLOSEST)
    return -10 * error.log10().item()


def cropped(path: Path, size: tuple[int, int]) -> Tensor:
    """The centre of a painting at (width, height) pixels: (3, H, W) float32 RGB in 0..1."""
    pixels = Photo.from_image(read_rgb(path)).pixels
    height, width = pixels.shape[1:]
    scale = min(width / size[0], height / size[1])
    kept = max(1, round(scale * size[0])), max(1, round(scale * size[1]))
    left, top = (width - kept[0]) // 2, (height - kept[1]) // 2
    centre = pixels[:, top : top + kept[1], left : left + kept[0]]
    return Photo(centre).stretched(size).to_float()


def _small(pictures: Tensor) -> Image.Image:
    return _fitted(Photo.from_float(pictures[0]).to_image())


def _fitted(picture: Image.Image) -> Image.Image:
    return ImageOps.contain(picture, (CELL, CELL), Image.Resampling.LANCZOS)


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    quantities = list(dict.fromkeys(quantity for row in rows for quantity in row.values))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["pack", "method", "photograph", *quantities])
    for row in rows:
        values = [f"{row.values[q]:.6g}" if q in row.values else "" for q in quantities]
        writer.writerow([row.pack, row.method, row.photograph, *values])
    return text.getvalue()


def _described(tested: PackUnderTest, methods: dict[str, dict[str, Estimate]]) -> dict[str, Any]:
    """A pack's entry in evaluation.json, with numbers to six digits."""
    painting = tested.painting
    return {
        "painting": printable(painting.path.name) if painting else None,
        "matched_by": tested.matched_by or None,
        "methods": {
            method: {quantity: _rounded(estimate) for quantity, estimate in quantities.items()}
            for method, quantities in methods.items()
        },
    }


def _rounded(estimate: Estimate) -> dict[str, Any]:
    rounded = [float(f"{value:.6g}") for value in (estimate.mean, *(estimate.interval or ()))]
    return {"mean": rounded[0], "interval": rounded[1:] or None}
