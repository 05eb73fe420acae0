"""Tensors to and from safetensors files, with a hash of the data."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from stylepack.errors import PackError
from stylepack.files import replacing
from stylepack.packs.header import Header, data_sha256, parse_content, read_content, shown

HASH_KEY = "modelspec.hash_sha256"


def read_tensors(path: Path, largest_file: int) -> tuple[Header, dict[str, Tensor], str]:
    """Read a file once, check it, and return (header, tensors, SHA-256 of the data).

    Raises:
        PackError: unreadable, too large, damaged, or its data does not match its own hash.
    """
    return parse_tensors(read_content(path, largest_file), path)


def parse_tensors(content: bytes, path: object) -> tuple[Header, dict[str, Tensor], str]:
    """`read_tensors` for a file in memory; errors name `path`."""
    header = parse_content(content, path)
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
            raise PackError(f"{path}: tensor '{shown(name)}' has NaN or infinity")
    return header, tensors, digest


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Write a file with the hash of its data in the metadata; return that hash."""
    content, digest = tensors_content(tensors, metadata)
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return digest


def tensors_content(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> tuple[bytes, str]:
    """The bytes that `write_tensors` writes, and the hash.

    Metadata that is not valid UTF-8, typed or from a file's name, is escaped.

    Raises:
        PackError: there is too much metadata.
    """
    texts = {
        key: value.encode("utf-8", "backslashreplace").decode() for key, value in metadata.items()
    }
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    bare = save(plain)
    digest = data_sha256(bare, parse_content(bare, "the file to write"))
    content = save(plain, {**texts, HASH_KEY: f"0x{digest}"})
    parse_content(content, "the file to write")
    return content, digest
