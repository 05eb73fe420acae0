"""A run folder: everything that one training writes, and what it needs to go on.

README.md                 what the run is and how far it is
run.json                  what was asked for: paintings, photographs, recipe, versions
recipe.toml               the recipe, ready to be used again
losses.csv, losses.png    one row an image, and the curves so far
progress.png              one photograph in every style over time
checkpoint.safetensors    the last state; checkpoint.previous.safetensors the one before
sheets/                   test photographs in every style, over time
trunk.safetensors, packs/ the result
"""

import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from stylepack.errors import StylepackError, TrainingError, UsageError
from stylepack.files import fingerprint, make_folder, remove_leftovers
from stylepack.network.device import is_out_of_memory
from stylepack.packs.manifest import Manifest
from stylepack.packs.shelf import IDENTITY
from stylepack.training.batch_size import find_batch
from stylepack.training.board import Board
from stylepack.training.checkpoint import (
    NAME,
    PREVIOUS,
    has_checkpoint,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from stylepack.training.evaluate import Evaluation
from stylepack.training.export import provenance, write_packs, write_trunk
from stylepack.training.history import History
from stylepack.training.launch import Launch
from stylepack.training.lock import FolderLock
from stylepack.training.loss_network import WeightSource
from stylepack.training.machine import available_memory, processors
from stylepack.training.notes import Pace, write_notes
from stylepack.training.objective import Objective
from stylepack.training.paintings import Painting, balanced, read_paintings
from stylepack.training.photos import Batches, Decoder, PhotoFolder
from stylepack.training.ranks import ALONE, Ranks
from stylepack.training.recipe import Recipe
from stylepack.training.settings import SETTINGS, RunSettings
from stylepack.training.sheets import Sheets
from stylepack.training.start import first_trunk, identity_start, mean_style
from stylepack.training.trainer import DivergedError, Step, Trainer

LOWER = 0.3  # of the learning rate, after the run has diverged
CACHE_SHARE = 0.25  # of the memory that is free, for photographs that are decoded already


class Run:
    """A training in its folder.

    Iterate `train()` to its end, then what `evaluation()` gives, then `write_packs()`, and
    `close()` it: until then no other process can train in the folder.  Of several `ranks` all
    train, and the first alone writes and evaluates.
    """

    def __init__(
        self,
        folder: Path,
        settings: RunSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
        launch: Launch | None = None,
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.ranks, self.launch = ranks, launch or Launch()
        self.source = WeightSource(settings.vgg_weights, settings.vgg_input)
        paintings = balanced(read_paintings(settings.styles), settings.balance)
        self.styles: list[Painting | None] = [*paintings]
        if self.recipe.identity:
            self.styles.append(None)
        everything = PhotoFolder.open(settings.photos, [p.path for p in paintings])
        self.photographs = fingerprint(settings.photos, everything.paths)
        self.photos, self.held_out = everything.split()
        self._check_same_everywhere()
        self.trainer = self._trainer(device)
        room = int(CACHE_SHARE * available_memory() / self.launch.local_world)
        self.decoder = Decoder(self.recipe.photo_side, room)
        self.history = History(folder, self.names)
        self.sheets = Sheets(folder, self.names, self.held_out, self.history.path)
        self.pace = Pace()
        self.saved = -1  # the update of the last checkpoint
        self.way_back = [NAME, PREVIOUS]  # checkpoints to try where training diverges, in order
        self._lock: FolderLock | None = None
        self.wish: Callable[[], int] = int  # asked after every report: above 0 to stop
        self.stopping = 0  # the largest wish of all processes

    @classmethod
    def start(
        cls,
        folder: Path,
        settings: RunSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
        launch: Launch | None = None,
        *,
        fit_batch: bool = False,
    ) -> "Run":
        """A new run in `folder`, which is made if need be.

        `fit_batch` replaces the recipe's batch by the largest that the devices hold.

        Raises:
            UsageError: `folder` holds a run already.
            TrainingError: another process is at work there.
            StylepackError: it cannot be made.
        """
        if ranks.first:
            check_unused(folder)
        run = cls(folder, settings, device, ranks, launch)
        run.trainer.restore(ranks.from_first(run.trainer.state))
        if fit_batch:
            run._fit_batch()
        if ranks.first:
            make_folder(folder / "sheets", "choose another folder with -o")
        run._take_folder()
        if ranks.first:
            check_unused(folder)  # another process may have begun and ended in the meantime
        run._record_start()
        return run

    @classmethod
    def resume(
        cls,
        folder: Path,
        settings: RunSettings,
        device: torch.device,
        ranks: Ranks = ALONE,
        launch: Launch | None = None,
    ) -> "Run":
        """Go on from the last whole checkpoint of `folder`.

        Raises:
            UsageError: it is to have fewer updates than it has.
            TrainingError: other paintings, no checkpoint, or another process is at work there.
        """
        run = cls(folder, settings, device, ranks, launch)
        run._take_folder()
        if [*settings.paintings.items()] != [*run.fingerprints.items()]:
            raise TrainingError(
                f"the paintings in {settings.styles} are not those that {folder} was started with"
            )
        if ranks.first and settings.photographs != run.photographs:
            run.notices.append(
                f"{settings.photos} does not hold the photographs that {folder} has learned on so "
                "far; it goes on with these, to other weights than it would have had"
            )
        run.trainer.restore(ranks.from_first(run._last_state))
        update, updates = run.trainer.update, settings.recipe.updates
        if update > updates:
            raise UsageError(
                f"{folder} is at update {update} already; --updates is {updates} and must be at "
                f"least {update}"
            )
        run._record_start()
        return run

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        return self.settings.recipe

    @property
    def notices(self) -> list[str]:
        """What went wrong on the way and did not stop the run."""
        return self.trainer.notices

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
        checkpoint once, with a lower learning rate, and to the one before if that was in vain.  A
        checkpoint that cannot be written, to a full disk say, is told in `notices` and tried again
        later; training goes on, and its end is an end without the last one too.

        Raises:
            TrainingError: the run diverged again, or before it had learned anything.
            StylepackError: the first checkpoint cannot be written, or that of a closed iterator.
        """
        first = self.ranks.first
        if first:
            self.history.cut(self.trainer.update)
        if self.trainer.rate_scale < 1:  # it has gone back before it was stopped
            self.way_back = [PREVIOUS]
        if first and has_checkpoint(self.folder):
            self.saved = self.trainer.update
        else:
            self.checkpoint()  # what a run that diverges early goes back to
        place = self.folder / "tensorboard"
        with closing(Board(place, self.names, self.notices.append, active=first)) as board:
            try:
                while True:
                    board.go_on_from(self.trainer.update)
                    try:
                        yield from self._train_on(board)
                        self._judge_the_end()
                        if not self.sheets.has(self.trainer.update):
                            self._attempt(self.show)
                        break
                    except DivergedError as error:
                        self._go_back(error)
            finally:
                self._attempt(self.sheets.finish)
        self._attempt(self.checkpoint, "the trunk and its packs are written without it")

    def _train_on(self, board: Board) -> Generator[Step]:
        trainer, settings = self.trainer, self.settings
        every, sheets = settings.checkpoint_every, settings.sheet_every
        batches = self._batches()
        before, start = trainer.update, time.perf_counter()
        try:
            for steps in trainer.groups(batches):
                now, waited = time.perf_counter(), batches.waited
                self.pace.add(len(steps), now - start, waited)
                start, batches.waited = now, 0.0
                if self.ranks.first:
                    for step in steps:
                        self.history.add(step)
                        board.add(step)
                self.stopping = self.ranks.largest(self.wish())
                if trainer.update // every > before // every:
                    self._attempt(self.checkpoint)
                if trainer.update // sheets > before // sheets:
                    self._attempt(self.show)
                before = trainer.update
                yield from steps
        except GeneratorExit:
            self.checkpoint()
            raise
        except DivergedError:
            raise
        except StylepackError:  # such as that there are no photographs any more
            self._attempt(self.checkpoint, "what it had learned since the last checkpoint is lost")
            raise

    def _batches(self) -> Batches:
        return Batches(
            self.photos,
            self.recipe,
            len(self.names),
            self.trainer.update,
            decoder=self.decoder,
            ranks=self.ranks,
            pinned=self.trainer.device.type == "cuda",
            workers=processors(self.launch.local_world),
        )

    def _judge_the_end(self) -> None:
        """Judge what the last update has made of the weights: no later one does.

        Raises:
            DivergedError: in all processes, if one of them finds something wrong.
        """
        trouble = self.trainer.trouble()
        if self.ranks.largest(bool(trouble)):
            update = self.trainer.update
            raise DivergedError(f"{trouble or 'the loss went wrong'} after update {update}", update)

    def _go_back(self, error: DivergedError) -> None:
        """Start again from a checkpoint with a lower learning rate.

        Raises:
            TrainingError: there is no use in it.
        """
        recipe = self.recipe
        if not error.learned:
            raise self._failed(
                f"{error}, before anything was learned, so that no learning rate helps; begin "
                "again in another folder with smaller weights of the losses (--style-weight, "
                "--content-weight, --tv-weight) or another --start-from"
            ) from error
        state = self.ranks.from_first(self._state_before)
        if not state:
            raise self._failed(
                f"{error}, with a lower learning rate too; the last checkpoint is kept: go on from "
                f"it with a lower --learning-rate than {recipe.learning_rate * LOWER:.2g}"
            ) from error
        self.trainer.restore(state)
        self.trainer.rate_scale = LOWER
        if self.ranks.first:
            self._attempt(lambda: self.history.cut(self.trainer.update))
            # So that the lower rate is remembered wherever the run is stopped.
            self._attempt(lambda: self._save(over=True))
        self.notices.append(
            f"{error}; going on from update {self.trainer.update} at {LOWER} of the learning rate"
        )

    def _state_before(self) -> dict[str, torch.Tensor]:
        """The next checkpoint of the way back; empty at its end."""
        while self.way_back:
            state = read_checkpoint(self.folder / self.way_back.pop(0))
            if state is not None:
                return state
        return {}

    def _last_state(self) -> dict[str, torch.Tensor]:
        """The last whole checkpoint, or the beginning of a run that was ended before it had one.

        Raises:
            TrainingError: the run has lost its checkpoints.
        """
        if not has_checkpoint(self.folder):
            if update := self.history.last_update():
                raise TrainingError(
                    f"{self.folder} has losses up to update {update} but no {NAME} any more; put a "
                    "copy of it back, or begin again in another folder"
                )
            return self.trainer.state()
        state = read_checkpoint(self.folder / NAME)
        if state is None:
            state = load_checkpoint(self.folder)
            self.notices.append(
                f"{self.folder / NAME} is damaged or lost; going on from the one before it, of "
                f"update {int(state['update'])}"
            )
        return state

    def _failed(self, reason: str) -> TrainingError:
        """The error that ends the run; its README.md says so."""
        if self.ranks.first:
            self._attempt(lambda: self._write_notes(reason))
        return TrainingError(reason)

    def _attempt(
        self,
        write: Callable[[], object],
        otherwise: str = "training goes on, and it will be tried again",
    ) -> None:
        try:
            write()
        except (StylepackError, OSError) as error:
            self.notices.append(f"{error}; {otherwise}")
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self.notices.append(f"there was not enough memory; {otherwise}")

    def checkpoint(self) -> None:
        """Write the losses and the state of this moment, if they are not written yet.

        A state that has gone wrong is not kept: what is there to go back to stays.
        """
        if not self.ranks.first or self.saved == self.trainer.update:
            return
        self.history.flush()
        if trouble := self.trainer.trouble():
            update = self.trainer.update
            self.notices.append(f"{trouble} after update {update}; its checkpoint is left out")
            return
        self._save()
        if self.trainer.rate_scale < 1:  # the lower rate has helped: the run has had its once
            self.way_back.clear()
        self._attempt(self._write_notes)

    def _save(self, *, over: bool = False) -> None:
        save_checkpoint(self.folder, self.trainer.state(), over=over)
        self.saved = self.trainer.update

    def show(self) -> None:
        """Paint held-out photographs in every style, and draw progress and losses so far."""
        if not self.ranks.first:
            return
        self.history.flush()
        self.sheets.show(*self.trainer.averaged(), self.trainer.update)

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

    def close(self) -> None:
        """Let other processes have the folder."""
        if self._lock:
            self._lock.release()

    def _take_folder(self) -> None:
        """Keep other processes out, and remove what killed ones have left half-written.

        Raises:
            TrainingError: another process is at work in the folder.
        """
        if not self.ranks.first:
            return
        self._lock = FolderLock(self.folder)
        sheets = self.folder / "sheets"
        for place in (self.folder, self.folder / "packs", sheets, sheets / "moments"):
            remove_leftovers(place)

    def _record_start(self) -> None:
        """Write what this run is; the others wait until it stands."""
        trainer, ranks = self.trainer, self.ranks
        settings = replace(self.settings, paintings=self.fingerprints, photographs=self.photographs)
        self.settings = settings.with_start(trainer.update, str(trainer.device), ranks.world)
        with ranks.first_before_others():
            if ranks.first:
                self.settings.write(self.folder)
                self._write_notes()

    def _write_notes(self, failure: str = "") -> None:
        update = self.saved if failure else self.trainer.update
        photographs = (len(self.photos.paths), len(self.held_out.paths))
        write_notes(self.folder, self.settings, update, photographs, self.pace, failure)

    def _check_same_everywhere(self) -> None:
        """Refuse folders or options that differ between processes: they would train apart."""
        settings = self.settings
        names = [path.relative_to(settings.photos) for path in self.photos.paths]
        self.ranks.check_same((self.recipe, settings.balance), "recipe")
        self.ranks.check_same(self.fingerprints, "paintings")
        self.ranks.check_same([str(name) for name in names], "photographs")

    def _fit_batch(self) -> None:
        """Take the largest batch that every process holds its part of."""
        crop = max(self.recipe.crop, self.recipe.first_crop)
        found = find_batch(self.trainer, crop, self.launch.local_world)
        batch = self.ranks.smallest(found) * self.ranks.world
        self.settings = replace(self.settings, recipe=replace(self.recipe, batch=batch))
        self.trainer.recipe = self.recipe

    def _trainer(self, device: torch.device) -> Trainer:
        recipe = self.recipe
        trunk, packs = first_trunk(recipe, self.settings.start_from)
        trunk.config = replace(trunk.config, grain=recipe.grain)
        blank = mean_style(packs, trunk.config)
        known = {name: pack.style for name, pack in packs.items()}
        styles = torch.stack([known.get(name, blank) for name in self.names]).to(device)
        if recipe.identity:
            styles[-1] = identity_start(styles[-1], trunk.config)
        with self.ranks.first_before_others():  # the loss network is fetched once
            objective = Objective.for_paintings(recipe, self.source, self.styles, device)
        compiled = self.settings.compiled
        return Trainer(
            trunk.to(device),
            styles,
            objective,
            recipe,
            frozen=False,
            ranks=self.ranks,
            compiled=device.type == "cuda" if compiled is None else compiled,
        )


def check_unused(folder: Path) -> None:
    """Refuse a folder in which a run has begun.

    Raises:
        UsageError: there is one.
    """
    if has_checkpoint(folder) or (folder / SETTINGS).exists():
        raise UsageError(
            f"{folder} holds a run already; go on with `stylepack train --resume {folder}` or "
            "choose another folder with -o"
        )
