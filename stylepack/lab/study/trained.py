"""Base of the studies that train networks: `study losses` and `study compare`."""

import statistics
from collections.abc import Generator, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path

from torch import Tensor

from stylepack.events import Event, Progress
from stylepack.lab.study.materials import Materials, Request
from stylepack.lab.study.networks import (
    HeldOut,
    Measured,
    NetworkSpec,
    StudyNetwork,
    finished_network,
)
from stylepack.lab.study.plans import ComparePlan, LossesPlan
from stylepack.lab.study.study import StudyFolder
from stylepack.network.trunk import Trunk
from stylepack.training.dataset import FEWEST
from stylepack.training.paintings import Painting


class TrainedStudy:
    """Networks that are trained and measured on the same held-out photographs.

    `every` are all paintings, `paintings` those of the n-style network.
    """

    specs: Sequence[NetworkSpec] = ()

    def __init__(
        self,
        name: str,
        request: Request,
        plan: LossesPlan | ComparePlan,
        output: Path,
        paintings: list[Painting],
        every: list[Painting],
    ) -> None:
        self.request, self.plan, self.paintings = request, plan, paintings
        self.names = [painting.name for painting in paintings]
        self.materials = Materials(request, every, least=FEWEST)
        self.objective = self.materials.objective(paintings)
        settings = request.settings({"study": name, **asdict(plan)}, every)
        self.folder = StudyFolder(output, settings | {"photos": self.materials.fingerprint})

    def __len__(self) -> int:
        return sum(spec.updates for spec in self.specs)

    @cached_property
    def held_out(self) -> HeldOut:
        """The photographs that no network is trained on."""
        photos, side = self.materials.held_out, self.materials.recipe.crop
        return HeldOut(photos, self.plan.photographs, side, self.objective)

    def run(self) -> Generator[Event]:
        """Train the networks that are not finished."""
        return self.materials.journal.around(self._steps())

    def _steps(self) -> Generator[Progress]:
        before = 0
        for spec in self.specs:
            if self._finished(spec) is None:
                network = self.network(spec)
                for step in network.train(self.held_out):
                    words = f"{spec.name}: style loss {statistics.fmean(step.style):#.3g}"
                    yield Progress(before + step.update, words)
                self._save(spec, *network.trainer.averaged())
            else:
                yield Progress(before + spec.updates, f"{spec.name}: done before")
            before += spec.updates

    def network(self, spec: NetworkSpec, start: tuple[Trunk, Tensor] | None = None) -> StudyNetwork:
        """A network to train: from random weights, or styles alone from `start`."""
        shared = list(spec.paintings) == self.paintings
        objective = self.objective if shared else self.materials.objective(spec.paintings)
        photos, norms = self.materials.photos, self.plan.block_norms
        return StudyNetwork(spec, self.folder, objective, photos, block_norms=norms, start=start)

    def measured(self, spec: NetworkSpec) -> Measured:
        """The losses of a finished network."""
        measured = self._finished(spec)
        assert measured is not None
        return measured

    def _finished(self, spec: NetworkSpec) -> Measured | None:
        return finished_network(self.folder, spec)

    def _save(self, spec: NetworkSpec, trunk: Trunk, styles: Tensor) -> None:
        """Write files of a finished network; nothing by default."""
