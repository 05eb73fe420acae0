"""The trunk file: the shared convolutions in float16, with the trunk's sizes as metadata."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from stylepack.errors import PackError
from stylepack.network.trunk import Trunk, TrunkConfig
from stylepack.packs.header import Header, read_content
from stylepack.packs.manifest import (
    ARCHITECTURE,
    FORMAT_VERSION,
    IMPLEMENTATION,
    LARGEST_TRUNK,
    MODELSPEC_VERSION,
    check_version,
)
from stylepack.packs.tensors import parse_tensors, write_tensors

CONFIG_KEY = "stylepack.trunk_config"


def save_trunk(path: Path, trunk: Trunk, metadata: dict[str, str]) -> str:
    """Write the trunk rounded to float16; return the SHA-256 of its data."""
    tensors = {name: tensor.half() for name, tensor in trunk.state_dict().items()}
    fields = {
        "modelspec.sai_model_spec": MODELSPEC_VERSION,
        "modelspec.architecture": ARCHITECTURE,
        "modelspec.implementation": IMPLEMENTATION,
        "stylepack.format_version": FORMAT_VERSION,
        CONFIG_KEY: json.dumps(asdict(trunk.config)),
    }
    return write_tensors(path, tensors, {**fields, **metadata})


def load_trunk(path: Path) -> tuple[Trunk, str]:
    """Read a trunk file: (trunk in float32, SHA-256 of its data).

    Raises:
        PackError: not a trunk file, or tensors that do not fit its configuration.
    """
    return parse_trunk(read_content(path, LARGEST_TRUNK), path)


def parse_trunk(content: bytes, path: object) -> tuple[Trunk, str]:
    """`load_trunk` for a file in memory; errors name `path`."""
    header, tensors, digest = parse_tensors(content, path)
    if header.metadata.get("modelspec.architecture") != ARCHITECTURE:
        raise PackError(f"{path} is not a trunk file; expected architecture '{ARCHITECTURE}'")
    check_version(header, path)
    config = _read_config(header, path)
    for name, channels_in, channels_out, kernel in config.convolutions():
        entry = header.tensors.get(f"{name}.weight")
        shape = (channels_out, channels_in, kernel, kernel)
        if entry is None or entry.shape != shape or entry.dtype not in ("F16", "F32"):
            found = f"{entry.dtype}{list(entry.shape)}" if entry else "nothing"
            raise PackError(f"{path}: '{name}.weight' is {found}, expected F16{list(shape)}")
    if len(header.tensors) != len(config.convolutions()):
        raise PackError(f"{path} has tensors that its configuration does not name")
    with torch.device("meta"):
        trunk = Trunk(config)
    trunk.load_state_dict({name: t.float() for name, t in tensors.items()}, assign=True)
    trunk.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return trunk.requires_grad_(False).eval(), digest


def _read_config(header: Header, path: object) -> TrunkConfig:
    try:
        fields: dict[str, Any] = json.loads(header.metadata[CONFIG_KEY])
        a, b, c = (int(width) for width in fields["widths"])
        blocks, kernel = int(fields["residual_blocks"]), int(fields["edge_kernel"])
        grain = float(fields.get("grain", 0.0))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise PackError(f"{path}: metadata '{CONFIG_KEY}' is missing or damaged") from None
    sizes_ok = all(1 <= width <= 4096 for width in (a, b, c)) and 0 <= blocks <= 64
    if not sizes_ok or kernel not in (3, 5, 7, 9) or not 0 <= grain <= 1:
        raise PackError(f"{path}: metadata '{CONFIG_KEY}' has sizes out of range")
    return TrunkConfig((a, b, c), blocks, kernel, grain)
