"""Networks that a study trains, and how it measures them.  Each can stop and go on."""

import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import torch
from torch import Tensor, nn

from stylepack.errors import TrainingError
from stylepack.files import make_folder
from stylepack.lab.study.study import Json, StudyFolder
from stylepack.losses.objective import Objective
from stylepack.network.device import training_dtype
from stylepack.network.trunk import Trunk, TrunkConfig
from stylepack.recipe import Recipe
from stylepack.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from stylepack.training.dataset import Batches, PhotoFolder, decoded, on_device, random_crop
from stylepack.training.initial import untrained_trunk
from stylepack.training.reports.losses_log import NAME, History
from stylepack.training.trainer import Step, Trainer

CHECKPOINT_EVERY = 500  # updates
SECONDS = "study/seconds"  # a checkpoint's, of training so far
TOGETHER = 4  # photographs that are measured at once


@dataclass(frozen=True)
class Losses:
    """Of one style: content, style and weighted loss, one value a photograph.

    The weighted loss is that of content, style and total variation, at the recipe's weights.
    """

    content: list[float]
    style: list[float]
    total: list[float]


@dataclass(frozen=True)
class Measured:
    """A network's losses on held-out photographs: update -> one `Losses` a style.

    `seconds` is the time that its training had taken by the last of them.
    """

    seconds: float
    moments: dict[int, list[Losses]]


class HeldOut:
    """Photographs that training never saw: their middles, as large as a training crop."""

    def __init__(self, photos: PhotoFolder, count: int, side: int, objective: Objective) -> None:
        """Read them.

        Args:
            photos: in the order in which they are to be taken.
            count: how many, if there are as many.
            side: of the square that is measured, in pixels.
            objective: any with the recipe and loss network of those that are measured.
        """
        device = objective.network.device
        crops = [
            photos.read_first(
                place, lambda path: random_crop(decoded(path, side), side, side, (0, 0.5, 0.5, 1))
            )
            for place in range(min(count, len(photos.paths)))
        ]
        self.batches = [
            on_device(torch.stack(crops[start : start + TOGETHER]), device)
            for start in range(0, len(crops), TOGETHER)
        ]
        self.targets = [objective.content_targets(batch) for batch in self.batches]

    def __len__(self) -> int:
        return sum(len(batch) for batch in self.batches)

    @torch.no_grad()
    def measure(self, trunk: Trunk, styles: Tensor, objective: Objective) -> list[Losses]:
        """The losses of every style, (S, style_size), on every photograph."""
        recipe, dtype = objective.recipe, training_dtype(styles.device)
        found = [Losses([], [], []) for _ in styles]
        for photos, targets in zip(self.batches, self.targets, strict=True):
            for index, (style, losses) in enumerate(zip(styles, found, strict=True)):
                painted = trunk(photos.to(dtype), style).float()
                which = torch.full((len(photos),), index, device=styles.device)
                terms = objective(painted, photos, which, targets=targets)
                total = recipe.content_weight * terms.content + recipe.tv_weight * terms.variation
                total = total + objective.style_weights[index] * terms.style
                losses.content.extend(terms.content.tolist())
                losses.style.extend(terms.style.tolist())
                losses.total.extend(total.tolist())
        return found


class StudyNetwork:
    """One network of a study: trained from random weights, or styles alone on a given trunk.

    It stops at `moments`, where it is measured on the held-out photographs, and goes on from
    its last checkpoint.  `block_norms` 1 gives each residual block one norm that it uses twice.
    """

    def __init__(
        self,
        name: str,
        folder: StudyFolder,
        recipe: Recipe,
        styles: Sequence[str],
        objective: Objective,
        photos: PhotoFolder,
        moments: Sequence[int],
        *,
        block_norms: int = 2,
        start: tuple[Trunk, Tensor] | None = None,
    ) -> None:
        self.name, self.folder, self.recipe = name, folder, recipe
        self.styles, self.photos, self.moments = list(styles), photos, list(moments)
        self.place = folder.path / "networks" / name
        device = objective.network.device
        trunk, vectors = start or _untrained(recipe, len(styles))
        self.trainer = Trainer(
            trunk.to(device),
            vectors.to(device),
            objective,
            recipe,
            frozen=start is not None,
        )
        if block_norms == 1:
            share_block_norms(self.trainer.parameters["style"], trunk.config)
        self.seconds = 0.0
        self.measured: dict[int, list[Losses]] = {}

    def train(self, held_out: HeldOut) -> Generator[Step]:
        """Yield each update that is still to be done, and measure at the moments."""
        make_folder(self.place, "choose another folder with -o")
        history = History(self.place, self.styles)
        self._go_back()
        if not self.trainer.update:  # nothing older counts from here on
            self._keep()
            self._checkpoint()
        history.cut(self.trainer.update)
        saved = self.trainer.update // CHECKPOINT_EVERY
        try:
            for moment in self.moments:
                for steps in self._until(moment):
                    for step in steps:
                        history.add(step)
                    if steps[-1].update // CHECKPOINT_EVERY > saved:
                        self._save(history)
                        saved = steps[-1].update // CHECKPOINT_EVERY
                    yield from steps
                if moment not in self.measured:
                    trunk, styles = self.trainer.averaged()
                    losses = held_out.measure(trunk, styles, self.trainer.objective)
                    self.measured[moment] = losses
                    self._save(history)
                    self._keep()  # last: it tells that the checkpoint has come this far
        except GeneratorExit:
            self._save(history)
            raise

    def finished(self) -> tuple[Trunk, Tensor]:
        """(trunk, styles) of the trained network, from its checkpoint if need be.

        Raises:
            TrainingError: its checkpoint is lost.
        """
        if self.trainer.update < self.moments[-1]:
            self._go_back()
        if self.trainer.update < self.moments[-1]:
            raise TrainingError(
                f"{self.place} has lost its checkpoint; delete that folder, and it is made again"
            )
        return self.trainer.averaged()

    def _go_back(self) -> None:
        """To the last checkpoint; to the beginning if the history up to it is lost, or a moment."""
        if not has_checkpoint(self.place) or not (self.place / NAME).is_file():
            return
        state = load_checkpoint(self.place)
        done = read_measured(self.folder, self.name, len(self.styles))
        update, measured = int(state["update"]), done.moments if done else {}
        if all(moment in measured for moment in self.moments if moment < update):
            self.trainer.restore(state)
            self.seconds = float(state[SECONDS])
            self.measured = {m: found for m, found in measured.items() if m <= update}

    def _keep(self) -> None:
        moments = {str(m): [vars(one) for one in found] for m, found in self.measured.items()}
        self.folder.keep(self.name, {"seconds": self.seconds, "moments": moments})

    def _until(self, moment: int) -> Generator[list[Step]]:
        """Train up to an update; time counts as it is spent on training alone."""
        todo = moment - self.trainer.update
        if todo <= 0:
            return
        batches = Batches(self.photos, self.recipe, len(self.styles), self.trainer.update)
        begun = time.monotonic()
        for steps in self.trainer.groups(islice(batches, todo)):
            self.seconds += time.monotonic() - begun
            yield steps
            begun = time.monotonic()

    def _save(self, history: History) -> None:
        history.flush()
        self._checkpoint()

    def _checkpoint(self) -> None:
        seconds = {SECONDS: torch.tensor(self.seconds)}
        save_checkpoint(self.place, self.trainer.state() | seconds)


def read_measured(folder: StudyFolder, name: str, styles: int) -> Measured | None:
    """What a network of so many styles was measured at so far, None if it never was.

    Raises:
        TrainingError: its file is damaged.
    """
    return folder.part(name, lambda part: _measured(part, styles))


def finished_network(
    folder: StudyFolder, name: str, styles: int, moments: Sequence[int]
) -> Measured | None:
    """A network's losses if it is trained, measured at all its moments and has its history.

    Raises:
        TrainingError: its file is damaged.
    """
    found = read_measured(folder, name, styles)
    there = found and found.moments.keys() >= set(moments)
    return found if there and (folder.path / "networks" / name / NAME).is_file() else None


def _measured(part: Json, styles: int) -> Measured:
    moments = {int(m): [Losses(**one) for one in found] for m, found in part["moments"].items()}
    if any(len(found) != styles for found in moments.values()):
        raise ValueError("one Losses a style is expected")
    every = (vars(one).values() for found in moments.values() for one in found)
    if len({len(values) for kinds in every for values in kinds}) > 1:
        raise ValueError("one value a photograph is expected")
    return Measured(float(part["seconds"]), moments)


def share_block_norms(styles: nn.Parameter, config: TrunkConfig) -> None:
    """Hold the two norms of every residual block equal while (S, style_size) styles are trained.

    The COMP6248 report's residual block calls one conditional norm after both of its
    convolutions.  Two norms that begin equal and both get the sum of their gradients stay
    equal under Adam, which works number by number.
    """
    places, layout = torch.arange(config.style_size, device=styles.device), config.layout()
    pairs = [pair for pair in pairwise(layout) if _is_second(pair[1].name)]
    first, second = (
        torch.cat([torch.cat([places[slot.gamma], places[slot.beta]]) for slot in half])
        for half in zip(*pairs, strict=True)
    )

    def add_up(gradient: Tensor) -> Tensor:
        gradient, both = gradient.clone(), gradient[:, first] + gradient[:, second]
        gradient[:, first] = gradient[:, second] = both
        return gradient

    styles.register_hook(add_up)  # type: ignore[no-untyped-call]


def style_numbers(config: TrunkConfig, block_norms: int) -> int:
    """How many numbers a style is: with one norm a block, those of the second are its copies."""
    copies = sum(2 * slot.channels for slot in config.layout() if _is_second(slot.name))
    return config.style_size - (copies if block_norms == 1 else 0)


def _is_second(norm: str) -> bool:
    """Whether a norm is the second of its residual block."""
    return norm.startswith("res") and norm.endswith("b")


def _untrained(recipe: Recipe, styles: int) -> tuple[Trunk, Tensor]:
    trunk = untrained_trunk(recipe)
    return trunk, trunk.config.neutral_style().repeat(styles, 1)
