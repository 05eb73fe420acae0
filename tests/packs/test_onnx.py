"""`packs export`: what onnxruntime paints is what torch paints, at any size."""

import errno
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import TINY

from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.library.shelf import BUNDLED_PACKS
from stylepack.network.trunk import Trunk, TrunkConfig
from stylepack.packs import onnx as onnxfile
from stylepack.packs.onnx import differences, trunk_model
from stylepack.packs.pack import blend, load_pack
from stylepack.packs.trunk_file import load_trunk

SIZES = [(1, 3, 16, 24), (2, 3, 13, 10), (1, 3, 3, 5), (1, 3, 9, 300)]


def numbers_of(config: TrunkConfig, own: float, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    style = config.neutral_style() + 0.3 * torch.randn(config.style_size, generator=generator)
    return torch.cat([style, torch.tensor([own])])


def rounded_trunk(config: TrunkConfig) -> Trunk:
    """A trunk of random weights that float16 can hold, as those of a file."""
    torch.manual_seed(0)
    trunk = Trunk(config).requires_grad_(False)
    for weight in trunk.parameters():
        weight.copy_(weight.half())
    return trunk


@pytest.mark.parametrize("own", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_model_paints_what_the_trunk_paints(size, own: float) -> None:
    trunk, numbers = rounded_trunk(TINY), numbers_of(TINY, own)
    image = torch.rand(size, generator=torch.Generator().manual_seed(1))
    session = onnxruntime.InferenceSession(trunk_model(trunk).SerializeToString())
    (painted,) = session.run(None, {"image": image.numpy(), "style": numbers.numpy()})
    wanted = trunk(image, numbers[:-1], own)
    assert painted.shape == size
    np.testing.assert_allclose(painted, wanted.numpy(), atol=2e-5)


def test_grain_comes_from_a_tile_that_repeats() -> None:
    trunk = rounded_trunk(TrunkConfig((4, 6, 8), 1, 9, grain=0.1))
    model = trunk_model(trunk).SerializeToString()
    numbers = numbers_of(TINY, 0.0)
    images = [torch.full(size, 0.5) for size in ((1, 3, 30, 21), (1, 3, 12, 270))]
    assert differences(model, trunk, [numbers], images) < 1e-4
    trunk.config = TINY  # without grain
    assert differences(model, trunk, [numbers], images) > 1e-2


def test_the_bundled_trunk_is_exported_with_packs_that_blend(tmp_path: Path, capsys) -> None:
    place = tmp_path / "web.onnx"
    assert stylepack(["packs", "export", "starry", "photo", "-o", str(place)]) == 0
    said = capsys.readouterr()
    assert said.out.split() == [str(place), str(tmp_path / "web.json")]
    assert "2 packs; onnxruntime and torch differ by at most" in said.err
    told = json.loads((tmp_path / "web.json").read_text())
    trunk, digest = load_trunk(BUNDLED_TRUNK)
    assert (told["model"], told["trunk_sha256"]) == ("web.onnx", digest)
    assert told["own_contrast"] == trunk.config.style_size == told["style_size"] - 1
    packs = [
        load_pack(BUNDLED_PACKS / f"{n}.safetensors", trunk.config) for n in ("starry", "photo")
    ]
    styles = [told["packs"][name]["style"] for name in ("starry", "photo")]
    for style, pack in zip(styles, packs, strict=True):
        assert torch.equal(torch.tensor(style), pack.vector)
    assert told["packs"]["starry"]["title"] == packs[0].manifest.title
    for slot, entry in zip(trunk.config.layout(), told["layout"], strict=True):
        assert (entry["gamma"], entry["beta"]) == (slot.gamma.start, slot.beta.start)
    half = blend([pack.vector for pack in packs], [0.5, 0.5])
    image = torch.rand(1, 3, 24, 30, generator=torch.Generator().manual_seed(0))
    assert differences(place.read_bytes(), trunk, [half], [image]) < 1e-4
    assert place.stat().st_size < BUNDLED_TRUNK.stat().st_size + 200_000
    inputs = {one.name for one in onnx.load(place).graph.input}
    assert inputs == {"image", "style"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["-o", "web.pt"], 2, "web.onnx"),
        *((["-o", name], 2, "name it like trunk.onnx") for name in (".", "/", ".onnx")),
        (["-o", ""], 2, "-o is empty"),
        (["-o", "taken.onnx"], 2, "taken.json already exists"),
        (["scremm", "-o", "web.onnx"], 2, "did you mean 'scream'"),
        (["-o", "no/web.onnx"], 2, "no such folder: no, for -o no/web.onnx"),
    ],
)
def test_an_export_is_refused_in_one_line(
    tmp_path: Path, monkeypatch, capsys, words, code, said
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken.json").write_text("{}")
    assert stylepack(["packs", "export", *words]) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken.json"]


def test_a_pack_that_names_no_trunk_is_exported_if_asked(
    make_pack, tiny_trunk, tmp_path: Path, capsys
) -> None:
    words = [str(make_pack("dots", trunk_sha256="")), "-o", str(tmp_path / "web.onnx")]
    words += ["--trunk", str(tiny_trunk[0])]
    assert stylepack(["packs", "export", *words]) == 1
    assert "add --force to use it anyway" in capsys.readouterr().err
    assert stylepack(["packs", "export", *words, "--force"]) == 0
    assert capsys.readouterr().err.startswith("1 pack; ")


def test_without_onnx_the_extra_is_named(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("stylepack.cli.packs.make.find_spec", lambda name: None)
    assert stylepack(["packs", "export", "-o", str(tmp_path / "web.onnx")]) == 1
    assert "pip install 'stylepack[export]'" in capsys.readouterr().err


def test_an_export_that_paints_otherwise_is_not_written(
    tiny_trunk, make_pack, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setattr(onnxfile, "EPSILON", 0.5)
    words = [str(make_pack("dots")), "--trunk", str(tiny_trunk[0])]
    assert stylepack(["packs", "export", *words, "-o", str(tmp_path / "web.onnx")]) == 1
    assert "painting differs from torch" in capsys.readouterr().err
    assert not (tmp_path / "web.onnx").exists()


def test_an_export_writes_both_files_or_none(tmp_path: Path, monkeypatch) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    assert stylepack(["packs", "export", "starry", "-o", str(tmp_path / "web.onnx")]) == 1
    assert list(tmp_path.glob("*web*")) == list(tmp_path.glob(".*.part")) == []
