"""The packs that the page offers: those of one trunk, by the references that `apply` takes."""

import threading
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from stylepack.errors import StylepackError, UsageError
from stylepack.library.resolve import FoundPack, packs_on, resolve
from stylepack.packs.manifest import IDENTITY
from stylepack.packs.mix import Mix
from stylepack.packs.pack import Pack, check_trunk, parse_pack
from stylepack.painting.gallery import Label
from stylepack.painting.stylizer import Stylizer
from stylepack.studio.look import Look


@dataclass(frozen=True)
class Engine:
    """Painting options of the command, as typed."""

    trunk: str | None = None
    device: str = "auto"
    precision: str = "auto"

    @property
    def words(self) -> list[str]:
        """The options that differ from the defaults, for `stylepack apply`."""
        words = [] if self.trunk is None else ["--trunk", self.trunk]
        if self.device != "auto":
            words += ["--device", self.device]
        return words + (["--precision", self.precision] if self.precision != "auto" else [])


class Catalog:
    """A trunk, loaded once, and all packs of it that can be found.

    `packs` are by reference, the identity pack too if there is one; `labels` are what the page
    offers.

    Raises:
        StylepackError: the trunk is missing or damaged, or no pack belongs to it.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        try:
            selection = resolve((), engine.trunk, identity=True)
            self.loaded = selection.load()
        except UsageError:  # a trunk without an identity pack paints at full strength only
            selection = resolve((), engine.trunk)
            self.loaded = replace(selection.load(), packs={})
        self.place: Path = selection.trunk
        self.has_strength = IDENTITY in self.loaded.packs
        self.labels: dict[str, Label] = {}
        self._lock = threading.Lock()
        self.refresh()
        if not self.labels:
            raise UsageError(
                f"no installed pack belongs to trunk {self.loaded.sha256[:12]}; see "
                "`stylepack packs list`"
            )

    def refresh(self) -> None:
        """Reload the packs that fit the trunk."""
        packs = {IDENTITY: self.loaded.packs[IDENTITY]} if self.has_strength else {}
        labels = {}
        for reference, path in packs_on(self.place):
            if reference in labels:
                continue
            try:
                found = FoundPack.read(path)
                check_trunk(found.manifest, self.loaded.sha256, f"'{reference}'")
                pack = parse_pack(found.content, self.loaded.trunk.config, path)
            except StylepackError:
                continue
            if reference != IDENTITY:
                packs[reference] = pack
                labels[reference] = Label.of(reference, pack.manifest)
        with self._lock:
            self.loaded, self.labels = replace(self.loaded, packs=packs), labels

    @property
    def packs(self) -> dict[str, Pack]:
        """Packs by reference."""
        return self.loaded.packs

    def parsed(self, data: object, masks: Collection[str]) -> Look:
        """A look that a page has sent, checked.

        Raises:
            UsageError: as `Look.parsed`, or a strength that this trunk does not have.
        """
        look = Look.parsed(data, self.labels, masks)
        if look.strength != 1 and not self.has_strength:
            raise UsageError("this trunk has no identity pack, which strengths other than 1 need")
        return look

    def stylizer(self, look: Look) -> Stylizer:
        """The stylizer of a look; errors as in `Stylizer.on`."""
        return self._stylizer(look.mixes, look.strength)

    def one(self, reference: str) -> Stylizer:
        """The stylizer of one pack at full strength."""
        return self._stylizer([Mix(((reference, 1.0),))], 1.0)

    def _stylizer(self, mixes: list[Mix], strength: float) -> Stylizer:
        wanted = {one for mix in mixes for one in mix.references}
        if unknown := wanted - self.packs.keys():
            raise UsageError(f"the pack '{min(unknown)}' is not there any more; reload the page")
        return Stylizer.on(
            self.loaded,
            mixes,
            strength=strength,
            device=self.engine.device,
            precision=self.engine.precision,
        )
