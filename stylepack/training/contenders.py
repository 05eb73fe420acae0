"""Which packs are compared, and which painting each of them was learned from."""

from collections.abc import Sequence
from dataclasses import dataclass

from stylepack.packs.pack import Pack
from stylepack.packs.shelf import IDENTITY
from stylepack.training.paintings import Painting


@dataclass(frozen=True)
class Contender:
    """A pack under the name it goes by, and its painting; None for the identity style."""

    name: str
    pack: Pack
    painting: Painting | None
    matched_by: str = ""  # sha256 or name


def match(
    packs: dict[str, Pack], paintings: Sequence[Painting]
) -> tuple[list[Contender], list[str]]:
    """(packs with their paintings, the identity style last; names of packs without a painting).

    A pack's painting is the file that it was learned from, by its hash, else one of its name.
    """
    by_hash = {painting.facts["sha256"]: painting for painting in paintings}
    by_name = {painting.name: painting for painting in paintings}
    contenders, unmatched = [], []
    for name, pack in packs.items():
        learned_from = pack.manifest.style_image.get("sha256")
        if name == IDENTITY:
            continue
        if learned_from in by_hash:
            contenders.append(Contender(name, pack, by_hash[learned_from], "sha256"))
        elif name in by_name:
            contenders.append(Contender(name, pack, by_name[name], "name"))
        else:
            unmatched.append(name)
    if IDENTITY in packs:
        contenders.append(Contender(IDENTITY, packs[IDENTITY], None))
    return contenders, unmatched
