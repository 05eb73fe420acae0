"""A look: mix, regions and options as the page sends them, checked, and as a command."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from stylepack.errors import UsageError
from stylepack.packs.header import shown
from stylepack.packs.mix import Mix
from stylepack.painting.strength import STRENGTHS
from stylepack.painting.stylizer import FULL, SMALLEST_SIZE

MOST_PARTS = 64  # packs of a mix
MOST_REGIONS = 16
MOST_SIZE = 20_000  # pixels of a long side
PERCENT = 100  # weights and strengths come in hundredths


@dataclass(frozen=True)
class Region:
    """A mix, and the mask where it applies, by its id."""

    mask: str
    mix: Mix


@dataclass(frozen=True)
class Look:
    """Everything that determines a painting of a photograph; `mix` has the weights as typed."""

    mix: Mix
    regions: tuple[Region, ...] = ()
    mask: str = ""
    strength: float = 1.0
    size: int | Literal["full"] | None = None
    keep_colors: bool = False

    @classmethod
    def parsed(cls, data: object, packs: Collection[str], masks: Collection[str]) -> "Look":
        """Check what a page has sent.

        Args:
            data: parsed JSON.
            packs: references that may be used.
            masks: ids of the known masks.

        Raises:
            UsageError: invalid data, or an unknown pack or mask.
        """
        fields = _fields(data)
        mask = fields.get("mask") or ""
        regions = fields.get("regions") or []
        if not isinstance(regions, list) or len(regions) > MOST_REGIONS:
            raise UsageError(f"regions are a list of at most {MOST_REGIONS}")
        looked = cls(
            _mix(fields.get("mix"), packs),
            tuple(_region(one, packs, masks) for one in regions),
            _known_mask(mask, masks) if mask else "",
            _hundredths(fields.get("strength", PERCENT), "strength", STRENGTHS[1]),
            _size(fields.get("size")),
            fields.get("keepColors") is True,
        )
        for one in looked.mixes:
            one.normalised()
        return looked

    @property
    def mixes(self) -> list[Mix]:
        """Normalised mixes; the first is the one outside all regions."""
        return [self.mix.normalised(), *(region.mix.normalised() for region in self.regions)]

    def command(self, photo: str, masks: Mapping[str, str], others: Sequence[str]) -> list[str]:
        """The words of the `stylepack apply` command that paints the same.

        Args:
            photo: the photograph's file.
            masks: files of masks, by their ids.
            others: more options.
        """
        words = ["stylepack", "apply", _as_file(photo), *_mix_words(self.mix)]
        if self.strength != 1:
            words += ["--strength", f"{self.strength:g}"]
        if self.size is not None:
            words += ["--size", str(self.size)]
        if self.keep_colors:
            words.append("--keep-colors")
        if self.mask:
            words += ["--mask", masks[self.mask]]
        for region in self.regions:
            words += ["--region", f"{masks[region.mask]}={region.mix}"]
        return [*words, *others]


def _mix_words(mix: Mix) -> list[str]:
    if len(mix.parts) == 1:
        return ["--style", mix.references[0]]
    return ["--mix", str(mix)]


def _as_file(path: str) -> str:
    """A path that cannot be mistaken for an option or for standard input."""
    return f"./{path}" if path.startswith("-") else path


def _fields(data: object) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise UsageError("a look is an object with a mix")
    return data


def _mix(data: object, packs: Collection[str]) -> Mix:
    """A list of [reference, hundredths] pairs; those of weight 0 are left out."""
    if not isinstance(data, list) or len(data) > MOST_PARTS:
        raise UsageError(f"a mix is a list of at most {MOST_PARTS} packs with weights")
    parts: dict[str, float] = {}
    for part in data:
        if not (isinstance(part, list) and len(part) == 2 and isinstance(part[0], str)):
            raise UsageError("a part of a mix is a pack and its weight")
        reference, weight = part
        if reference not in packs:
            raise UsageError(f"no pack '{shown(reference)}' here; reload the page")
        if weight := _hundredths(weight, "a weight", 1):
            parts[reference] = weight
    if not parts:
        raise UsageError("the mix is empty; add a style, or move a slider up from 0")
    return Mix(tuple(parts.items()))


def _region(data: object, packs: Collection[str], masks: Collection[str]) -> Region:
    fields = _fields(data)
    return Region(_known_mask(fields.get("mask"), masks), _mix(fields.get("mix"), packs))


def _known_mask(mask: object, masks: Collection[str]) -> str:
    if not isinstance(mask, str) or mask not in masks:
        raise UsageError("that mask is not here any more; paint it again")
    return mask


def _hundredths(value: object, what: str, most: float) -> float:
    """A whole number of hundredths as a share, so that it equals the number in the command."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most * PERCENT:
        raise UsageError(f"{what} is {value!r:.40}; it must be from 0 to {most:g}, in hundredths")
    return value / PERCENT


def _size(value: object) -> int | Literal["full"] | None:
    if value is None or value == "":
        return None
    if value == FULL:
        return FULL
    if isinstance(value, int) and SMALLEST_SIZE <= value <= MOST_SIZE:
        return value
    raise UsageError(
        f"the stroke size is {value!r:.40}; it must be from {SMALLEST_SIZE} to {MOST_SIZE}, or full"
    )
