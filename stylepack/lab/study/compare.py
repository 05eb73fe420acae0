"""`study compare`: a network of n styles against n networks of one (the report's figure 2).

Both sides are measured at n moments.  After moment k the n-style network has had k U updates and
each single-style network k U / n, so that every style has been painted equally often.
"""

import statistics
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from torch import Tensor

from stylepack.errors import UsageError
from stylepack.events import Event, Progress
from stylepack.files import make_folder
from stylepack.lab.study.materials import Materials, Request, choose_paintings
from stylepack.lab.study.networks import HeldOut, Measured, StudyNetwork, finished_network
from stylepack.lab.study.plans import ComparePlan
from stylepack.lab.study.study import StudyFolder
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import SUFFIX, Manifest
from stylepack.packs.pack import Pack
from stylepack.packs.trunk_file import save_trunk
from stylepack.training.dataset import FEWEST
from stylepack.training.finetune import finetune_recipe
from stylepack.training.paintings import Painting

SHARED, SINGLE, ADDED, SCRATCH = "shared", "single", "added", "scratch"


@dataclass(frozen=True)
class NetworkSpec:
    """One network of the contest: its file's name, side, seed, paintings and moments."""

    name: str
    side: str
    seed: int
    paintings: tuple[Painting, ...]
    moments: tuple[int, ...]

    @property
    def updates(self) -> int:
        """How long it is trained."""
        return self.moments[-1]


class ComparedNetworks:
    """Both sides with every seed, and one style more by gamma and beta alone."""

    def __init__(self, request: Request, plan: ComparePlan, output: Path) -> None:
        plan = replace(plan, new_style_updates=min(plan.new_style_updates, plan.updates))
        more = 1 if plan.new_style_updates else 0
        paintings = choose_paintings(request, plan.styles + more, least=2 + more)
        self.paintings = paintings[: len(paintings) - more]
        self.new = paintings[-1] if more else None
        self.plan = plan = replace(plan, styles=len(self.paintings))
        if plan.updates < plan.styles:
            raise UsageError(f"--updates is {plan.updates}; {plan.styles} styles need as many")
        self.request = request
        self.materials = Materials(request, paintings, least=FEWEST)
        self.objective = self.materials.objective(self.paintings)
        settings = request.settings({"study": "compare", **asdict(plan)}, paintings)
        self.folder = StudyFolder(output, settings | {"photos": self.materials.fingerprint})
        self.entries = [one for seed in range(plan.seeds) for one in self._entries(seed)]

    def __len__(self) -> int:
        return sum(entry.updates for entry in self.entries)

    @cached_property
    def held_out(self) -> HeldOut:
        """The photographs that no network learns on."""
        photos, side = self.materials.held_out, self.materials.recipe.crop
        return HeldOut(photos, self.plan.photographs, side, self.objective)

    def run(self) -> Generator[Event]:
        """Train what is not trained yet."""
        return self.materials.journal.around(self._steps())

    def _steps(self) -> Generator[Progress]:
        before = 0
        for entry in self.entries:
            if self._finished(entry) is None:
                pupil = self._pupil(entry)
                for step in pupil.train(self.held_out):
                    style = statistics.fmean(step.style)
                    words = f"{entry.name}: style loss {style:#.3g}"
                    yield Progress(before + step.update, words)
                self._save(entry, *pupil.trainer.averaged())
            else:
                yield Progress(before + entry.updates, f"{entry.name}: done before")
            before += entry.updates

    def _finished(self, entry: NetworkSpec) -> Measured | None:
        """The losses of a network that is done; its trunk and all its packs are there."""
        found = finished_network(self.folder, entry.name, len(entry.paintings), entry.moments)
        return found if all(path.is_file() for path in self.files(entry)) else None

    def measured(self, entry: NetworkSpec) -> Measured:
        """What a finished network was measured at: update -> one `Losses` a style."""
        found = self._finished(entry)
        assert found is not None
        return found

    def of_side(self, side: str, seed: int | None = None) -> list[NetworkSpec]:
        """The networks of one side, in order of seeds and styles."""
        return [e for e in self.entries if e.side == side and seed in (None, e.seed)]

    def files(self, entry: NetworkSpec) -> list[Path]:
        """The trunk and the packs that a network is, as they would be shipped."""
        place = self.folder.path / "networks" / entry.name
        packs = [place / "packs" / f"{painting.name}{SUFFIX}" for painting in entry.paintings]
        return [place / f"trunk{SUFFIX}", *packs]

    def _entries(self, seed: int) -> Generator[NetworkSpec]:
        n, updates = self.plan.styles, self.plan.updates
        few = range(1, 2) if self.request.published else range(1, n + 1)
        shared = tuple(k * updates for k in few)
        yield NetworkSpec(f"{SHARED}-{seed}", SHARED, seed, tuple(self.paintings), shared)
        alone = (updates,) if self.request.published else parts_of(updates, n)
        for painting in self.paintings:
            yield NetworkSpec(f"{SINGLE}-{painting.name}-{seed}", SINGLE, seed, (painting,), alone)
        if self.new:
            moments = spread(self.plan.new_style_updates, self.plan.new_style_moments)
            yield NetworkSpec(f"{ADDED}-{seed}", ADDED, seed, (self.new,), moments)
            moments = tuple(sorted({*moments, *spread(updates, self.plan.new_style_moments)}))
            yield NetworkSpec(f"{SCRATCH}-{seed}", SCRATCH, seed, (self.new,), moments)

    def _pupil(self, entry: NetworkSpec) -> StudyNetwork:
        recipe = replace(self.materials.recipe, updates=entry.updates, seed=entry.seed)
        start = None
        if entry.side == ADDED:
            recipe = replace(
                finetune_recipe(recipe, entry.updates), crop=recipe.crop, decay=recipe.decay
            )
            start = self._shared_start(entry.seed)
        shared = entry.side == SHARED
        objective = self.objective if shared else self.materials.objective(entry.paintings)
        names = [painting.name for painting in entry.paintings]
        photos, moments = self.materials.photos, entry.moments
        return StudyNetwork(
            entry.name,
            self.folder,
            recipe,
            names,
            objective,
            photos,
            moments,
            block_norms=self.plan.block_norms,
            start=start,
        )

    def _shared_start(self, seed: int) -> tuple[Trunk, Tensor]:
        """The trained n-style network and the mean of its styles, for one style more."""
        (shared,) = self.of_side(SHARED, seed)
        trunk, styles = self._pupil(shared).finished()
        return trunk, styles.mean(0, keepdim=True)

    def _save(self, entry: NetworkSpec, trunk: Trunk, styles: Tensor) -> None:
        """Write a network as its trunk file and its packs."""
        target, *packs = self.files(entry)
        make_folder(target.parent / "packs", "choose another folder with -o")
        digest = save_trunk(target, trunk, {})
        for painting, path, style in zip(entry.paintings, packs, styles, strict=True):
            manifest = Manifest(name=painting.name, trunk_sha256=digest, title=painting.name)
            Pack(manifest, style.cpu()).save(path, trunk.config)


def parts_of(updates: int, count: int) -> tuple[int, ...]:
    """`updates` in `count` equal parts: (updates / count, 2 updates / count, ..., updates)."""
    return tuple(round(updates * k / count) for k in range(1, count + 1))


def spread(updates: int, count: int) -> tuple[int, ...]:
    """0 and about `count` moments up to `updates`, each a constant factor after the last."""
    steps = (updates ** (k / count) for k in range(1, count + 1))
    return (0, *dict.fromkeys(round(step) for step in steps))
