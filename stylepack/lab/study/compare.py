"""`study compare`: a network of n styles against n networks of one (the report's figure 2).

Both sides are measured n times.  At readout k the n-style network has had k U updates and each
single-style network k U / n, so that every style has been painted equally often.
"""

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from stylepack.errors import UsageError
from stylepack.files import make_folder
from stylepack.lab.study.materials import Request, choose_paintings
from stylepack.lab.study.networks import Measured, NetworkSpec, StudyNetwork
from stylepack.lab.study.plans import ComparePlan
from stylepack.lab.study.trained import TrainedStudy
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import SUFFIX, Manifest
from stylepack.packs.pack import Pack
from stylepack.packs.trunk_file import save_trunk
from stylepack.recipe import Recipe
from stylepack.training.finetune import finetune_recipe

SHARED, SINGLE, ADDED, SCRATCH = "shared", "single", "added", "scratch"


class ComparedNetworks(TrainedStudy):
    """Both sides with every seed, and one more style by gamma and beta alone."""

    plan: ComparePlan

    def __init__(self, request: Request, plan: ComparePlan, output: Path) -> None:
        plan = replace(plan, new_style_updates=min(plan.new_style_updates, plan.updates))
        more = 1 if plan.new_style_updates else 0
        every = choose_paintings(request, plan.styles + more, least=2 + more)
        paintings = every[: len(every) - more]
        self.new = every[-1] if more else None
        plan = replace(plan, styles=len(paintings))
        if plan.updates < plan.styles:
            raise UsageError(
                f"--updates is {plan.updates}; {plan.styles} styles need at least {plan.styles}"
            )
        super().__init__("compare", request, plan, output, paintings, every)
        self.specs = [spec for seed in range(plan.seeds) for spec in self._specs(seed)]

    def of_side(self, side: str, seed: int | None = None) -> list[NetworkSpec]:
        """The networks of one side, in order of seeds and styles."""
        return [spec for spec in self.specs if spec.side == side and seed in (None, spec.seed)]

    def files(self, spec: NetworkSpec) -> list[Path]:
        """The trunk file and the packs of a network."""
        folder = self.folder.path / "networks" / spec.name
        packs = [folder / "packs" / f"{name}{SUFFIX}" for name in spec.styles]
        return [folder / f"trunk{SUFFIX}", *packs]

    def network(self, spec: NetworkSpec, start: tuple[Trunk, Tensor] | None = None) -> StudyNetwork:
        """A network to train, on the trained n-style trunk if it is `ADDED`."""
        if spec.side == ADDED and start is None:
            (shared,) = self.of_side(SHARED, spec.seed)
            trunk, styles = self.network(shared).finished()
            start = trunk, styles.mean(0, keepdim=True)
        return super().network(spec, start)

    def _finished(self, spec: NetworkSpec) -> Measured | None:
        measured = super()._finished(spec)
        return measured if all(path.is_file() for path in self.files(spec)) else None

    def _specs(self, seed: int) -> Generator[NetworkSpec]:
        n, updates = self.plan.styles, self.plan.updates
        few = range(1, 2) if self.request.published else range(1, n + 1)

        def recipe(updates: int) -> Recipe:
            return replace(self.materials.recipe, updates=updates, seed=seed)

        shared = tuple(k * updates for k in few)
        all_paintings = tuple(self.paintings)
        name = f"{SHARED}-{seed}"
        yield NetworkSpec(name, recipe(shared[-1]), all_paintings, shared, SHARED, seed)
        alone = (updates,) if self.request.published else parts_of(updates, n)
        for painting in self.paintings:
            name = f"{SINGLE}-{painting.name}-{seed}"
            yield NetworkSpec(name, recipe(updates), (painting,), alone, SINGLE, seed)
        if self.new:
            readouts = spread(self.plan.new_style_updates, self.plan.new_style_readouts)
            few_updates, base = readouts[-1], recipe(readouts[-1])
            tuned = finetune_recipe(base, few_updates)
            tuned = replace(tuned, crop=base.crop, decay=base.decay)
            yield NetworkSpec(f"{ADDED}-{seed}", tuned, (self.new,), readouts, ADDED, seed)
            readouts = tuple(sorted({*readouts, *spread(updates, self.plan.new_style_readouts)}))
            whole = recipe(readouts[-1])
            yield NetworkSpec(f"{SCRATCH}-{seed}", whole, (self.new,), readouts, SCRATCH, seed)

    def _save(self, spec: NetworkSpec, trunk: Trunk, styles: Tensor) -> None:
        """Write a network as its trunk file and its packs."""
        target, *packs = self.files(spec)
        make_folder(target.parent / "packs", "choose another folder with -o")
        digest = save_trunk(target, trunk, {})
        for name, path, style in zip(spec.styles, packs, styles, strict=True):
            manifest = Manifest(name=name, trunk_sha256=digest, title=name)
            Pack(manifest, style.cpu()).save(path, trunk.config)


def parts_of(updates: int, count: int) -> tuple[int, ...]:
    """`updates` in `count` equal parts: (updates / count, 2 updates / count, ..., updates)."""
    return tuple(round(updates * k / count) for k in range(1, count + 1))


def spread(updates: int, count: int) -> tuple[int, ...]:
    """0 and about `count` readouts up to `updates`, each a constant factor after the last."""
    steps = (updates ** (k / count) for k in range(1, count + 1))
    return (0, *dict.fromkeys(round(step) for step in steps))
