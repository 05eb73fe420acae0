"""Tensors to and from safetensors files, whole or not at all."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from stylepack.errors import PackError, UsageError
from stylepack.files import replacing
from stylepack.packs.header import (
    LENGTH_BYTES,
    Header,
    data_sha256,
    header_length,
    parse_header,
)

HASH_KEY = "modelspec.hash_sha256"


def read_tensors(path: Path, largest_file: int) -> tuple[Header, dict[str, Tensor], str]:
    """Read a file once, check it, and return (header, tensors, SHA-256 of the data).

    Raises:
        PackError: unreadable, too large, damaged, or its data does not match its own hash.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            if size > largest_file:
                raise PackError(f"{path} is too large: at most {largest_file:,} bytes expected")
            file.seek(0)
            content = file.read(size)
    except FileNotFoundError:
        raise UsageError(f"no such file: {path}; give a .safetensors file") from None
    except OSError as error:
        raise PackError(f"cannot read {path}: {error.strerror or error}") from error
    length = header_length(content[:LENGTH_BYTES], len(content), path)
    header = parse_header(content[LENGTH_BYTES : LENGTH_BYTES + length], len(content), path)
    digest = data_sha256(content, header)
    claimed = header.metadata.get(HASH_KEY, "").removeprefix("0x")
    if claimed and claimed != digest:
        raise PackError(f"{path} is damaged: its data does not match its hash; download it again")
    try:
        tensors = load(content)
    except (SafetensorError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise PackError(f"{path} is not a valid safetensors file: {reason}") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise PackError(f"{path}: tensor '{name}' holds NaN or infinity")
    return header, tensors, digest


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write a file whose metadata carries the hash of its data; return that hash."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    bare = save(plain)
    length = header_length(bare[:LENGTH_BYTES], len(bare), path)
    header = parse_header(bare[LENGTH_BYTES : LENGTH_BYTES + length], len(bare), path)
    digest = data_sha256(bare, header)
    content = save(plain, {**metadata, HASH_KEY: f"0x{digest}"})
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return digest
