"""Packs beside their references: the photograph, the painting, and optimised pixels."""

import csv
import io
import json
import statistics
import sys
from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageOps
from torch import Tensor

from stylepack.errors import StylepackError, TrainingError, UsageError, printable
from stylepack.files import replacing, write_text
from stylepack.network.device import keep_large_blocks, training_dtype
from stylepack.network.trunk import TrunkConfig
from stylepack.packs.pack import Pack, check_trunk, load_pack
from stylepack.packs.shelf import IDENTITY, SUFFIX, find_pack, shelf
from stylepack.packs.trunkfile import load_trunk
from stylepack.pictures.imagefile import open_image, upright
from stylepack.pictures.photo import Photo
from stylepack.pictures.sheet import contact_sheet
from stylepack.training import evaluate
from stylepack.training.loss_network import WeightSource
from stylepack.training.objective import Objective
from stylepack.training.optimize import LEARNING_RATE, PixelOptimization
from stylepack.training.paintings import Painting, read_paintings
from stylepack.training.photos import PhotoFolder, seeded
from stylepack.training.recipe import Recipe
from stylepack.training.settings import versions

METHODS = ("photograph", "pack", "optimized", "painting")  # in the order they are shown
QUANTITIES = ("content", "style", "weighted", "psnr")
SHEET_PHOTOS = 4
CELL = 224  # pixels
CLOSEST = 1e-10  # mean squared error below which two pictures are the same: 100 dB


@dataclass(frozen=True)
class Request:
    """What is to be compared.  No names are all packs of the trunk; 0 updates optimise nothing."""

    photos: Path
    paintings: Path
    trunk: Path
    names: tuple[str, ...] = ()
    limit: int = 24  # photographs
    updates: int = 0  # of the pixels


@dataclass(frozen=True)
class Contender:
    """A pack under the name it goes by, and its painting; None for the identity style."""

    name: str
    pack: Pack
    painting: Painting | None
    matched_by: str = ""  # sha256 or name


@dataclass(frozen=True)
class Row:
    """One picture, measured.  `weighted` is the recipe's sum of the losses, `psnr` is in dB.

    The identity style has `content` and `psnr`, the others all but `psnr`.
    """

    pack: str
    method: str
    photograph: str
    content: float
    style: float | None = None
    weighted: float | None = None
    psnr: float | None = None


@dataclass(frozen=True)
class Figure:
    """A mean over photographs and its 95 % interval, None for a single photograph."""

    mean: float
    interval: tuple[float, float] | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        """The mean of at least one value."""
        return cls(statistics.fmean(values), evaluate.bootstrap_interval(values))


Figures = dict[str, dict[str, dict[str, Figure]]]  # pack -> method -> quantity


@dataclass(frozen=True)
class _View:
    """A photograph, (1, 3, H, W) RGB in 0..1, and its activations at the content layers."""

    name: str
    photo: Tensor
    targets: dict[str, Tensor]


class Comparison:
    """Every pack on every photograph: iterate `measure()`, then `write` what was measured."""

    def __init__(
        self, request: Request, recipe: Recipe, source: WeightSource, device: torch.device
    ) -> None:
        self.request, self.recipe, self.source = request, recipe, source
        paintings = read_paintings(request.paintings)
        self.photos = sampled(PhotoFolder.open(request.photos, [p.path for p in paintings]))
        self.trunk, self.digest = load_trunk(request.trunk)
        self.trunk.to(device)
        packs = find_packs(request.trunk, self.digest, self.trunk.config, request.names)
        self.contenders, self.unmatched = match(packs, paintings)
        if not self.contenders:
            raise UsageError(
                f"{request.paintings} holds no painting of {', '.join(packs) or 'any pack'}; "
                "name a painting's file like its pack"
            )
        # Content loss needs no painting, but an objective does.
        against = [c.painting for c in self.contenders if c.painting] or paintings[:1]
        self.objective = Objective.for_paintings(recipe, source, against, device)
        self.device = device
        self.rows: list[Row] = []
        self.measured: list[str] = []  # names of the photographs
        self.pictures: list[list[Image.Image]] = []  # the sheet's rows
        keep_large_blocks()

    def __len__(self) -> int:
        """How often `measure` yields."""
        optimised = sum(c.painting is not None for c in self.contenders) * self.request.updates
        return self._planned * (len(self.contenders) + optimised)

    @property
    def _planned(self) -> int:
        return min(self.request.limit, len(self.photos.paths))

    def measure(self) -> Generator[str]:
        """Measure photograph after photograph; yield what was done after every piece of it.

        A photograph counts once all of it has been measured.  In the place of a damaged one
        comes another.

        Raises:
            TrainingError: not one of the photographs can be read.
        """
        for path, photo in evaluate.whole_photographs(self.photos, self.device):
            if photo is None:
                continue
            name = printable(path.relative_to(self.request.photos).as_posix())
            view = _View(name, photo, self.objective.content_targets(photo))
            rows, pictures = self._photograph(view), [_small(photo)]
            for index, contender in enumerate(self.contenders):
                yield from self._contender(view, contender, index, rows, pictures)
            self.rows += rows
            self.measured.append(name)
            if len(self.pictures) < SHEET_PHOTOS:
                self.pictures.append(pictures)
            if len(self.measured) == self._planned:
                return
        if not self.measured:
            raise TrainingError(
                f"not one of the {len(self.photos.paths)} photographs of {self.request.photos} "
                "can be read"
            )

    def figures(self) -> Figures:
        """Means over the photographs, for every pack, method and quantity there is."""
        found: dict[str, dict[str, dict[str, list[float]]]] = {}
        for row in self.rows:
            methods = found.setdefault(row.pack, {})
            for quantity in QUANTITIES:
                value = getattr(row, quantity)
                if value is not None:
                    methods.setdefault(row.method, {}).setdefault(quantity, []).append(value)
        return {
            pack: {
                method: {quantity: Figure.of(v) for quantity, v in methods[method].items()}
                for method in METHODS
                if method in methods
            }
            for pack, methods in found.items()
        }

    def write(self, folder: Path, figures: Figures) -> None:
        """Write evaluation.csv, evaluation.json and sheet.png of what has been measured."""
        write_text(folder / "evaluation.csv", _csv(self.rows))
        text = json.dumps(self._report(figures), indent=1, ensure_ascii=False)
        write_text(folder / "evaluation.json", text + "\n")
        sheet = self._sheet()
        with replacing(folder / "sheet.png") as temporary:
            sheet.save(temporary, "PNG")

    @torch.no_grad()
    def _photograph(self, view: _View) -> list[Row]:
        """The untouched photograph against every painting, whose losses share one pass."""
        compared = [c for c in self.contenders if c.painting]
        indices = torch.arange(max(1, len(compared)), device=self.device)
        terms = self.objective(view.photo, view.photo, indices, targets=view.targets)
        content, variation = terms.content.item(), terms.variation.item()
        return [
            self._row(c.name, "photograph", view, index, content, style, variation)
            for index, (c, style) in enumerate(zip(compared, terms.style.tolist(), strict=False))
        ]

    def _contender(
        self,
        view: _View,
        contender: Contender,
        index: int,
        rows: list[Row],
        pictures: list[Image.Image],
    ) -> Generator[str]:
        """Measure one pack, `index` in the objective, and what it is compared with."""
        painted, name = self._painted(view.photo, contender), contender.name
        pictures.append(_small(painted))
        if contender.painting is None:
            content = self._row_of(painted, name, "pack", view, 0).content
            rows.append(Row(name, "pack", view.name, content, psnr=psnr(painted, view.photo)))
            yield f"{view.name} {name}"
            return
        rows.append(self._row_of(painted, name, "pack", view, index))
        height, width = view.photo.shape[-2:]
        itself = cropped(contender.painting.path, (width, height))[None].to(self.device)
        rows.append(self._row_of(itself, name, "painting", view, index))
        yield f"{view.name} {name}"
        if self.request.updates:
            work = PixelOptimization(self.objective, view.photo, index, view.targets)
            for update, loss in enumerate(work.steps(self.request.updates), start=1):
                yield f"{view.name} {name} optimising {update}: {loss:#.3g}"
            rows.append(self._row_of(work.picture, name, "optimized", view, index))
            pictures.append(_small(work.picture))

    @torch.no_grad()
    def _painted(self, photo: Tensor, contender: Contender) -> Tensor:
        style = contender.pack.style.to(self.device)
        own = contender.pack.manifest.own_contrast
        return self.trunk(photo.to(training_dtype(self.device)), style, own).float()

    @torch.no_grad()
    def _row_of(self, picture: Tensor, pack: str, method: str, view: _View, index: int) -> Row:
        indices = torch.tensor([index], device=self.device)
        terms = self.objective(picture, view.photo, indices, targets=view.targets)
        content, style, variation = (
            term.item() for term in (terms.content, terms.style, terms.variation)
        )
        return self._row(pack, method, view, index, content, style, variation)

    def _row(
        self,
        pack: str,
        method: str,
        view: _View,
        index: int,
        content: float,
        style: float,
        variation: float,
    ) -> Row:
        recipe = self.recipe
        weighted = recipe.content_weight * content + recipe.tv_weight * variation
        weighted += self.objective.style_weights[index].item() * style
        return Row(pack, method, view.name, content, style, weighted)

    def _report(self, figures: Figures) -> dict[str, Any]:
        request, source = self.request, self.source
        optimized = {"updates": request.updates, "optimizer": "Adam", "rate": LEARNING_RATE}
        return {
            "command": [printable(word) for word in sys.argv],
            "versions": versions(),
            "device": self.device.type,
            "trunk": {"file": printable(str(request.trunk)), "sha256": self.digest},
            "recipe": asdict(self.recipe),
            "loss_network": {
                "name": self.recipe.loss_network,
                "weights": source.file.name if source.file else self.recipe.loss_weights,
            },
            "short_side": evaluate.SHORT_SIDE,
            "optimized": optimized if request.updates else None,
            "interval": f"95 %, percentile bootstrap of {evaluate.RESAMPLES} resamples",
            "photographs_planned": self._planned,
            "photographs": self.measured,
            "skipped": [printable(reason) for reason in self.photos.skipped],
            "packs": {c.name: _described(c, figures.get(c.name, {})) for c in self.contenders},
        }

    def _sheet(self) -> Image.Image:
        """The paintings above, then a row a photograph."""
        blank = Image.new("RGB", (CELL, 1), "white")
        top, captions = [blank], ["photograph"]
        for contender in self.contenders:
            painting = contender.painting
            top.append(_small(_read(painting.path)) if painting else blank)
            captions.append(contender.name)
            if painting and self.request.updates:
                top.append(blank)
                captions.append(f"optimized {self.request.updates}")
        above = ["the painting" if picture is not blank else "" for picture in top]
        rows = [top, *self.pictures]
        return contact_sheet(rows, [above, *([captions] * len(self.pictures))], CELL)
