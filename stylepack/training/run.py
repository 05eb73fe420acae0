"""A training run in a folder.

README.md                 description and progress
run.json                  settings: paintings, photographs, recipe, starts, versions
recipe.toml               the recipe, for `--recipe`
losses.csv, losses.png    one row per image, and the curves
progress.png              one photograph in every style over time
checkpoint.safetensors    the last state; checkpoint.previous.safetensors the one before
sheets/                   held-out photographs in every style over time
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

CACHE_SHARE = 0.25  # of free memory, for decoded photographs


class Run:
    """A training run in its folder: iterate `train()` to its end, then `export()`, then `close()`.

    Until it is closed, no other process can train in the folder.  All `ranks` train; only the first
    writes and exports.
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
        cache = int(CACHE_SHARE * available_memory() / self.launch.local_world)
        self.decoder = Decoder(self.recipe.photo_side, cache)
        self.recovery = Recovery(folder, self.trainer)
        self.reporters = Reporters(
            folder, self.names, self.held_out, self.journal, active=ranks.first
        )
        self.throughput = Throughput()
        self.saved = -1  # the update of the last checkpoint
        self.stopping = 0  # the largest answer of all processes' `stop`
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
        """A new run in `folder`, which is created if necessary.

        `fit_batch` replaces the recipe's batch with the largest that fits into memory.

        Raises:
            UsageError: `folder` already has a run.
            TrainingError: another process is working there.
            StylepackError: it cannot be created.
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
            check_unused(folder)  # another process may have trained there in the meantime
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
        """Resume from the last complete checkpoint of `folder`.

        Raises:
            UsageError: it has more updates than the recipe.
            TrainingError: other paintings, no checkpoint, or another process is working there.
        """
        run = cls(folder, settings, device, ranks, launch)
        run._take_folder()
        if [*settings.paintings.items()] != [*run.fingerprints.items()]:
            raise TrainingError(
                f"the paintings in {settings.styles} are not those that {folder} was started with"
            )
        if ranks.first and settings.photographs != run.photographs:
            run.journal.note(
                f"{settings.photos} does not have the photographs that {folder} was trained on; "
                "training continues with these, so its weights will differ"
            )
        run.trainer.restore(ranks.from_first(run._last_state))
        update, updates = run.trainer.update, settings.recipe.updates
        if update > updates:
            raise UsageError(
                f"{folder} is already at update {update}; --updates is {updates} and must be at "
                f"least {update}"
            )
        run._record_start()
        return run

    @property
    def recipe(self) -> Recipe:
        """The recipe in its settings."""
        return self.settings.recipe

    @property
    def fingerprints(self) -> dict[str, str]:
        """Name -> SHA-256 of every painting's file."""
        return {p.name: p.facts["sha256"] for p in self.styles if p is not None}

    @property
    def names(self) -> list[str]:
        """Names of the styles, in the order of the style matrix."""
        return [painting.name if painting else IDENTITY for painting in self.styles]

    def train(self, stop: Callable[[], int] = int) -> Generator[Event]:
        """Yield each update, writing checkpoints, sheets and losses.

        A run that diverges returns once to its last checkpoint at a lower learning rate, and to the
        one before if that fails too.  If a checkpoint cannot be written, for example to a full
        disk, the run yields a notice, continues, and tries again later.

        Args:
            stop: called after every group of updates; above 0, in any process, saves a checkpoint
                and ends, and `stopping` is the largest answer.  Closing the generator also saves.

        Raises:
            TrainingError: the run diverged again, or before the first update.
            StylepackError: the first checkpoint, or that of a stop, cannot be written.
        """
        return self.journal.around(self._train(stop))

    def _train(self, stop: Callable[[], int]) -> Generator[Step]:
        self.recovery.begin()
        with self.reporters.open(self.trainer.update):
            if self.ranks.first and has_checkpoint(self.folder):
                self.saved = self.trainer.update
            else:
                self.checkpoint()  # for a run that diverges early
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
                # A GPU does not wait for a sheet that is still being drawn.
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
        except StylepackError:  # for example, no photograph can be read any more
            attempt(self.checkpoint, self.journal, "updates since the last checkpoint are lost")
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
        """Return to a checkpoint at a lower learning rate.

        Raises:
            TrainingError: that cannot help; the reason is written to README.md.
        """
        first = self.ranks.first
        try:
            notice = self.recovery.go_back(error)
        except TrainingError as failure:
            if first:
                reason = str(failure)
                attempt(lambda: self._write_readme(reason), self.journal)
            raise
        self.reporters.on_return(self.trainer.update)
        if first:  # so that a resumed run continues at the lower rate
            attempt(lambda: self._save(over=True), self.journal)
        self.journal.note(notice)

    def _last_state(self) -> dict[str, torch.Tensor]:
        return self.recovery.last_state(self.reporters.history.last_update(), self.journal)

    def checkpoint(self) -> None:
        """Write the losses and the current state, unless it is saved or has diverged."""
        if not self.ranks.first or self.saved == self.trainer.update:
            return
        self.reporters.on_save()
        if trouble := self.trainer.trouble():
            update = self.trainer.update
            self.journal.note(f"{trouble} after update {update}; no checkpoint is saved")
            return
        self._save()
        self.recovery.saved()
        attempt(self._write_readme, self.journal)

    def _save(self, *, over: bool = False) -> None:
        save_checkpoint(self.folder, self.trainer.state(), over=over)
        self.saved = self.trainer.update

    def export(self, stop: Callable[[], int] = int) -> Generator[Event]:
        """Write the trunk, measure its styles on held-out photographs, and write their packs.

        `stop`: called after every photograph; above 0 ends it before a pack is written.
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
        """Unlock the folder."""
        if self._lock:
            self._lock.release()

    def _take_folder(self) -> None:
        """Lock the folder, and remove leftovers of killed processes.

        Raises:
            TrainingError: another process is working in the folder.
        """
        if not self.ranks.first:
            return
        self._lock = FolderLock(self.folder)
        for folder in (".", "packs", "sheets", "sheets/moments"):
            remove_leftovers(self.folder / folder)

    def _record_start(self) -> None:
        """Write run.json and README.md before the other processes continue."""
        trainer, ranks = self.trainer, self.ranks
        settings = replace(self.settings, paintings=self.fingerprints, photographs=self.photographs)
        self.settings = settings.with_start(trainer.update, str(trainer.device), ranks.world)
        with ranks.first_before_others():
            if ranks.first:
                self.settings.write(self.folder)
                self._write_readme()

    def _write_readme(self, failure: str = "") -> None:
        update = self.saved if failure else self.trainer.update
        photographs = (len(self.photos.paths), len(self.held_out.paths))
        write_readme(self.folder, self.settings, update, photographs, self.throughput, failure)

    def _check_same_everywhere(self) -> None:
        """Refuse folders or options that differ between processes."""
        settings = self.settings
        names = [path.relative_to(settings.photos) for path in self.photos.paths]
        self.ranks.check_same((self.recipe, settings.balance), "recipe")
        self.ranks.check_same(self.fingerprints, "paintings")
        self.ranks.check_same([str(name) for name in names], "photographs")

    def _fit_batch(self) -> None:
        """Use the largest batch whose parts fit into the memory of every process."""
        crop = max(self.recipe.crop, self.recipe.first_crop)
        part = find_batch(self.trainer, crop, self.launch.local_world)
        batch = self.ranks.smallest(part) * self.ranks.world
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
        with self.ranks.first_before_others():  # the loss network is downloaded once
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
    """Refuse a folder that already has a run.

    Raises:
        UsageError: it has one.
    """
    if has_checkpoint(folder) or (folder / SETTINGS).exists():
        raise UsageError(
            f"{folder} already has a run; resume it with `stylepack train --resume {folder}` or "
            "choose another folder with -o"
        )
