"""Networks that a study trains and measures; each can be interrupted and resumed."""

import time
from collections.abc import Generator, Iterator, Sequence
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
from stylepack.training.paintings import Painting
from stylepack.training.reports.losses_csv import NAME, History
from stylepack.training.trainer import Step, Trainer

CHECKPOINT_EVERY = 500  # updates
SECONDS = "study/seconds"  # key of the training time in a checkpoint
TOGETHER = 4  # photographs per batch


@dataclass(frozen=True)
class NetworkSpec:
    """A network to train: its folder's name, and the updates at which it is measured.

    `study compare` trains networks for each `side` and `seed`.
    """

    name: str
    recipe: Recipe
    paintings: tuple[Painting, ...]
    readouts: tuple[int, ...]
    side: str = ""
    seed: int = 0

    @property
    def updates(self) -> int:
        """Number of updates."""
        return self.readouts[-1]

    @property
    def styles(self) -> list[str]:
        """Names of its paintings."""
        return [painting.name for painting in self.paintings]


@dataclass(frozen=True)
class Losses:
    """One style's content, style and weighted loss, one value per photograph.

    The weighted loss is the sum of content, style and total variation at the recipe's weights.
    """

    content: list[float]
    style: list[float]
    total: list[float]


@dataclass(frozen=True)
class Measured:
    """A network's losses on held-out photographs: update -> one `Losses` per style.

    `seconds`: training time up to the last of them.
    """

    seconds: float
    readouts: dict[int, list[Losses]]

    def rows(self, styles: Sequence[str]) -> Iterator[tuple[int, str, int, float, float, float]]:
        """Yield (update, style, photograph from 1, content, style and weighted loss)."""
        for update, every in self.readouts.items():
            for style, losses in zip(styles, every, strict=True):
                values = zip(losses.content, losses.style, losses.total, strict=True)
                for photo, (content, style_loss, total) in enumerate(values, start=1):
                    yield update, style, photo, content, style_loss, total


class HeldOut:
    """The first `count` held-out photographs, cropped to central squares of `side` pixels.

    `objective`: any with the recipe and loss network of the measured ones.
    """

    def __init__(self, photos: PhotoFolder, count: int, side: int, objective: Objective) -> None:
        device = objective.network.device
        crops = [
            photos.read_first(
                index, lambda path: random_crop(decoded(path, side), side, side, (0, 0.5, 0.5, 1))
            )
            for index in range(min(count, len(photos.paths)))
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
        every = [Losses([], [], []) for _ in styles]
        for photos, targets in zip(self.batches, self.targets, strict=True):
            for index, (style, losses) in enumerate(zip(styles, every, strict=True)):
                painted = trunk(photos.to(dtype), style).float()
                which = torch.full((len(photos),), index, device=styles.device)
                terms = objective(painted, photos, which, targets=targets)
                total = recipe.content_weight * terms.content + recipe.tv_weight * terms.variation
                total = total + objective.style_weights[index] * terms.style
                losses.content.extend(terms.content.tolist())
                losses.style.extend(terms.style.tolist())
                losses.total.extend(total.tolist())
        return every


class StudyNetwork:
    """Training of a study's network: from random weights, or styles alone on a given trunk.

    It is measured on held-out photographs at the spec's readouts, and resumes from its last
    checkpoint.  `block_norms` 1 gives each residual block one norm that it uses twice.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        folder: StudyFolder,
        objective: Objective,
        photos: PhotoFolder,
        *,
        block_norms: int = 2,
        start: tuple[Trunk, Tensor] | None = None,
    ) -> None:
        self.spec, self.folder, self.photos = spec, folder, photos
        self.path = folder.path / "networks" / spec.name
        device, frozen = objective.network.device, start is not None
        trunk, vectors = start or _untrained(spec.recipe, len(spec.styles))
        trunk, vectors = trunk.to(device), vectors.to(device)
        self.trainer = Trainer(trunk, vectors, objective, spec.recipe, frozen=frozen)
        if block_norms == 1:
            share_block_norms(self.trainer.parameters["style"], trunk.config)
        self.seconds = 0.0
        self.measured: dict[int, list[Losses]] = {}

    def train(self, held_out: HeldOut) -> Generator[Step]:
        """Yield each remaining update, and measure at the readouts."""
        make_folder(self.path, "choose another folder with -o")
        history = History(self.path, self.spec.styles)
        self._resume()
        if not self.trainer.update:  # starting again: replace older files
            self._keep()
            self._checkpoint()
        history.cut(self.trainer.update)
        saved = self.trainer.update // CHECKPOINT_EVERY
        try:
            for readout in self.spec.readouts:
                for steps in self._until(readout):
                    for step in steps:
                        history.add(step)
                    if steps[-1].update // CHECKPOINT_EVERY > saved:
                        self._save(history)
                        saved = steps[-1].update // CHECKPOINT_EVERY
                    yield from steps
                if readout not in self.measured:
                    trunk, styles = self.trainer.averaged()
                    losses = held_out.measure(trunk, styles, self.trainer.objective)
                    self.measured[readout] = losses
                    self._save(history)
                    self._keep()  # last, since it implies that the checkpoint is written
        except GeneratorExit:
            self._save(history)
            raise

    def finished(self) -> tuple[Trunk, Tensor]:
        """(trunk, styles) of the trained network, from its checkpoint if necessary.

        Raises:
            TrainingError: its checkpoint is lost.
        """
        if self.trainer.update < self.spec.updates:
            self._resume()
        if self.trainer.update < self.spec.updates:
            raise TrainingError(
                f"{self.path} has lost its checkpoint; delete that folder to train it again"
            )
        return self.trainer.averaged()

    def _resume(self) -> None:
        """Restore the last checkpoint, unless losses or readouts before it are lost."""
        if not has_checkpoint(self.path) or not (self.path / NAME).is_file():
            return
        state = load_checkpoint(self.path)
        done = read_measured(self.folder, self.spec)
        update, measured = int(state["update"]), done.readouts if done else {}
        if all(readout in measured for readout in self.spec.readouts if readout < update):
            self.trainer.restore(state)
            self.seconds = float(state[SECONDS])
            self.measured = {at: losses for at, losses in measured.items() if at <= update}

    def _keep(self) -> None:
        readouts = {str(at): [vars(x) for x in losses] for at, losses in self.measured.items()}
        self.folder.keep(self.spec.name, {"seconds": self.seconds, "readouts": readouts})

    def _until(self, readout: int) -> Generator[list[Step]]:
        """Train up to an update, counting the time of training alone."""
        todo = readout - self.trainer.update
        if todo <= 0:
            return
        spec = self.spec
        batches = Batches(self.photos, spec.recipe, len(spec.styles), self.trainer.update)
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
        save_checkpoint(self.path, self.trainer.state() | seconds)


def read_measured(folder: StudyFolder, spec: NetworkSpec) -> Measured | None:
    """A network's losses so far, None if it was never measured.

    Raises:
        TrainingError: its file is damaged.
    """

    def read(part: Json) -> Measured:
        readouts = {int(at): [Losses(**x) for x in every] for at, every in part["readouts"].items()}
        if any(len(every) != len(spec.styles) for every in readouts.values()):
            raise ValueError("expected one Losses per style")
        values = (vars(losses).values() for every in readouts.values() for losses in every)
        if len({len(value) for kinds in values for value in kinds}) > 1:
            raise ValueError("expected one value per photograph")
        return Measured(float(part["seconds"]), readouts)

    return folder.part(spec.name, read)


def finished_network(folder: StudyFolder, spec: NetworkSpec) -> Measured | None:
    """A network's losses if it is measured at all readouts and has its losses.csv, else None.

    Raises:
        TrainingError: its file is damaged.
    """
    measured = read_measured(folder, spec)
    done = measured and measured.readouts.keys() >= set(spec.readouts)
    return measured if done and (folder.path / "networks" / spec.name / NAME).is_file() else None


def share_block_norms(styles: nn.Parameter, config: TrunkConfig) -> None:
    """Hold the two norms of every residual block equal while (S, style_size) styles are trained.

    The COMP6248 report's residual block calls one conditional norm after both convolutions.  Two
    norms that start equal and both get the sum of their gradients stay equal under Adam, which is
    elementwise.
    """
    indices, layout = torch.arange(config.style_size, device=styles.device), config.layout()
    pairs = [pair for pair in pairwise(layout) if _is_second(pair[1].name)]
    first, second = (
        torch.cat([torch.cat([indices[slot.gamma], indices[slot.beta]]) for slot in half])
        for half in zip(*pairs, strict=True)
    )

    def add_up(gradient: Tensor) -> Tensor:
        gradient, both = gradient.clone(), gradient[:, first] + gradient[:, second]
        gradient[:, first] = gradient[:, second] = both
        return gradient

    styles.register_hook(add_up)  # type: ignore[no-untyped-call]


def style_parameters(config: TrunkConfig, block_norms: int) -> int:
    """Parameters of a style; with one norm per block those of the second norm do not count."""
    copies = sum(2 * slot.channels for slot in config.layout() if _is_second(slot.name))
    return config.style_size - (copies if block_norms == 1 else 0)


def _is_second(norm: str) -> bool:
    return norm.startswith("res") and norm.endswith("b")


def _untrained(recipe: Recipe, styles: int) -> tuple[Trunk, Tensor]:
    trunk = untrained_trunk(recipe)
    return trunk, trunk.config.neutral_style().repeat(styles, 1)
