"""`packs diff`: distances of two packs norm by norm, and differences of their metadata."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from stylepack.errors import PackError
from stylepack.network.trunk import TrunkConfig
from stylepack.packs.header import parse_content, read_content
from stylepack.packs.manifest import LARGEST_PACK, in_words
from stylepack.packs.pack import Pack, fitting_config, parse_pack

NOT_COMPARED = ("sha256", "thumbnail")
WHOLE = "all"


@dataclass(frozen=True)
class Difference:
    """Differences of two packs at one norm, or in all.

    `gamma`, `beta`: relative distances |a - b| / sqrt(|a| |b|), 0 if equal, NaN if only one is
    zero.  `cosine`: of (gamma - 1, beta), the directions away from the neutral style; 1 for the
    same style at another strength, about 0 for unrelated styles, NaN if one is neutral.
    """

    norm: str
    gamma: float
    beta: float
    cosine: float


def load_pair(a: Path, b: Path) -> tuple[Pack, Pack, TrunkConfig]:
    """Two packs of any trunk, and the trunk's sizes.

    Raises:
        PackError: one of them is damaged, or they have different norms.
    """
    contents = [read_content(path, LARGEST_PACK) for path in (a, b)]
    configs = [
        fitting_config(parse_content(content, path))
        for content, path in zip(contents, (a, b), strict=True)
    ]
    packs = [parse_pack(contents[i], configs[i], path) for i, path in enumerate((a, b))]
    if configs[0] != configs[1]:
        raise PackError(f"{a} and {b} are made for trunks of different sizes; expected the same")
    return packs[0], packs[1], configs[0]


def compare(a: Pack, b: Pack, config: TrunkConfig) -> Iterator[Difference]:
    """Yield the difference at every norm in order of use, then of the whole styles."""
    gammas, betas = [], []
    for slot in config.layout():
        gamma = a.style[slot.gamma].double(), b.style[slot.gamma].double()
        beta = a.style[slot.beta].double(), b.style[slot.beta].double()
        gammas.append(gamma)
        betas.append(beta)
        yield _difference(slot.name, gamma, beta)
    yield _difference(WHOLE, _joined(gammas), _joined(betas))


def differing_metadata(a: Pack, b: Pack) -> list[tuple[str, str, str]]:
    """(key, value of a, value of b) wherever they differ, without thumbnails."""
    first, second = _flat(a), _flat(b)
    rows = [(key, first.get(key, ""), second.get(key, "")) for key in first | second]
    return [row for row in rows if row[1] != row[2]]


def _flat(pack: Pack) -> dict[str, str]:
    """Metadata as text, with one entry per field of JSON objects."""
    fields: dict[str, str] = {}
    for key, value in asdict(pack.manifest).items():
        if key in NOT_COMPARED:
            continue
        if isinstance(value, dict):
            fields |= {f"{key}.{name}": in_words(inner) for name, inner in value.items()}
        else:
            fields[key] = in_words(value)
    return fields


def _joined(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])


def _difference(norm: str, gamma: tuple[Tensor, Tensor], beta: tuple[Tensor, Tensor]) -> Difference:
    directions = [torch.cat([g - 1, b]) for g, b in zip(gamma, beta, strict=True)]
    lengths = float(directions[0].norm() * directions[1].norm())
    cosine = float(directions[0] @ directions[1]) / lengths if lengths else math.nan
    return Difference(norm, _relative(*gamma), _relative(*beta), cosine)


def _relative(a: Tensor, b: Tensor) -> float:
    distance, size = float((a - b).norm()), math.sqrt(float(a.norm()) * float(b.norm()))
    if not distance:
        return 0.0
    return distance / size if size else math.nan
