"""`stylepack evaluate`: packs in figures, beside the photograph, the painting and the optimum."""

import csv
import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import picture
from PIL import Image

from stylepack.cli import console
from stylepack.cli.main import run as stylepack
from stylepack.lab.intervals import Estimate
from stylepack.lab.references import PixelOptimization, match
from stylepack.library.shelf import BUNDLED_PACKS
from stylepack.losses.weights import WeightSource
from stylepack.packs.manifest import Manifest, read_manifest
from stylepack.packs.pack import Pack
from stylepack.packs.trunk_file import load_trunk
from stylepack.recipe import load_recipe
from stylepack.training.dataset import PhotoFolder
from stylepack.training.paintings import objective_for, read_paintings

CPU = torch.device("cpu")


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text("scales = 2\nstyle_side = 48\n")
    return path


@pytest.fixture
def trunk(tmp_path: Path, tiny_trunk: tuple[Path, str], make_pack) -> Path:
    """The tiny trunk with three packs beside it: two of paintings, one of none."""
    folder = tmp_path / "packs"
    folder.mkdir()
    for seed, name in enumerate(("dawn", "dusk-over-sea", "orphan")):
        make_pack(name, seed).rename(folder / f"{name}.safetensors")
    return tiny_trunk[0]


@pytest.fixture
def identity(trunk: Path, tmp_path: Path) -> None:
    """The identity style beside the tiny trunk."""
    network, digest = load_trunk(trunk)
    manifest = Manifest(name="photo", trunk_sha256=digest, own_contrast=1.0)
    pack = Pack(manifest, network.config.neutral_style())
    pack.save(tmp_path / "packs" / "photo.safetensors", network.config)


@pytest.fixture
def command(
    photos: Path, paintings: Path, trunk: Path, vgg_file: Path, recipe_file: Path, tmp_path: Path
) -> list[str]:
    return [
        *("evaluate", "--photos", str(photos), "--paintings", str(paintings)),
        *("--trunk", str(trunk), "--vgg-weights", str(vgg_file), "--recipe", str(recipe_file)),
        *("--device", "cpu", "-o", str(tmp_path / "out" / "evaluation")),
    ]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out" / "evaluation"


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "evaluation.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def report(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))


def values(folder: Path, pack: str, method: str, quantity: str) -> list[float]:
    return [
        float(row[quantity])
        for row in rows(folder)
        if (row["pack"], row["method"]) == (pack, method)
    ]


def test_packs_are_measured_beside_their_references(
    command: list[str], out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(command) == 0
    said = capsys.readouterr()
    assert "no painting in" in said.err
    assert "orphan" in said.err
    table = [line.split("\t")[:2] for line in said.out.splitlines()]
    methods = ("photograph", "pack", "painting")
    assert table == [[name, m] for name in ("dawn", "dusk-over-sea") for m in methods]
    assert len(rows(out)) == 2 * 3 * 6
    assert {row["photograph"] for row in rows(out)} == {f"{n}.jpg" for n in range(6)}
    for name in ("dawn", "dusk-over-sea"):
        assert values(out, name, "photograph", "content") == [0] * 6
        assert min(values(out, name, "photograph", "style")) > 0
        assert min(values(out, name, "pack", "content")) > 0
        assert min(values(out, name, "painting", "content")) > 0
    told = report(out)
    assert told["trunk"]["sha256"] == load_trunk(tmp_path / "tiny-trunk.safetensors")[1]
    assert told["loss_network"] == {"name": "vgg19", "weights": "vgg.safetensors"}
    assert told["recipe"]["style_side"] == 48
    assert told["packs"]["dawn"]["painting"] == "dawn.png"
    with Image.open(out / "sheet.png") as sheet:
        assert sheet.width > 3 * 200


def test_the_means_of_the_csv_are_those_of_the_json(command: list[str], out: Path) -> None:
    assert stylepack([*command, "--style", "dawn"]) == 0
    recipe = report(out)["recipe"]
    for method, quantities in report(out)["packs"]["dawn"]["methods"].items():
        layers = {f"style {layer}" for layer in recipe["style_layers"]}
        assert quantities.keys() == {"content", "style", "total"} | layers
        for quantity, figure in quantities.items():
            measured = values(out, "dawn", method, quantity)
            assert np.mean(measured) == pytest.approx(figure["mean"], rel=1e-5)
            low, high = figure["interval"]
            assert min(measured) * 0.999 <= low <= high <= max(measured) * 1.001
        content, style = quantities["content"]["mean"], quantities["style"]["mean"]
        total = recipe["content_weight"] * content + recipe["style_weight"] * style
        assert quantities["total"]["mean"] == pytest.approx(total, rel=1e-4)


def test_a_photograph_shares_the_losses_that_it_would_have_alone(
    command: list[str], out: Path
) -> None:
    assert stylepack([*command, "--limit", "1"]) == 0
    together = values(out, "dusk-over-sea", "photograph", "style")
    assert stylepack([*command, "--limit", "1", "--style", "dusk-over-sea"]) == 0
    assert values(out, "dusk-over-sea", "photograph", "style") == together
    methods = report(out)["packs"]["dusk-over-sea"]["methods"]
    assert methods["pack"]["style"]["interval"] is None


def test_the_painting_has_no_style_loss_at_its_own_size(
    command: list[str], photos: Path, paintings: Path, out: Path
) -> None:
    for path in photos.iterdir():
        path.unlink()
    picture(80, 64, 5).save(photos / "as-large.png")  # as dawn.png is
    assert stylepack([*command, "--style", "dawn"]) == 0
    (alike,) = values(out, "dawn", "painting", "style")
    assert alike < 1e-6 < values(out, "dawn", "photograph", "style")[0]


def test_optimisation_lowers_the_weighted_loss(
    vgg_file: Path, paintings: Path, recipe_file: Path
) -> None:
    recipe = load_recipe(str(recipe_file))
    found = read_paintings(paintings)
    objective = objective_for(recipe, WeightSource(vgg_file), found, CPU)
    photo = torch.rand(1, 3, 40, 48, generator=torch.Generator().manual_seed(0))
    work = PixelOptimization(objective, photo, 1)
    losses = list(work.steps(12))
    assert losses[-1] < 0.8 * losses[0]
    assert 0 <= work.picture.min() < work.picture.max() <= 1


def test_optimised_pictures_stand_beside_the_packs(command: list[str], out: Path) -> None:
    assert stylepack([*command, "--limit", "2", "--optimize", "8", "--style", "dawn"]) == 0
    assert [row["method"] for row in rows(out)] == [
        "photograph",
        "pack",
        "painting",
        "optimized",
    ] * 2
    methods = report(out)["packs"]["dawn"]["methods"]
    assert list(methods) == ["photograph", "pack", "optimized", "painting"]
    assert methods["optimized"]["total"]["mean"] < methods["photograph"]["total"]["mean"]
    assert report(out)["optimized"]["updates"] == 8


def test_the_identity_style_has_content_and_psnr_but_no_style(
    command: list[str], identity: None, out: Path, photos: Path
) -> None:
    assert stylepack([*command, "--limit", "2"]) == 0
    own = [row for row in rows(out) if row["pack"] == "photo"]
    assert [row["method"] for row in own] == ["pack", "pack"]
    assert all(row["style"] == row["total"] == "" for row in own)
    assert all(float(row["content"]) > 0 and float(row["psnr"]) > 3 for row in own)
    assert all(row["psnr"] == "" for row in rows(out) if row["pack"] != "photo")
    content = values(out, "photo", "pack", "content")
    assert stylepack([*command, "--limit", "2", "--style", "photo"]) == 0
    assert values(out, "photo", "pack", "content") == content
    assert len(rows(out)) == 2


def test_a_painting_is_known_by_its_hash_before_its_name(paintings: Path) -> None:
    found = read_paintings(paintings)
    hashes = {painting.name: painting.facts["sha256"] for painting in found}

    def pack(sha256: str) -> Pack:
        return Pack(Manifest(name="x", style_image={"sha256": sha256}), torch.zeros(1))

    crossed = {
        "dawn": pack(hashes["dusk-over-sea"]),
        "other-name": pack(hashes["dawn"]),
        "dusk-over-sea": pack("0" * 64),
        "photo": pack(""),
        "orphan": pack(""),
    }
    contenders, unmatched = match(crossed, found)
    assert unmatched == ["orphan"]
    assert [(c.name, c.painting and c.painting.name, c.matched_by) for c in contenders] == [
        ("dawn", "dusk-over-sea", "sha256"),
        ("other-name", "dawn", "sha256"),
        ("dusk-over-sea", "dusk-over-sea", "name"),
        ("photo", None, ""),
    ]


def test_the_sample_is_the_same_every_time_and_without_the_paintings(
    command: list[str], photos: Path, paintings: Path, out: Path
) -> None:
    shutil.copy(paintings / "dawn.png", photos / "copy.png")
    few = [*command, "--style", "dawn", "--limit"]
    assert stylepack([*few, "3"]) == 0
    first = report(out)["photographs"]
    assert stylepack([*few, "5"]) == 0
    assert report(out)["photographs"][:3] == first
    assert stylepack([*few, "9"]) == 0
    assert sorted(report(out)["photographs"]) == [f"{n}.jpg" for n in range(6)]


def test_damaged_photographs_are_named_and_others_take_their_place(
    command: list[str], photos: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = [*command, "--style", "dawn", "--limit", "2"]
    assert stylepack(few) == 0
    damaged = report(out)["photographs"][0]
    (photos / damaged).write_bytes(b"no photograph")
    assert stylepack(few) == 0
    assert damaged in capsys.readouterr().err
    assert damaged not in report(out)["photographs"]
    assert len(report(out)["photographs"]) == 2
    for path in photos.iterdir():
        path.write_bytes(b"no photograph")
    assert stylepack(few) == 1
    assert "none of the 6 photographs" in capsys.readouterr().err


@pytest.mark.parametrize(("after", "whole"), [(2, 0), (3, 1), (5, 1), (6, 2), (18, 6)])
def test_ctrl_c_writes_the_whole_photographs(
    command: list[str],
    out: Path,
    after: int,
    whole: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    advance, pieces = console.Meter.advance, []

    def interrupted(meter: console.Meter, words: str = "", to: int | None = None) -> None:
        advance(meter, words, to)
        pieces.append(words)
        if len(pieces) == after:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(console.Meter, "advance", interrupted)
    optimised = [*command, "--style", "dawn", "--optimize", "2"]  # three pieces a photograph
    assert stylepack(optimised) == (130 if whole < 6 else 0)
    assert len(pieces) == after
    assert "stopp" in capsys.readouterr().err
    assert (out / "evaluation.csv").exists() == (whole > 0)
    if whole:
        assert len(report(out)["photographs"]) == whole
        assert len(rows(out)) == 4 * whole
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["--photos", "nowhere"], "no such folder: nowhere"),
        (["--paintings", "nowhere"], "no such folder: nowhere"),
        (["--style", "nonesuch"], "no pack 'nonesuch'"),
        (["--style", "orphan"], "has no painting of orphan"),
        (["--limit", "0"], "--limit"),
        (["--optimize", "0"], "--optimize"),
        (["--recipe", "nonesuch"], "no recipe 'nonesuch'"),
        (["--loss-network", "resnet"], "--loss-network is 'resnet'"),
        (["--vgg-input", "raw"], "'raw' is not one of 'caffe', 'imagenet'"),
        (["--vgg-weights", "nowhere.safetensors"], "no such file: nowhere.safetensors"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    command: list[str],
    wrong: list[str],
    told: str,
    out: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert stylepack([*command, *wrong]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert told in line
    assert not out.exists()


def test_missing_folders_and_foreign_packs_are_refused(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(["evaluate", "--photos", "."]) == 2
    assert "--paintings" in capsys.readouterr().err
    assert stylepack([*command, "--style", "starry"]) == 1
    assert "belongs to trunk" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert stylepack([*command, "-o", str(tmp_path / "file" / "x")]) == 1
    assert "cannot make" in capsys.readouterr().err


def test_bundled_packs_know_the_hash_of_their_painting() -> None:
    hashes = [
        read_manifest(path).style_image.get("sha256", "")
        for path in BUNDLED_PACKS.iterdir()
        if path.stem != "photo"
    ]
    assert all(len(value) == 64 for value in hashes)


def test_the_interval_of_a_constant_is_that_constant() -> None:
    assert Estimate.of([0.25] * 7).interval == pytest.approx((0.25, 0.25))
    assert Estimate.of([0.1]).interval is None


@pytest.mark.parametrize("count", [2, 5, 24, 100])
def test_the_interval_holds_the_mean_and_is_as_wide_as_theory_says(count: int) -> None:
    drawn = np.random.default_rng(count).normal(3, 2, count).tolist()
    figure = Estimate.of(drawn)
    assert figure.interval is not None
    low, high = figure.interval
    assert low < figure.mean < high
    if count >= 24:
        expected = 2 * 1.96 * np.std(drawn) / count**0.5
        assert high - low == pytest.approx(expected, rel=0.05)


def test_held_out_measures_only_what_training_holds_out(
    command: list[str], out: Path, photos: Path
) -> None:
    _, held_out = PhotoFolder.open(photos).split()
    assert stylepack([*command, "--held-out"]) == 0
    assert {row["photograph"] for row in rows(out)} == {path.name for path in held_out.paths}
    assert len(held_out.paths) < 6
