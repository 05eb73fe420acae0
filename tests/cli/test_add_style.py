"""`stylepack add-style`: one painting more, and nothing else changed."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY, picture

from stylepack.bundled import ASSETS
from stylepack.cli.main import run as stylepack
from stylepack.errors import PackError, StylepackError
from stylepack.library.install import install_new
from stylepack.library.shelf import shelf
from stylepack.packs.manifest import Manifest, read_manifest
from stylepack.packs.pack import Pack, load_pack
from stylepack.training.finetune import Finetune


def hashes(*folders: Path) -> dict[Path, str]:
    return {
        path: hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def painting(tmp_path: Path) -> Path:
    path = tmp_path / "Dream No 1.png"
    picture(80, 64, 7).save(path)
    return path


@pytest.fixture
def options(photos: Path, vgg_file: Path, tmp_path: Path) -> list[str]:
    recipe = tmp_path / "small.toml"
    recipe.write_text("batch = 2\ncrop = 32\nphoto_side = 40\nstyle_side = 48\n")
    return [
        *("--photos", str(photos), "--vgg-weights", str(vgg_file), "--device", "cpu"),
        *("--recipe", str(recipe), "--updates", "3"),
    ]


def test_it_installs_a_pack_and_leaves_trunk_and_packs_byte_identical(
    painting: Path, options: list[str], home: Path
) -> None:
    assert stylepack(["add-style", str(painting), "--name", "first", *options]) == 0
    before = hashes(ASSETS, home / "packs")
    assert stylepack(["add-style", str(painting), "--name", "second", *options]) == 0
    after = hashes(ASSETS, home / "packs")
    added = home / "packs" / "second.safetensors"
    assert after.keys() - before.keys() == {added}
    assert {path: after[path] for path in before} == before
    assert len(before) > 6


def test_a_name_that_is_taken_meanwhile_costs_neither_pack(
    painting: Path,
    options: list[str],
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    theirs = home / "packs" / "dream.safetensors"
    finish = Finetune.pack

    def pack(*words: Any) -> Pack:  # another command is quicker
        theirs.write_bytes(b"theirs")
        return finish(*words)

    monkeypatch.setattr(Finetune, "pack", pack)
    monkeypatch.chdir(tmp_path)
    for kept in ("dream.safetensors", "dream-2.safetensors"):
        theirs.unlink(missing_ok=True)
        assert stylepack(["add-style", str(painting), "--name", "dream", *options]) == 1
        assert theirs.read_bytes() == b"theirs"
        assert read_manifest(tmp_path / kept).train["updates"] == 3
        said = capsys.readouterr().err.splitlines()[-1]
        assert said == (
            "error: another command has installed a pack 'dream' meanwhile; this one is in "
            f"{kept}: `stylepack packs install {kept} --as NAME`"
        )
    assert stylepack(["packs", "install", "dream-2.safetensors", "--as", "mine"]) == 0
    assert shelf()["mine"].manifest().train["updates"] == 3


def test_where_nothing_can_be_written_the_reason_is_told(
    tiny_trunk: tuple[Path, str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "packs").mkdir(parents=True)
    (home / "packs" / "dream.safetensors").write_bytes(b"theirs")
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    pack = Pack(Manifest(name="dream", trunk_sha256=tiny_trunk[1]), TINY.neutral_style())
    with pytest.raises(StylepackError, match=r"another command has.*; nor can it be saved") as told:
        install_new(pack, TINY)
    assert not isinstance(told.value, PackError)


def test_a_pack_is_kept_where_the_shelf_cannot_be_written_to(
    tiny_trunk: tuple[Path, str], home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.write_text("a file, and no folder")
    monkeypatch.chdir(tmp_path)
    pack = Pack(Manifest(name="dream", trunk_sha256=tiny_trunk[1]), TINY.neutral_style())
    with pytest.raises(PackError, match=r"install dream\.safetensors`$") as told:
        install_new(pack, TINY)
    assert str(home) in str(told.value)
    assert torch.equal(load_pack(tmp_path / "dream.safetensors", TINY).style, pack.style)


def test_the_pack_says_how_it_was_made_and_paints(
    painting: Path, options: list[str], photos: Path, tmp_path: Path
) -> None:
    assert stylepack(["add-style", str(painting), *options, "--artist", "A. Painter"]) == 0
    manifest = shelf()["dream-no-1"].manifest()
    assert manifest.style_image["artist"] == "A. Painter"
    assert manifest.train["updates"] == 3
    assert "=" in manifest.train["started_from"]
    assert "photo" not in manifest.train["started_from"]
    assert manifest.metrics["style"] > 0
    out = tmp_path / "painted.png"
    mix = "dream-no-1=0.5,starry=0.5"
    assert stylepack(["apply", str(photos / "0.jpg"), "--mix", mix, "-o", str(out)]) == 0
    assert out.exists()


def test_a_taken_name_is_refused_before_any_work_and_replace_replaces(
    painting: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["add-style", str(painting), "--name", "starry", *options]
    assert stylepack(command) == 1
    assert "a pack 'starry' is bundled already" in capsys.readouterr().err
    assert stylepack([*command, "--replace"]) == 0
    assert not shelf()["starry"].bundled
    assert read_manifest(shelf()["starry"].path).train["updates"] == 3


@pytest.mark.parametrize("name", ["../evil", "a/b", "CON", "con", "", ".hidden", "x" * 65])
def test_a_name_that_is_no_pack_name_is_refused(
    painting: Path, options: list[str], home: Path, name: str
) -> None:
    if not name:
        painting = painting.rename(painting.with_name("!!!.png"))
    assert stylepack(["add-style", str(painting), "--name", name, *options]) in (1, 2)
    assert not home.exists()


def test_it_learns_on_the_bundled_photographs_when_none_are_given(
    painting: Path, options: list[str]
) -> None:
    place = options.index("--photos")
    assert stylepack(["add-style", str(painting), *options[:place], *options[place + 2 :]]) == 0
    assert shelf()["dream-no-1"].manifest().train["photographs"] == 4


def test_without_any_vgg_it_learns_with_the_bundled_network(
    painting: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    place = options.index("--vgg-weights")
    offline = [*options[:place], *options[place + 2 :]]
    assert stylepack(["add-style", str(painting), *offline]) == 0
    assert "loss network: bundled" in capsys.readouterr().err
    train = shelf()["dream-no-1"].manifest().train
    assert (train["loss_network"], train["loss_weights"]) == ("bundled", "stylepack")


def test_a_loss_network_can_be_chosen(
    painting: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["add-style", str(painting), *options, "--loss-network"]
    assert stylepack([*chosen, "vgg99"]) == 2
    assert "must be one of bundled, vgg16, vgg19" in capsys.readouterr().err
    assert stylepack([*chosen, "vgg19"]) == 0
    assert shelf()["dream-no-1"].manifest().train["loss_network"] == "vgg19"
