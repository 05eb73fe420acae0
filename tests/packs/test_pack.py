"""Pack files: what is written comes back, what is damaged or foreign is refused."""

import json
import struct
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch
from conftest import TINY
from safetensors.torch import load_file, save_file
from torch import Tensor

from stylepack.errors import PackError, WrongTrunkError
from stylepack.packs.header import read_header
from stylepack.packs.manifest import LARGEST_PACK, Manifest
from stylepack.packs.pack import Pack, blend, check_trunk, load_pack
from stylepack.packs.tensors import write_tensors

FULL = Manifest(
    own_contrast=0.5,
    name="full",
    trunk_sha256="ab" * 32,
    title="Die große Welle 波",
    description="Two\nlines",
    author="A. Painter",
    date="2024-02-29",
    license="CC0-1.0",
    tags="waves, sea",
    thumbnail="data:image/jpeg;base64,AAAA",
    merged_from="starry=0.5,scream=0.5",
    style_image={"title": "波", "year": "1831"},
    train={"recipe": "default", "seed": 3, "layers": ["relu1_2"]},
    metrics={"content": 0.25, "style": 1e-3},
)


def style(seed: int = 0) -> Tensor:
    return torch.randn(TINY.style_size, generator=torch.Generator().manual_seed(seed))


def refusal(path: Path) -> str:
    with pytest.raises(PackError) as refused:
        load_pack(path, TINY)
    text = str(refused.value)
    assert str(path) in text
    assert text.isprintable()
    return text


def test_a_saved_pack_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "full.safetensors"
    Pack(FULL, style()).save(path, TINY)
    loaded = load_pack(path, TINY)
    assert torch.equal(loaded.style, style())
    assert all(getattr(FULL, field.name) for field in fields(FULL) if field.name != "sha256")
    assert replace(loaded.manifest, sha256="") == FULL
    assert len(loaded.manifest.sha256) == 64


def test_each_gamma_and_beta_lies_under_its_own_name(tmp_path: Path) -> None:
    path = tmp_path / "ramp.safetensors"
    Pack(FULL, torch.arange(TINY.style_size).float()).save(path, TINY)
    tensors = load_file(path)
    assert tensors["conv1.gamma"].tolist() == [0, 1, 2, 3]
    assert tensors["conv1.beta"].tolist() == [4, 5, 6, 7]
    assert tensors["conv2.gamma"].tolist() == [8, 9, 10, 11, 12, 13]
    assert tensors["out.beta"].tolist() == [TINY.style_size - 3 + i for i in range(3)]


def test_every_flipped_data_byte_is_noticed(make_pack) -> None:
    path = make_pack()
    content = path.read_bytes()
    start = read_header(path, LARGEST_PACK).data_start
    for place in (start, (start + len(content)) // 2, len(content) - 1):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert "damaged" in refusal(path)


TENSORS = {
    "missing": (lambda t: t.pop("conv2.beta"), "lacks tensor 'conv2.beta'"),
    "extra": (lambda t: t.update(more=torch.zeros(1)), "extra tensor 'more'"),
    "new line in an extra": (lambda t: t.update({"a\nb": torch.zeros(1)}), "extra tensor"),
    "renamed": (lambda t: t.update(c=t.pop("out.beta")), "out.beta"),
    "long": (lambda t: t.update({"conv1.beta": torch.zeros(5)}), "F32[5], expected F32[4]"),
    "square": (lambda t: t.update({"conv1.beta": torch.zeros(2, 2)}), "F32[2, 2]"),
    "half": (lambda t: t.update({"conv1.beta": torch.zeros(4).half()}), "F16[4]"),
    "bytes": (lambda t: t.update({"conv1.beta": torch.zeros(4).byte()}), "U8[4]"),
    "NaN": (lambda t: t["up1.gamma"].fill_(torch.nan), "'up1.gamma' has NaN or infinity"),
    "infinite": (lambda t: t["up1.gamma"][:1].fill_(torch.inf), "'up1.gamma' has NaN"),
    "enormous": (lambda t: t["up1.gamma"][:1].fill_(-3e38), "'up1.gamma' has 3e+38"),
    "minus infinite": (lambda t: t["up1.gamma"][:1].fill_(-torch.inf), "'up1.gamma' has NaN"),
}


@pytest.mark.parametrize(("change", "said"), TENSORS.values(), ids=TENSORS)
def test_tensors_that_do_not_fit_are_refused_by_name(make_pack, change, said: str) -> None:
    path = make_pack()
    tensors = load_file(path)
    change(tensors)
    write_tensors(path, tensors, FULL.to_metadata())
    assert said in refusal(path)


HUGE_SHAPES = {
    "65 sides": [1] * 65,
    "side of 2^63": [0, 2**63],
    "stride of 2^64": [0, 2**62, 4],
    "side of 2^64": [0, 2**64],
}


@pytest.mark.parametrize("shape", HUGE_SHAPES.values(), ids=HUGE_SHAPES)
def test_shapes_that_torch_cannot_hold_are_refused(tmp_path: Path, shape: list[int]) -> None:
    size = 0 if 0 in shape else 4
    entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}
    header = json.dumps({"a": entry, "__metadata__": FULL.to_metadata()}).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * size)
    assert refusal(path)


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.safetensors"
    save_file({"a": torch.zeros(LARGEST_PACK // 4)}, path, FULL.to_metadata())
    assert f"{LARGEST_PACK:,}" in refusal(path)


def test_a_pack_of_another_trunk_is_refused_naming_both(make_pack, tiny_trunk) -> None:
    manifest = load_pack(make_pack(trunk_sha256="cd" * 32), TINY).manifest
    with pytest.raises(WrongTrunkError) as refused:
        check_trunk(manifest, tiny_trunk[1], "'dots'")
    assert "'dots' belongs to trunk cdcdcdcdcdcd," in str(refused.value)
    assert f"this trunk is {tiny_trunk[1][:12]};" in str(refused.value)


def test_a_pack_without_a_trunk_is_refused(make_pack, tiny_trunk) -> None:
    manifest = load_pack(make_pack(trunk_sha256=""), TINY).manifest
    with pytest.raises(WrongTrunkError, match=r"'dots' does not say which trunk.*force=True"):
        check_trunk(manifest, tiny_trunk[1], "'dots'", force=False)
    with pytest.raises(WrongTrunkError, match="leave it out"):
        check_trunk(manifest, tiny_trunk[1], "'dots'")
    check_trunk(manifest, tiny_trunk[1], "'dots'", force=True)


def test_a_pack_of_this_trunk_passes(make_pack, tiny_trunk) -> None:
    check_trunk(load_pack(make_pack(), TINY).manifest, tiny_trunk[1], "'dots'")


def test_a_foreign_trunk_hash_cannot_break_the_line(tiny_trunk) -> None:
    with pytest.raises(WrongTrunkError) as refused:
        check_trunk(Manifest("dots", "a\n\x1b[31mb"), tiny_trunk[1], "'dots'")
    assert str(refused.value).isprintable()


def test_a_blend_at_weight_one_is_that_pack() -> None:
    assert torch.equal(blend([style()], [1.0]), style())
    assert torch.equal(blend([style(), style(1)], [0.0, 1.0]), style(1))
    assert torch.equal(blend([style(), style(1)], [1, 0]), style())


def test_a_pack_mixed_with_itself_changes_nothing() -> None:
    torch.testing.assert_close(blend([style()] * 3, [0.2, 0.3, 0.5]), style())


def test_blending_is_linear() -> None:
    a, b = style(), style(1)
    torch.testing.assert_close(blend([a, b], [0.25, 0.75]), 0.25 * a + 0.75 * b)
    torch.testing.assert_close(blend([a, b], [2.0, -1.0]), 2 * a - b)
    halfway = blend([blend([a, b], [1.0, 0.0]), blend([a, b], [0.5, 0.5])], [0.5, 0.5])
    torch.testing.assert_close(halfway, blend([a, b], [0.75, 0.25]))


def test_a_trunk_given_as_a_pack_is_refused(tiny_trunk) -> None:
    assert "not a style pack" in refusal(tiny_trunk[0])
