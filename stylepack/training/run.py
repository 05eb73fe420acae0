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
from dataclasses import replace
from pathlib import Path

import torch

from stylepack.errors import StylepackError, TrainingError, UsageError
from stylepack.events import Event
from stylepack.files import FolderLock, fingerprint, make_folder, remove_leftovers
from stylepack.launchers import Launch
from stylepack.losses.weights import WeightSource
from stylepack.memory import available_memory, processors
from stylepack.packs.manifest import IDENTITY
from stylepack.recipe import Recipe
from stylepack.training.batch_size import find_batch
from stylepack.training.checkpoint import has_checkpoint, save_checkpoint
from stylepack.training.dataset import Batches, Decoder, PhotoFolder
from stylepack.training.distributed import ALONE, Ranks
from stylepack.training.export import provenance, write_packs, write_trunk
from stylepack.training.held_out import Evaluation
from stylepack.training.initial import first_trunk, identity_start, mean_style
from stylepack.training.paintings import Painting, balanced, objective_for, read_paintings
from stylepack.training.recovery import Recovery
from stylepack.training.reports.readme import Throughput, write_readme
from stylepack.training.reports.reporters import Reporters, attempt
from stylepack.training.settings import SETTINGS, RunSettings
from stylepack.training.trainer import DivergedError, Step, Trainer

CACHE_SHARE = 0.25  # of the memory that is free, for photographs that are decoded already


class Run:
    """A training in its folder.

    Follow `train()` to its end, then `export()`, and `close()` it: until then no other process can
    train in the folder.  Of several `ranks` all train, and the first alone writes and exports.
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
        self.journal = everything.journal
        if not ranks.first:
            list(self.journal.fresh())  # the first process reports what all of them skip
        self._check_same_everywhere()
        self.trainer = self._trainer(device)
        room = int(CACHE_SHARE * available_memory() / self.launch.local_world)
        self.decoder = Decoder(self.recipe.photo_side, room)
        self.recovery = Recovery(folder, self.trainer)
        self.reporters = Reporters(
            folder, self.names, self.held_out, self.journal, active=ranks.first
        )
        self.throughput = Throughput()
        self.saved = -1  # the update of the last checkpoint
        self.stopping = 0  # the largest wish of all processes to stop
        self._lock: FolderLock | None = None

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
            run.journal.note(
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
    def fingerprints(self) -> dict[str, str]:
        """Every painting's name and the SHA-256 of its file."""
        return {p.name: p.facts["sha256"] for p in self.styles if p is not None}

    @property
    def names(self) -> list[str]:
        """The styles' names in the order of the style matrix."""
        return [painting.name if painting else IDENTITY for painting in self.styles]

    def train(self, stop: Callable[[], int] = int) -> Generator[Event]:
        """Report each update; checkpoints, sheets and the loss history are written on the way.

        A run that diverges goes back to its last checkpoint once, with a lower learning rate, and
        to the one before if that was in vain.  A checkpoint that cannot be written, to a full disk
        say, is a notice and is tried again later; training goes on, and its end is an end without
        the last one too.

        Args:
            stop: asked after every report; above 0, in any process, saves a checkpoint and ends.
                `stopping` then is the largest answer.  Closing the generator does the same.

        Raises:
            TrainingError: the run diverged again, or before it had learned anything.
            StylepackError: the first checkpoint cannot be written, or that of a stop.
        """
        return self.journal.around(self._train(stop))

    def _train(self, stop: Callable[[], int]) -> Generator[Step]:
        self.recovery.begin()
        with self.reporters.open(self.trainer.update):
            if self.ranks.first and has_checkpoint(self.folder):
                self.saved = self.trainer.update
            else:
                self.checkpoint()  # for a run that diverges early to go back to
            while True:
                try:
                    yield from self._updates(stop)
                    if self.stopping and self.trainer.update < self.recipe.updates:
                        self.checkpoint()
                        return
                    self.recovery.judge()
                    self.reporters.on_end(self.trainer)
                    break
                except DivergedError as error:
                    self._go_back(error)
        without = "the trunk and its packs are written without it"
        attempt(self.checkpoint, self.journal, without)

    def _updates(self, stop: Callable[[], int]) -> Generator[Step]:
        trainer, settings = self.trainer, self.settings
        every, sheets = settings.checkpoint_every, settings.sheet_every
        batches = self._batches()
        before, start = trainer.update, time.perf_counter()
        try:
            for steps in trainer.groups(batches):
                now, waited = time.perf_counter(), batches.waited
                self.throughput.add(len(steps), now - start, waited)
                start, batches.waited = now, 0.0
                self.reporters.on_steps(steps)
                self.stopping = self.ranks.largest(stop())
                if trainer.update // every > before // every:
                    attempt(self.checkpoint, self.journal)
                # A card does not wait for a sheet to be drawn: the next one shows as much.
                busy = trainer.group > 1 and self.reporters.sheets.drawing
                if trainer.update // sheets > before // sheets and not busy:
                    attempt(lambda: self.reporters.show(trainer), self.journal)
                before = trainer.update
                yield from steps
                if self.stopping:
                    return
        except GeneratorExit:
            self.checkpoint()
            raise
        except DivergedError:
            raise
        except StylepackError:  # such as that there are no photographs any more
            lost = "what it had learned since the last checkpoint is lost"
            attempt(self.checkpoint, self.journal, lost)
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

    def _go_back(self, error: DivergedError) -> None:
        """Go on from a checkpoint with a lower learning rate.

        Raises:
            TrainingError: that is no use; README.md has the reason.
        """
        first = self.ranks.first
        try:
            notice = self.recovery.go_back(error)
        except TrainingError as failure:
            if first:
                reason = str(failure)
                attempt(lambda: self._write_notes(reason), self.journal)
            raise
        self.reporters.on_return(self.trainer.update)
        if first:  # so that the lower rate is remembered wherever the run is stopped
            attempt(lambda: self._save(over=True), self.journal)
        self.journal.note(notice)

    def _last_state(self) -> dict[str, torch.Tensor]:
        return self.recovery.last_state(self.reporters.history.last_update(), self.journal)

    def checkpoint(self) -> None:
        """Write the losses and the state of this moment, if they are not written yet.

        A state that has gone wrong is not kept: what is there to go back to stays.
        """
        if not self.ranks.first or self.saved == self.trainer.update:
            return
        self.reporters.on_save()
        if trouble := self.trainer.trouble():
            update = self.trainer.update
            self.journal.note(f"{trouble} after update {update}; its checkpoint is left out")
            return
        self._save()
        self.recovery.saved()
        attempt(self._write_notes, self.journal)

    def _save(self, *, over: bool = False) -> None:
        save_checkpoint(self.folder, self.trainer.state(), over=over)
        self.saved = self.trainer.update

    def export(self, stop: Callable[[], int] = int) -> Generator[Event]:
        """Write the trunk, measure its styles on the held-out photographs, and write their packs.

        Args:
            stop: asked after every photograph; above 0 ends it before a pack is written.
        """
        trunk, styles = self.trainer.averaged()
        rounded, digest = write_trunk(self.folder, trunk, self.settings.author)
        rounded.to(styles.device)
        evaluation = Evaluation(rounded, styles, self.trainer.objective, self.held_out)
        for event in evaluation.measure():
            yield event
            if stop():
                return
        facts = provenance(
            self.recipe,
            self.source,
            updates=self.trainer.update,
            styles=len(self.names),
            photographs=len(self.photos.paths),
        )
        author, license = self.settings.author, self.settings.license
        yield from write_packs(
            self.folder, evaluation, self.styles, digest, facts, author=author, license=license
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
        write_readme(self.folder, self.settings, update, photographs, self.throughput, failure)

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
            objective = objective_for(recipe, self.source, self.styles, device)
        compiled = self.settings.compiled
        return Trainer(
            trunk.to(device),
            styles,
            objective,
            recipe,
            frozen=False,
            ranks=self.ranks,
            compiled=device.type == "cuda" if compiled is None else compiled,
            journal=self.journal,
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
