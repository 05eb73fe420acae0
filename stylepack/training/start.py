"""Where training starts from: the packs that belong to a trunk."""

from pathlib import Path

import torch
from torch import Tensor

from stylepack.errors import PackError
from stylepack.network.trunk import TrunkConfig
from stylepack.packs.pack import load_pack
from stylepack.packs.shelf import IDENTITY, SUFFIX, shelf


def packs_of(trunk: Path, digest: str, config: TrunkConfig) -> dict[str, Tensor]:
    """Name -> style vector of every pack of a trunk: those beside its file, then the shelf's."""
    places = {path.stem: path for path in sorted((trunk.parent / "packs").glob(f"*{SUFFIX}"))}
    places = {name: shelved.path for name, shelved in shelf().items()} | places
    found = {}
    for name, path in places.items():
        try:
            pack = load_pack(path, config)
        except PackError:
            continue  # `packs list` names damaged packs; they need not stop this one
        if pack.manifest.trunk_sha256 == digest:
            found[name] = pack.style
    return found


def mean_style(packs: dict[str, Tensor], config: TrunkConfig) -> Tensor:
    """The mean of the packs but for the identity style; neutral if there are none."""
    styles = [style for name, style in packs.items() if name != IDENTITY]
    return torch.stack(styles).mean(0) if styles else config.neutral_style()


def identity_start(style: Tensor, config: TrunkConfig) -> Tensor:
    """A start for the identity style: its last norm has the photograph's contrast alone."""
    last = config.layout()[-1]
    style = style.clone()
    style[last.gamma.start : last.beta.stop] = 0.0
    return style
