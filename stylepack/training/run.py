"""A run folder: everything that one training writes, and what it needs to go on.

run.json                  what was asked for: paintings, photographs, recipe, versions
recipe.toml               the recipe, ready to be used again
losses.csv, losses.png    one row an image, and the curves so far
progress.png              one photograph in every style over time
checkpoint.safetensors    the last state; checkpoint.previous.safetensors the one before
sheets/                   test photographs in every style, over time
trunk.safetensors, packs/ the result
"""

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from stylepack.errors import StylepackError, TrainingError, UsageError
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import Manifest
from stylepack.packs.pack import Pack
from stylepack.packs.shelf import IDENTITY
from stylepack.packs.trunkfile import load_trunk
from stylepack.training.board import Board
from stylepack.training.checkpoint import has_checkpoint, load_checkpoint, save_checkpoint
from stylepack.training.evaluate import Evaluation
from stylepack.training.export import paint_sheet, provenance, write_packs, write_trunk
from stylepack.training.history import History
from stylepack.training.loss_network import WeightSource
from stylepack.training.objective import Objective
from stylepack.training.paintings import Painting, balanced, read_paintings
from stylepack.training.photos import Batches, PhotoFolder
from stylepack.training.plots import draw_progress, plot_losses, save_moment
from stylepack.training.settings import SETTINGS, RunSettings
from stylepack.training.start import identity_start, mean_style, packs_of
from stylepack.training.trainer import DivergedError, Step, Trainer

LOWER = 0.3  # of the learning rate, after the run has diverged


class Run:
    """A training in its folder.

    Iterate `train()` to its end, then what `evaluation()` gives, then `write_packs()`.
    """

    def __init__(self, folder: Path, settings: RunSettings, device: torch.device) -> None:
        self.folder = folder
        self.settings = settings
        self.recipe = settings.recipe
        self.source = WeightSource(settings.vgg_weights, settings.vgg_input)
        paintings = balanced(read_paintings(settings.styles), settings.balance)
        self.styles: list[Painting | None] = [*paintings]
        if self.recipe.identity:
            self.styles.append(None)
        everything = PhotoFolder.open(settings.photos, [p.path for p in paintings])
        self.photos, self.held_out = everything.split()
        self.trainer = self._trainer(device)
        self.history = History(folder, self.names)
        self.saved = -1  # the update of the last checkpoint
        self.notices: list[str] = []  # what went wrong on the way and did not stop the run

    @classmethod
    def start(cls, folder: Path, settings: RunSettings, device: torch.device) -> "Run":
        """A new run in `folder`, which is made if need be.

        Raises:
            UsageError: `folder` holds a run already.
        """
        if has_checkpoint(folder) or (folder / SETTINGS).exists():
            raise UsageError(
                f"{folder} holds a run already; go on with `stylepack train --resume {folder}` "
                "or choose another folder with -o"
            )
        run = cls(folder, settings, device)
        try:
            (folder / "sheets").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot make {folder}: {error.strerror}") from error
        run.settings = replace(settings, paintings=run.fingerprints)
        run.settings.write(folder)
        return run

    @classmethod
    def resume(cls, folder: Path, settings: RunSettings, device: torch.device) -> "Run":
        """Go on from the last checkpoint of `folder`."""
        run = cls(folder, settings, device)
        if settings.paintings and [*settings.paintings.items()] != [*run.fingerprints.items()]:
            raise TrainingError(
                f"the paintings in {settings.styles} are not those that {folder} was started with"
            )
        if has_checkpoint(folder):
            run.trainer.restore(load_checkpoint(folder))
        run.settings.write(folder)
        return run

    @property
    def fingerprints(self) -> dict[str, str]:
        """Every painting's name and the SHA-256 of its file."""
        return {p.name: p.facts["sha256"] for p in self.styles if p is not None}

    @property
    def names(self) -> list[str]:
        """The styles' names in the order of the style matrix."""
        return [painting.name if painting else IDENTITY for painting in self.styles]

    @property
    def skipped(self) -> list[str]:
        """Photographs that are left out, each with the reason."""
        return self.photos.skipped

    def train(self) -> Generator[Step]:
        """Yield each update; checkpoints, sheets and the loss history are written on the way.

        Closing the iterator saves a checkpoint.  A run that diverges goes back to its last
        checkpoint once, with a lower learning rate.  A checkpoint that cannot be written, to a
        full disk say, is told in `notices` and tried again later; training goes on.

        Raises:
            TrainingError: the run diverged a second time.
            StylepackError: the last checkpoint cannot be written.
        """
        self.history.cut(self.trainer.update)
        if has_checkpoint(self.folder):
            self.saved = self.trainer.update
        else:
            self.checkpoint()  # what a run that diverges early goes back to
        with closing(Board(self.folder / "tensorboard", self.names)) as board:
            while True:
                try:
                    yield from self._train_on(board)
                except DivergedError as error:
                    self._go_back(error)
                else:
                    break
        self.checkpoint()

    def _train_on(self, board: Board) -> Generator[Step]:
        trainer, settings = self.trainer, self.settings
        every, sheets = settings.checkpoint_every, settings.sheet_every
        batches = Batches(self.photos, self.recipe, len(self.names), trainer.update)
        before = trainer.update
        try:
            for steps in trainer.groups(batches):
                for step in steps:
                    self.history.add(step)
                    board.add(step)
                if trainer.update // every > before // every:
                    self._attempt(self.checkpoint)
                if trainer.update // sheets > before // sheets:
                    self._attempt(self.show)
                before = trainer.update
                yield from steps
        except GeneratorExit:
            self.checkpoint()
            raise

    def _go_back(self, error: DivergedError) -> None:
        """Start again from the last checkpoint with a lower learning rate, once."""
        if self.trainer.rate_scale < 1:
            raise TrainingError(
                f"{error}, with a lower learning rate too; the last checkpoint is kept: go on from "
                "it with a lower --learning-rate"
            ) from error
        self.trainer.restore(load_checkpoint(self.folder))
        self.trainer.rate_scale = LOWER
        self.history.cut(self.trainer.update)
        self.notices.append(
            f"{error}; going on from update {self.trainer.update} at {LOWER} of the learning rate"
        )

    def _attempt(self, write: Callable[[], object]) -> None:
        try:
            write()
        except (StylepackError, OSError) as error:
            self.notices.append(f"{error}; training goes on, and it will be tried again")

    def checkpoint(self) -> None:
        """Write the losses and the state of this moment, if they are not written yet."""
        if self.saved == self.trainer.update:
            return
        self.history.flush()
        save_checkpoint(self.folder, self.trainer.state())
        self.saved = self.trainer.update

    def show(self) -> None:
        """Paint held-out photographs in every style, and draw progress and losses so far."""
        trunk, styles = self.trainer.averaged()
        update, sheets = self.trainer.update, self.folder / "sheets"
        path = sheets / f"{update:06d}.png"
        pictures = paint_sheet(path, trunk, styles, self.names, self.held_out)
        save_moment(sheets / "moments", update, pictures)
        draw_progress(sheets / "moments", self.names, self.folder / "progress.png")
        self.history.flush()
        plot_losses(self.history.path, self.folder / "losses.png")

    def evaluation(self) -> Evaluation:
        """Write the trunk; what comes back measures its styles on the held-out photographs."""
        trunk, styles = self.trainer.averaged()
        rounded, self.digest = write_trunk(self.folder, trunk, self.settings.author)
        rounded.to(styles.device)
        return Evaluation(rounded, styles, self.trainer.objective, self.held_out)

    def write_packs(self, evaluation: Evaluation) -> list[Manifest]:
        """Write a pack for every style of a finished evaluation."""
        facts = provenance(
            self.recipe,
            self.source,
            updates=self.trainer.update,
            styles=len(self.names),
            photographs=len(self.photos.paths),
        )
        return write_packs(
            self.folder,
            evaluation,
            self.styles,
            self.digest,
            facts,
            author=self.settings.author,
            license=self.settings.license,
        )

    def _trainer(self, device: torch.device) -> Trainer:
        recipe = self.recipe
        trunk, packs = self._start()
        trunk.config = replace(trunk.config, grain=recipe.grain)
        blank = mean_style(packs, trunk.config)
        known = {name: pack.style for name, pack in packs.items()}
        styles = torch.stack([known.get(name, blank) for name in self.names]).to(device)
        if recipe.identity:
            styles[-1] = identity_start(styles[-1], trunk.config)
        objective = Objective.for_paintings(recipe, self.source, self.styles, device)
        return Trainer(trunk.to(device), styles, objective, recipe, frozen=False)

    def _start(self) -> tuple[Trunk, dict[str, Pack]]:
        """The trunk to begin with, and the packs that it has."""
        if self.settings.start_from:
            trunk, digest = load_trunk(self.settings.start_from)
            return trunk, packs_of(self.settings.start_from, digest, trunk.config)
        torch.manual_seed(self.recipe.seed)
        trunk = Trunk()
        if self.recipe.initial_std:
            for weight in trunk.parameters():
                torch.nn.init.normal_(weight, 0.0, self.recipe.initial_std)
        return trunk, {}
