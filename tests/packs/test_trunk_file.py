"""The trunk file: it alone rebuilds the network, and a wrong one is refused."""

import json
from pathlib import Path

import pytest
import torch
from conftest import TINY
from safetensors.torch import load_file

from stylepack.errors import PackError
from stylepack.network.trunk import Trunk
from stylepack.packs.header import read_header
from stylepack.packs.tensors import write_tensors
from stylepack.packs.trunk_file import CONFIG_KEY, LARGEST_TRUNK, load_trunk, save_trunk


def test_the_trunk_file_alone_rebuilds_the_network(tmp_path: Path) -> None:
    torch.manual_seed(3)
    trunk = Trunk(TINY)
    digest = save_trunk(tmp_path / "trunk.safetensors", trunk, {"modelspec.author": "me"})
    rebuilt, found = load_trunk(tmp_path / "trunk.safetensors")
    assert found == digest
    assert rebuilt.config == TINY
    assert rebuilt.state_dict().keys() == trunk.state_dict().keys()
    for name, weight in trunk.state_dict().items():
        assert torch.equal(rebuilt.state_dict()[name], weight.half().float())
    assert not any(parameter.requires_grad for parameter in rebuilt.parameters())
    assert rebuilt(torch.rand(1, 3, 9, 10), TINY.neutral_style()).shape == (1, 3, 9, 10)


def config(**changes: object) -> str:
    return json.dumps({"widths": [4, 6, 8], "residual_blocks": 1, "edge_kernel": 9, **changes})


TRUNK_METADATA = {
    "no configuration": {CONFIG_KEY: ""},
    "not JSON": {CONFIG_KEY: "{"},
    "a list": {CONFIG_KEY: "[4, 6, 8]"},
    "deep": {CONFIG_KEY: "[" * 100_000},
    "two widths": {CONFIG_KEY: config(widths=[4, 6])},
    "no widths": {CONFIG_KEY: config(widths=None)},
    "infinite width": {CONFIG_KEY: config(widths=[4, 6, float("inf")])},
    "NaN width": {CONFIG_KEY: config(widths=[4, 6, float("nan")])},
    "zero width": {CONFIG_KEY: config(widths=[4, 6, 0])},
    "negative width": {CONFIG_KEY: config(widths=[4, 6, -8])},
    "huge width": {CONFIG_KEY: config(widths=[4, 6, 10**9])},
    "other width": {CONFIG_KEY: config(widths=[4, 6, 9])},
    "negative blocks": {CONFIG_KEY: config(residual_blocks=-1)},
    "many blocks": {CONFIG_KEY: config(residual_blocks=10**9)},
    "another block": {CONFIG_KEY: config(residual_blocks=2)},
    "a block less": {CONFIG_KEY: config(residual_blocks=0)},
    "even kernel": {CONFIG_KEY: config(edge_kernel=8)},
    "smaller kernel": {CONFIG_KEY: config(edge_kernel=7)},
    "another architecture": {"modelspec.architecture": "stylepack-cin-v2"},
    "a later format": {"stylepack.format_version": "2"},
}


@pytest.mark.parametrize("changes", TRUNK_METADATA.values(), ids=TRUNK_METADATA)
def test_a_trunk_whose_metadata_is_wrong_is_refused(tiny_trunk, changes: dict[str, str]) -> None:
    path, _ = tiny_trunk
    metadata = read_header(path, LARGEST_TRUNK).metadata | changes
    write_tensors(path, load_file(path), metadata)
    with pytest.raises(PackError) as refused:
        load_trunk(path)
    assert str(path) in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_cut_trunk_is_refused(tiny_trunk) -> None:
    path, _ = tiny_trunk
    content = path.read_bytes()
    for length in (0, 8, 100, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(PackError):
            load_trunk(path)


def test_a_pack_given_as_a_trunk_is_refused(make_pack) -> None:
    path = make_pack()
    with pytest.raises(PackError, match="not a trunk file") as refused:
        load_trunk(path)
    assert str(path) in str(refused.value)


def test_a_trunk_with_a_tensor_too_many_is_refused(tiny_trunk) -> None:
    path, _ = tiny_trunk
    tensors = load_file(path) | {"more": torch.zeros(1)}
    write_tensors(path, tensors, read_header(path, LARGEST_TRUNK).metadata)
    with pytest.raises(PackError, match="its configuration does not name"):
        load_trunk(path)


@pytest.mark.parametrize("damage", [torch.nan, torch.inf])
def test_a_trunk_of_broken_numbers_is_refused_by_the_layer(tiny_trunk, damage: float) -> None:
    path, _ = tiny_trunk
    tensors = load_file(path)
    tensors["conv2.weight"][0, 0, 0, 0] = damage
    write_tensors(path, tensors, read_header(path, LARGEST_TRUNK).metadata)
    with pytest.raises(PackError, match=r"'conv2\.weight' has NaN or infinity"):
        load_trunk(path)
