"""Blends of two packs against packs that are trained for the mix (part of `study interpolate`)."""

from collections.abc import Generator, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from stylepack.errors import printable
from stylepack.events import Progress
from stylepack.lab.intervals import Estimate
from stylepack.lab.study.materials import Materials
from stylepack.lab.study.report import Report, intervals, mean_curve, quantity
from stylepack.lab.study.study import Json, StudyFolder
from stylepack.losses.objective import Objective, Terms, sum_of
from stylepack.losses.weights import LossNetwork
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk
from stylepack.packs.pack import blend
from stylepack.painting.gallery import read_small
from stylepack.recipe import Recipe
from stylepack.training.dataset import Batches
from stylepack.training.finetune import finetune_recipe
from stylepack.training.paintings import Painting
from stylepack.training.reports.charts import Curve, Panel, draw_panels
from stylepack.training.trainer import Trainer

BLEND, TRAINED = "blend of two packs", "trained for the mix"


class MixObjective(Objective):
    """The losses of several paintings, averaged with `shares` that sum to 1.

    A pack trained with it is the best that gamma and beta can do for a mix of paintings; a blend
    averages the packs' gamma and beta instead (Dumoulin et al. 2017, section 3.5).
    """

    def __init__(
        self,
        network: LossNetwork,
        recipe: Recipe,
        paintings: Sequence[Tensor | None],
        shares: Sequence[float],
    ) -> None:
        super().__init__(network, recipe, paintings)
        self.shares = shares

    def __call__(
        self,
        painted: Tensor,
        photos: Tensor,
        styles: Tensor,
        logits: Tensor | None = None,
        targets: dict[str, Tensor] | None = None,
    ) -> Terms:
        """Losses of painted photographs, as `Objective`'s; `styles` has no effect."""
        targets = self.content_targets(photos) if targets is None else targets
        every = []
        for index in range(len(self.shares)):
            which = torch.full_like(styles, index)
            every.append(super().__call__(painted, photos, which, logits, targets))
        return replace(
            every[0],
            style=self._mixed(terms.style for terms in every),
            layers=self._mixed(terms.layers for terms in every),
            total=self._mixed(terms.total for terms in every),
        )

    def _mixed(self, losses: Iterable[Tensor]) -> Tensor:
        return sum_of(share * loss for share, loss in zip(self.shares, losses, strict=True))


@dataclass(frozen=True)
class Compared:
    """Losses at one alpha: for each photograph, content, style of A and of B, and weighted."""

    blend: list[list[float]]
    trained: list[list[float]]


class BlendComparison:
    """Packs trained for mixes of two paintings, each from the blend of the two packs.

    Args:
        paintings: of A and B.
        ends: (style_size,) each, the packs of A and B.
        photographs: to measure on.
        alphas: weights of B, 0..1; A has the rest.
        side: long side in pixels of the measured photographs.
        updates: of gamma and beta for each alpha.
    """

    def __init__(
        self,
        materials: Materials,
        folder: StudyFolder,
        trunk: Trunk,
        paintings: Sequence[Painting],
        ends: Sequence[Tensor],
        photographs: Sequence[Path],
        *,
        alphas: Sequence[float],
        side: int,
        updates: int,
    ) -> None:
        self.materials, self.folder, self.trunk = materials, folder, trunk
        self.names = [painting.name for painting in paintings]
        self.paintings, self.ends = paintings, ends
        self.photographs, self.alphas, self.side = photographs, alphas, side
        self.recipe = finetune_recipe(materials.recipe, updates)
        self.apart = materials.objective(paintings)

    def __len__(self) -> int:
        return len(self.alphas) * self.recipe.updates

    def steps(self, before: int) -> Generator[Progress]:
        """Train and measure every mix that is not finished; counted from `before`."""
        for alpha in self.alphas:
            if self.folder.part(self._part(alpha), self._read) is None:
                for update, loss in self._compare(alpha):
                    yield Progress(before + update, f"mix {alpha:.2f}: loss {loss:#.3g}")
            before += self.recipe.updates
            yield Progress(before, f"mix {alpha:.2f} done")

    def _compare(self, alpha: float) -> Generator[tuple[int, float]]:
        """Train and measure one mix; yield (updates, weighted loss)."""
        objective = self._objective(alpha)
        blended = blend(self.ends, (1 - alpha, alpha)).to(self.materials.device)
        trainer = Trainer(self.trunk, blended[None], objective, self.recipe, frozen=True)
        for step in trainer.steps(Batches(self.materials.photos, self.recipe, styles=1)):
            yield step.update, step.total
        _, (trained,) = trainer.averaged()
        part = Compared(self._measure(blended, objective), self._measure(trained, objective))
        self.folder.keep(self._part(alpha), vars(part))

    def _objective(self, alpha: float) -> MixObjective:
        pictures = self.materials.pictures(self.paintings)
        return MixObjective(self.materials.network, self.recipe, pictures, (1 - alpha, alpha))

    @torch.no_grad()
    def _measure(self, style: Tensor, objective: MixObjective) -> list[list[float]]:
        """The losses of one style on every photograph: see `Compared`."""
        rows = []
        both = torch.arange(2, device=style.device)
        for path in self.photographs:
            photo = read_small(path, self.side).to_float()[None].to(style.device)
            painted = self.trunk(photo.to(training_dtype(photo.device)), style).float()
            targets = objective.content_targets(photo)
            mixed = objective(painted, photo, both[:1], targets=targets)
            apart = self.apart(painted, photo, both, targets=targets)
            losses = [mixed.content, *apart.style, mixed.total]
            rows.append([float(loss) for loss in losses])
        return rows

    def write(self, report: Report, results: Json) -> list[Path]:
        """Write mixes.csv and mixes.png, and add them to the report."""
        parts = [self.folder.finished(self._part(alpha), self._read) for alpha in self.alphas]
        kinds = ("content", *(f"style_{name}" for name in self.names), "total")
        rows = [
            (alpha, kind, printable(path.name), *losses)
            for alpha, part in zip(self.alphas, parts, strict=True)
            for kind, every in vars(part).items()
            for path, losses in zip(self.photographs, every, strict=True)
        ]
        columns = ("alpha", "pack", "photograph", *kinds)
        table = self.folder.write_table("mixes.csv", columns, rows)
        blends, trained = (
            [[Estimate.of(losses) for losses in zip(*one, strict=True)] for one in side]
            for side in zip(*((part.blend, part.trained) for part in parts), strict=True)
        )
        figure = self.folder.path / "mixes.png"
        self._draw(figure, blends, trained)
        a, b = self.names
        report.head("Blends against packs trained for the mix")
        report.figure(
            figure,
            f"For every alpha, gamma and beta are trained from the blend for 1 - alpha of the loss "
            f"against {a} and alpha of that against {b}, {self.recipe.updates:,} updates."
            + intervals("Bands", len(self.photographs)),
        )
        report.table(
            ("alpha", "pack", "content loss", *(f"style loss of {n}" for n in self.names), "all"),
            [
                (f"{alpha:.2f}", label, *estimates)
                for alpha, *pair in zip(self.alphas, blends, trained, strict=True)
                for label, estimates in zip(("blend", "trained"), pair, strict=True)
            ],
        )
        report.say("`all` is the mix's weighted sum of the recipe's terms, which training lowers.")
        results["mixes"] = {"alphas": list(self.alphas)} | {
            name: [dict(zip(kinds, map(asdict, one), strict=True)) for one in side]
            for name, side in (("blend", blends), ("trained", trained))
        }
        return [table, figure]

    def _draw(
        self,
        path: Path,
        blends: Sequence[Sequence[Estimate]],
        trained: Sequence[Sequence[Estimate]],
    ) -> None:
        (a, b), recipe = self.names, self.materials.recipe
        sides = ((BLEND, blends), (TRAINED, trained))
        weighted = [mean_curve(name, self.alphas, [e[3] for e in side]) for name, side in sides]
        style = [
            Curve(name, [e[1].mean for e in side], [e[2].mean for e in side])
            for name, side in sides
        ]
        across, unit = f"alpha (0: {a}, 1: {b})", quantity("style", recipe)
        draw_panels(
            path,
            [
                Panel("weighted loss of the mix", across, quantity("total", recipe), weighted),
                Panel(f"{b} against {a}", f"{a}: {unit}", f"{b}: {unit}", style, "log", "log"),
            ],
        )

    def _part(self, alpha: float) -> str:
        return f"mix-{alpha:.2f}"

    def _read(self, part: Json) -> Compared:
        compared = Compared(**part)
        for losses in (compared.blend, compared.trained):
            if [len(row) for row in losses] != [4] * len(self.photographs):
                raise ValueError("expected four losses per photograph")
        return compared
