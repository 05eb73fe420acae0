"""`stylepack study`: every study end to end, small; stopped, resumed, and asked for wrongly."""

import csv
import json
import re
import shutil
import signal
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import picture
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file

from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli import console
from stylepack.cli.main import run as stylepack
from stylepack.lab.intervals import crossed, ratio
from stylepack.lab.study import plans
from stylepack.lab.study.blends import MixObjective
from stylepack.lab.study.compare import parts_of, spread
from stylepack.lab.study.interpolate import InterpolateStudy, between
from stylepack.lab.study.materials import Request
from stylepack.lab.study.networks import StudyNetwork, share_block_norms
from stylepack.lab.study.plans import InterpolatePlan
from stylepack.lab.study.texture import Synthesis, cumulative
from stylepack.library.resolve import resolve
from stylepack.losses.objective import Objective
from stylepack.losses.weights import WeightSource, load_loss_network
from stylepack.network.trunk import Trunk
from stylepack.packs.mix import grid, inverse_distance, unnormalised
from stylepack.packs.trunk_file import load_trunk
from stylepack.recipe import Recipe
from stylepack.training.dataset import Batches, PhotoFolder
from stylepack.training.reports.charts import draw_losses
from stylepack.training.reports.losses_csv import History

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """--quick at a smaller scale yet."""
    for plan, changes in {
        plans.LossesPlan: {"updates": 4, "readouts": 2, "photographs": 2},
        plans.ComparePlan: {
            "styles": 2,
            "updates": 2,
            "photographs": 2,
            "new_style_updates": 2,
            "new_style_readouts": 2,
        },
        plans.ReconstructPlan: {"side": 32, "updates": 6},
        plans.InterpolatePlan: {
            **{"cell": 48, "steps": 2, "alphas": 3, "photographs": 2, "side": 48},
            **{"mixes": 3, "mix_updates": 2},
        },
    }.items():
        monkeypatch.setitem(plans.QUICK, plan, {**plans.QUICK[plan], **changes})
    small = {"crop": 32, "photo_side": 48, "style_side": 48, "batch": 2, "warmup": 2}
    monkeypatch.setattr(plans, "QUICK_RECIPE", small)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    """Four small paintings, two of them named like bundled packs."""
    folder = tmp_path / "gallery"
    folder.mkdir()
    for seed, name in enumerate(("dawn", "noon", "scream", "starry")):
        picture(64, 56, 200 + seed).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def material(gallery: Path, photos: Path, vgg_file: Path) -> list[str]:
    return [
        *("--quick", "--styles", str(gallery), "--photos", str(photos)),
        *("--vgg-weights", str(vgg_file), "--device", "cpu"),
    ]


@pytest.fixture
def reconstruct(gallery: Path, vgg_file: Path) -> list[str]:
    return [
        *("study", "reconstruct", "--quick", "--styles", str(gallery), "--device", "cpu"),
        *("--loss-network", "vgg19", "--vgg-weights", str(vgg_file), "--layers", "conv1_1,conv2_1"),
    ]


@pytest.fixture
def seed_recipe(tmp_path: Path) -> list[str]:
    """The report's recipe on the VGG-19 that the tests have."""
    path = tmp_path / "seed.toml"
    layers = 'style_layers = ["relu1_2", "relu2_2", "relu3_3"]'
    path.write_text(f'base = "seed"\nloss_network = "vgg19"\n{layers}\n')
    return ["--as-published", "--recipe", str(path)]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def results(folder: Path) -> dict:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["results"]


def check_report(folder: Path) -> str:
    """The report's text; all that it embeds is there, and all that is there is embedded."""
    text = (folder / "report.md").read_text(encoding="utf-8")
    embedded = set(re.findall(r"!\[[^]]*\]\(([^)]+)\)", text))
    assert embedded == {path.name for path in folder.glob("*.png")}
    for name in embedded:
        with Image.open(folder / name) as figure:
            assert len(figure.convert("RGB").getcolors(1 << 20)) > 3
    assert not list(folder.rglob("*.part"))
    return text


def test_losses_compares_the_ways_to_select_styles(
    material: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert stylepack(["study", "losses", *material, "-o", str(out)]) == 0
    assert capsys.readouterr().out == f"{out / 'report.md'}\n"
    text = check_report(out)
    assert "4 styles (dawn, noon, scream, starry), 4 updates of 2 crops" in text
    assert "on 1 held-out photograph, the same" in text
    assert "interval" not in text
    trained = rows(out / "losses.csv")
    assert len(trained) == 3 * 4 * 2
    turns = [row["style"] for row in trained if row["selection"] == "sequence"]
    assert sorted(turns) == [name for name in ("dawn", "noon", "scream", "starry") for _ in "ab"]
    measured = rows(out / "held-out.csv")
    assert len(measured) == 3 * 3 * 4 * 1  # selections, moments, styles, one photograph of six
    told = results(out)["final"]["random"]["noon"]["style"]["mean"]
    (last,) = [
        row["style_loss"]
        for row in measured
        if (row["selection"], row["update"], row["style"]) == ("random", "4", "noon")
    ]
    assert float(last) == pytest.approx(told)


def test_losses_as_published_takes_styles_in_turn_with_one_norm_a_block(
    material: list[str], seed_recipe: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert stylepack(["study", "losses", *material, *seed_recipe, "-o", str(out)]) == 0
    assert "As published" in check_report(out)
    turns = [row["style"] for row in rows(out / "losses.csv")]
    assert sorted(turns[::2]) == ["dawn", "noon", "scream", "starry"]
    settings = json.loads((out / "study.json").read_text())["settings"]
    assert settings["block_norms"] == 1
    assert settings["recipe"]["content_weight"] == 1e5


def test_losses_of_a_run_folder_are_drawn_without_training(
    gallery: Path, photos: Path, vgg_file: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text("batch = 2\ncrop = 32\nphoto_side = 48\nstyle_side = 48\nupdates = 6\n")
    run, out = tmp_path / "run", tmp_path / "out"
    material = ["--styles", str(gallery), "--photos", str(photos), "--recipe", str(recipe)]
    train = ["train", *material, "--vgg-weights", str(vgg_file), "--device", "cpu", "-o", str(run)]
    assert stylepack(train) == 0
    assert stylepack(["study", "losses", "--run", str(run), "-o", str(out)]) == 0
    check_report(out)
    assert "dawn" in results(out)["last_batch"]
    assert stylepack(["study", "losses", "--run", str(photos), "-o", str(tmp_path / "no")]) == 1


def test_compare_reads_both_sides_fairly_and_as_the_report_did(
    material: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert stylepack(["study", "compare", *material, "-o", str(out)]) == 0
    text = check_report(out)
    assert "2 styles (dawn, noon), 2 updates, 2 seeds" in text
    assert "The style scream, held out" in text
    assert text.count("10,000 resamples of the seeds.") == 3
    assert "One batch of the first seed's networks" in text
    told = results(out)
    moments = {name: one["updates"] for name, one in told["held_out"].items()}
    assert moments == {
        "the report's: equal updates per network": {"shared": 2, "single": 2},
        "equal updates in total": {"shared": 2, "single": 1},
        "equal updates per style": {"shared": 4, "single": 2},
    }
    measured = rows(out / "compare.csv")
    sides = {
        side: [
            float(row["style_loss"])
            for row in measured
            if (row["network"], row["updates"]) == (side, updates)
            and row["style"] in ("dawn", "noon")
        ]
        for side, updates in (("shared", "4"), ("single", "2"))
    }
    fair = told["held_out"]["equal updates per style"]["style"]["ratio"]["mean"]
    assert np.mean(sides["shared"]) / np.mean(sides["single"]) == pytest.approx(fair, rel=1e-4)
    costs = told["costs"]
    trunk, _ = load_trunk(out / "networks" / "shared-0" / "trunk.safetensors")
    weights, style = sum(p.numel() for p in trunk.parameters()), trunk.config.style_size
    assert costs["shared"]["parameters"] == weights + 2 * style
    assert costs["single"]["parameters"] == 2 * (weights + style)
    assert 1.9 < costs["single"]["bytes"] / costs["shared"]["bytes"] < 2
    assert costs["shared"]["updates"] == costs["single"]["updates"] == 4
    assert list(told["new_style"]["added"]) == ["0", "1", "2"]


def test_compare_as_published_reads_one_batch_and_nothing_else(
    material: list[str], seed_recipe: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert stylepack(["study", "compare", *material, *seed_recipe, "-o", str(out)]) == 0
    check_report(out)
    told = results(out)
    assert told.keys() == {"last_batch", "costs"}
    history = rows(out / "networks" / "shared-0" / "losses.csv")
    last = [float(row["style_loss"]) for row in history if row["style"] == "noon"]
    assert told["last_batch"]["shared"]["noon"]["style"] == pytest.approx(np.mean(last), rel=1e-5)
    assert told["costs"]["shared"]["updates"] == 2


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_reconstruct_lowers_tau(material: list[str], tmp_path: Path, optimizer: str) -> None:
    out = tmp_path / "out"
    own = [word for word in material if word != "--photos"]
    own.pop(own.index("--vgg-weights") - 1)
    layers = ["--layers", "conv1_1,conv2_1,conv3_1", "--optimizer", optimizer]
    assert stylepack(["study", "reconstruct", *own, *layers, "-o", str(out)]) == 0
    assert "conv3_1" in check_report(out)
    told = results(out)
    assert told["layers"] == ["conv1_1", "conv2_1", "conv3_1"]
    for n in (1, 2, 3):
        one = told[f"tau_{n}"]
        assert one["final"] < sum(one["phis"][0][:n])
        assert one["shown"] == pytest.approx(one["final"], rel=0.05)
        with Image.open(out / "images" / f"tau-{n}.png") as image:
            assert image.size == (32, 32)
    assert told["tau_1"]["phis"][0] == told["tau_3"]["phis"][0]  # the same noise
    assert len(rows(out / "phi.csv")) == sum(
        3 * len(told[f"tau_{n}"]["updates"]) for n in (1, 2, 3)
    )


def test_reconstruct_says_what_its_recipe_measures(
    reconstruct: list[str], seed_recipe: list[str], tmp_path: Path
) -> None:
    def text(*words: str) -> str:
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        assert stylepack([*reconstruct, "--updates", "1", *words, "-o", str(out)]) == 0
        return check_report(out)

    corrected = text()
    assert "phi_i = ||G - A||^2 / ||A||^2" in corrected
    assert "Corrected: each phi is relative to its target" in corrected
    assert re.search(r"deviation is 12\d\.\d of 255 as drawn and (89|90)\.\d at", corrected)
    published = text(*seed_recipe)
    assert "the mean square of G - A, the Gram matrices divided by C H W" in published
    assert "As published: the layers' phi are summed unscaled" in published
    assert "deviation is" not in published
    assert "||A||^2" in text("--as-published", "--recipe", "default")
    pixels = text("--recipe", "dumoulin")
    assert "divided by H W." in pixels
    assert "Corrected: the layers' phi are summed unscaled" in pixels


def test_a_layer_that_the_weights_do_not_reach_is_refused_by_name(
    gallery: Path, vgg_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, short = tmp_path / "out", tmp_path / "short.safetensors"
    whole = load_file(vgg_file)
    save_file({k: t for k, t in whole.items() if int(k.split(".")[1]) < 19}, short)  # block 4's
    vgg_file = short
    command = ["study", "reconstruct", "--styles", str(gallery), "--vgg-weights", str(vgg_file)]
    assert stylepack([*command, "--quick", "-o", str(out)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "does not reach conv4_1" in error
    assert len(error.splitlines()) == 1
    assert not out.exists()
    weights = ["--loss-network", "vgg19", "--vgg-weights", str(vgg_file)]
    for study in ("losses", "compare"):  # the report's relu4_3
        published = ["study", study, "--as-published", "--styles", str(gallery), *weights]
        assert stylepack([*published, "-o", str(out)]) == 2
        assert "does not reach conv4_1" in capsys.readouterr().err
        assert not out.exists()
    assert stylepack([*command, "--layers", "conv1_9", "-o", str(out)]) == 2
    assert "vgg19 has no layer 'conv1_9'" in capsys.readouterr().err


def test_interpolate_sweeps_from_one_pack_to_the_other(material: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert stylepack(["study", "interpolate", *material, "--limit", "1", "-o", str(out)]) == 0
    assert "towards starry" in check_report(out)
    told = results(out)
    assert told["grid"][0][0] == {"starry": 1}
    assert told["sweep"]["alphas"] == [0, 0.5, 1]
    assert [float(row["style_scream"]) for row in rows(out / "sweep.csv")] == pytest.approx(
        [figure["mean"] for figure in told["sweep"]["scream"]], rel=1e-5
    )


def test_interpolate_measures_trained_and_equal_mixes_like_the_sweep(
    material: list[str], gallery: Path, tmp_path: Path
) -> None:
    shutil.copy(gallery / "dawn.png", gallery / "wave.png")
    out = tmp_path / "out"
    assert stylepack(["study", "interpolate", *material, "--limit", "1", "-o", str(out)]) == 0
    assert "trained for the mix" in check_report(out)
    told = results(out)
    sweep, equal, mixes = told["sweep"], told["equal"], told["mixes"]
    assert [list(mix) for mix in equal] == [["content", "starry", "scream", "wave"]] * 3
    for n, alpha in ((1, 0), (2, 1)):  # starry alone, then both alike
        assert equal[n - 1]["scream"] == sweep["scream"][alpha]
    assert mixes["alphas"] == [0, 0.5, 1]
    for point, blend, trained in zip(range(3), mixes["blend"], mixes["trained"], strict=True):
        for name in ("starry", "scream"):
            assert blend[f"style_{name}"]["mean"] == pytest.approx(sweep[name][point]["mean"])
        assert trained["total"]["mean"] < blend["total"]["mean"]


def test_the_loss_of_a_mix_is_the_mean_of_its_paintings_losses() -> None:
    recipe = Recipe(loss_network="bundled", style_side=48, crop=48)
    network = load_loss_network(recipe, WeightSource(), CPU, torch.float32)
    generator = torch.Generator().manual_seed(0)
    dawn, noon, *rest = torch.rand(6, 3, 48, 48, generator=generator)
    painted, photos = torch.stack(rest).chunk(2)
    apart = Objective(network, recipe, [dawn, noon])
    mixed = MixObjective(network, recipe, [dawn, noon], (0.25, 0.75))
    a, b = (apart(painted, photos, torch.full((2,), index)) for index in (0, 1))
    terms = mixed(painted, photos, torch.tensor([0, 1]))
    assert terms.total.item() == pytest.approx(0.25 * a.total.item() + 0.75 * b.total.item())
    torch.testing.assert_close(terms.style, 0.25 * a.style + 0.75 * b.style)
    torch.testing.assert_close(terms.content, a.content)


def test_interpolate_as_published_says_how_many_photographs_it_took(
    gallery: Path, vgg_file: Path, tmp_path: Path
) -> None:
    words = ["--as-published", "--limit", "2", "--quick", "--styles", str(gallery)]
    words += ["--vgg-weights", str(vgg_file), "--recipe", "default", "--device", "cpu"]
    assert stylepack(["study", "interpolate", *words, "-o", str(tmp_path / "out")]) == 0
    assert "The sweep is on 2 photographs." in check_report(tmp_path / "out")


def test_interpolate_paints_a_grid_with_what_is_bundled(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--quick", "--corners", "wave,scream,starry", "--steps", "3", "-o", str(out)]
    assert stylepack(["study", "interpolate", *words]) == 0
    assert "give them with `--styles DIR`" in check_report(out)
    cells = [cell for row in results(out)["grid"] for cell in row]
    assert len(cells) == 9
    assert cells[1] == {"wave": 1}  # the first corner is at the top, in the middle
    published = ["study", "interpolate", "--quick", "--as-published", "-o", str(tmp_path / "p")]
    assert stylepack(published) == 0
    assert "The sweep is" not in check_report(tmp_path / "p")
    assert stylepack([*published[:-1], str(tmp_path / "q"), "--corners", "wave,starry"]) == 2


def stop_after(monkeypatch: pytest.MonkeyPatch, pieces: int) -> None:
    """Ctrl-C after so many pieces of work."""
    advance, done = console.Meter.advance, []

    def interrupted(meter: console.Meter, words: str = "", to: int | None = None) -> None:
        advance(meter, words, to)
        done.append(words)
        if len(done) == pieces:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(console.Meter, "advance", interrupted)


def test_a_stopped_study_goes_on_to_the_same_end(
    material: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    command = ["study", "compare", *material, "--seeds", "1", "-o"]
    assert stylepack([*command, str(whole)]) == 0
    for pieces in (1, 4, 3):
        with monkeypatch.context() as patched:
            stop_after(patched, pieces)
            assert stylepack([*command, str(parts)]) == 130
        assert "type the same command to continue" in capsys.readouterr().err
        assert not (parts / "report.md").exists()
    for network in (parts / "networks").iterdir():  # as if it had been killed, not stopped
        if not (network / "packs").exists():
            for checkpoint in network.glob("checkpoint*"):
                checkpoint.unlink()
    assert stylepack([*command, str(parts)]) == 0
    for name in ("compare.csv", "networks/shared-0/losses.csv", "networks/scratch-0/losses.csv"):
        assert (parts / name).read_text() == (whole / name).read_text()


def test_a_finished_study_is_not_done_again_unless_something_is_lost(
    material: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["study", "losses", *material, "--selections", "random", "-o", str(out)]
    assert stylepack(command) == 0
    checkpoint = out / "networks" / "random" / "checkpoint.safetensors"
    before, figure = checkpoint.stat().st_mtime_ns, out / "held-out.png"
    figure.unlink()
    assert stylepack(command) == 0
    assert checkpoint.stat().st_mtime_ns == before
    assert figure.exists()
    table = (out / "held-out.csv").read_text()
    (out / "parts" / "random.json").write_text("{")
    assert stylepack(command) == 1
    assert "delete it to make it again" in capsys.readouterr().err
    (out / "parts" / "random.json").unlink()
    assert stylepack(command) == 0
    assert (out / "held-out.csv").read_text() == table


def test_what_is_lost_of_a_network_is_made_again(
    material: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["study", "compare", *material, "--seeds", "1", "-o", str(out)]
    assert stylepack(command) == 0
    networks, table = out / "networks", (out / "compare.csv").read_text()
    files = (
        networks / "shared-0" / "packs" / "noon.safetensors",
        networks / "single-dawn-0" / "trunk.safetensors",
        networks / "scratch-0" / "losses.csv",
    )
    before = [file.stat().st_size for file in files]
    for file in files:
        file.unlink()
    assert stylepack(command) == 0
    assert [file.stat().st_size for file in files] == before
    shutil.rmtree(networks / "added-0")
    for checkpoint in (networks / "shared-0").glob("checkpoint*"):
        checkpoint.unlink()
    assert stylepack(command) == 1
    assert "shared-0 has lost its checkpoint; delete that folder" in capsys.readouterr().err
    shutil.rmtree(networks / "shared-0")
    shutil.rmtree(out / "parts")
    assert stylepack(command) == 0
    assert (out / "compare.csv").read_text() == table


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


def test_a_network_killed_before_its_last_checkpoint_is_not_finished(
    material: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    command = ["study", "losses", *material, "--selections", "random", "-o"]
    assert stylepack([*command, str(whole)]) == 0
    save, done = StudyNetwork._save, []

    def interrupted(network: StudyNetwork, history: History) -> None:
        done.append(network)
        if len(done) == 3:  # moments 0, 2 and 4
            raise Killed
        save(network, history)

    with monkeypatch.context() as patched:
        patched.setattr(StudyNetwork, "_save", interrupted)
        with pytest.raises(Killed):
            stylepack([*command, str(killed)])
    assert stylepack([*command, str(killed)]) == 0
    for name in ("losses.csv", "held-out.csv"):
        assert (killed / name).read_text() == (whole / name).read_text()


def test_a_lost_image_is_made_again_and_a_damaged_part_told(
    reconstruct: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [*reconstruct, "-o", str(out)]
    assert stylepack(command) == 0
    image, part = out / "images" / "tau-1.png", out / "parts" / "tau-1.json"
    before = image.read_bytes()
    image.unlink()
    assert stylepack(command) == 0
    assert image.read_bytes() == before
    capsys.readouterr()
    for damaged in ("{}", "[]", part.read_text().replace('"phis": [[', '"phis": [[], [')):
        part.write_text(damaged)
        assert stylepack(command) == 1
        assert f"{part} is damaged; delete it to make it again" in capsys.readouterr().err
    part.unlink()
    assert stylepack(command) == 0


def test_a_damaged_part_of_a_network_or_a_sweep_is_told(
    material: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for study, name, wrong in (
        (["losses", "--selections", "random"], "random", ("{}", '{"seconds": 1, "readouts": 2}')),
        (["interpolate", "--limit", "1"], "sweep-0", ("{}", '{"photograph": "a", "losses": [1]}')),
    ):
        out = tmp_path / name
        command = ["study", *study, *material, "-o", str(out)]
        assert stylepack(command) == 0
        for text in wrong:
            (out / "parts" / f"{name}.json").write_text(text)
            assert stylepack(command) == 1
            assert f"{name}.json is damaged; delete it" in capsys.readouterr().err
    (out / "parts" / f"{name}.json").unlink()
    (out / "grid.png").unlink()
    assert stylepack(command) == 0
    check_report(out)


@pytest.mark.parametrize("updates", ["1", "6"])
def test_an_image_that_diverges_is_not_kept(
    reconstruct: list[str], updates: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = [*reconstruct, "--as-published", "--learning-rate", "1e30", "--updates", updates]
    assert stylepack([*command, "-o", str(out)]) == 1
    assert "diverged" in capsys.readouterr().err
    assert not list((out / "parts").iterdir())
    assert not (out / "results.json").exists()


def test_other_settings_are_refused_in_one_line(
    material: list[str], gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["study", "losses", *material, "--selections", "random", "-o", str(out)]
    assert stylepack(command) == 0
    capsys.readouterr()
    assert stylepack([*command, "--updates", "5"]) == 2
    error = capsys.readouterr().err
    assert "was started with updates 4, not 5" in error
    assert len(error.splitlines()) == 1
    assert stylepack([*command, "--batch", "1"]) == 2
    assert "recipe.batch 2, not 1" in capsys.readouterr().err
    assert stylepack(["study", "interpolate", "--quick", "-o", str(out)]) == 2
    capsys.readouterr()
    picture(64, 56, 999).save(gallery / "dawn.png")
    assert stylepack(command) == 2
    assert "paintings.dawn" in capsys.readouterr().err
    (out / "study.json").write_text("[]")
    assert stylepack(command) == 1
    assert "study.json is damaged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["losses"], "give a folder of them with --styles DIR"),
        (["losses", "--selections", "by-hand"], "no selection 'by-hand'"),
        (["losses", "--updates", "0"], "--updates is 0; it must be above 0"),
        (["losses", "--names", "nonesuch", "--styles", "GALLERY"], "no painting 'nonesuch'"),
        (["losses", "--names", "dawn", "--styles", "GALLERY"], "needs at least 2"),
        (["compare", "--names", "dawn,noon", "--styles", "GALLERY"], "needs at least 3"),
        (["reconstruct", "--layers", "conv1_1,conv1_1"], "--layers names conv1_1 twice"),
        (["losses", "--selections", "random,random"], "--selections names random twice"),
        (["losses", "--names", "dawn,noon,dawn"], "--names names dawn twice"),
        (["interpolate", "--corners", "wave,wave"], "--corners names wave twice"),
        (["losses", "--styles", "GALLERY", "--photos", "FEW"], "--photos has 4 photographs; this "),
        (["compare", "--styles", "GALLERY", "--photos", "FEW"], "needs at least 5"),
        (["reconstruct", "--optimizer", "sgd"], "'sgd' is not one of 'adam', 'lbfgs'"),
        (["reconstruct", "--learning-rate", "inf"], "--learning-rate is inf; it must be finite"),
        (["reconstruct", "--learning-rate", "nan"], "--learning-rate is nan; it must be above 0"),
        (["reconstruct", "--seed", "-1"], "--seed is -1; it must be 0 or more"),
        (["losses", "--seed", "-1"], "--seed is -1; it must be 0 or more"),
        (["interpolate", "--limit", "0"], "--limit is 0; it must be above 0"),
        (["reconstruct", "--name", "nonesuch", "--styles", "GALLERY"], "no painting 'nonesuch'"),
        (["interpolate", "--photo", "nowhere.jpg"], "nowhere.jpg"),
        (["interpolate", "--corners", "starry"], "two or more different packs"),
        (["interpolate", "--corners", "starry,nonesuch"], "no pack 'nonesuch'"),
        (
            ["interpolate", "--corners", "wave,scream", "--styles", "GALLERY"],
            "no painting of wave;",
        ),
        (
            ["interpolate", "--corners", "scream,photo", "--styles", "GALLERY"],
            "no painting of photo",
        ),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    wrong: list[str],
    told: str,
    gallery: Path,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for number in (4, 5):
        (photos / f"{number}.jpg").unlink()
    folders = {"GALLERY": str(gallery), "FEW": str(photos)}
    words = [folders.get(word, word) for word in wrong]
    assert stylepack(["study", *words, "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12))
def test_tau_never_falls_with_n(phis: list[float]) -> None:
    taus = cumulative(phis)
    assert all(after >= before for before, after in pairwise(taus))
    assert taus[0] == phis[0]
    assert taus[-1] == pytest.approx(sum(phis))


@pytest.mark.parametrize(("a_step", "updates"), [(0.9995, 300), (0.99999, 51), (1.01, 51)])
def test_synthesis_stops_where_tau_does_not_fall_within_its_patience(
    a_step: float, updates: int
) -> None:
    taus = (a_step**k for k in range(1000))

    def loss(image: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        return next(taus) + 0 * image.sum(dim=(1, 2, 3))

    noise = torch.zeros(1, 3, 2, 2)
    work = Synthesis(
        loss, (), noise, optimizer="adam", learning_rate=0.1, patience=50, bounded=False
    )
    assert len(list(work.steps(300))) == updates


def test_lbfgs_searches_along_a_line_until_its_step_is_long_enough() -> None:
    taken = []

    def loss(image: torch.Tensor, layers: Sequence[str]) -> torch.Tensor:
        taken.append(image)
        return 1e-4 * (image - 1).square().sum(dim=(1, 2, 3))

    noise = torch.zeros(1, 3, 2, 2)
    work = Synthesis(
        loss, (), noise, optimizer="lbfgs", learning_rate=0.1, patience=50, bounded=False
    )
    list(work.steps(1))
    assert len(taken) > 3
    assert work.image.min() > 0.1


@given(st.integers(2, 9), st.integers(2, 9))
def test_the_weights_of_every_cell_sum_to_one(corners: int, steps: int) -> None:
    names = [f"pack{number}" for number in range(corners)]
    cells = [mix for row in grid(names, steps) for mix in row]
    assert len(cells) == (steps if corners == 2 else steps**2)
    for mix in cells:
        assert sum(mix.weights) == pytest.approx(1)
        assert min(mix.weights) > 0


places = st.tuples(st.floats(0, 1), st.floats(0, 1))


@given(places, st.lists(places, min_size=1, max_size=6))
def test_inverse_distance_weights_sum_to_one_anywhere(
    point: tuple[float, float], corners: list[tuple[float, float]]
) -> None:
    weights = inverse_distance(point, corners)
    assert sum(weights) == pytest.approx(1)
    assert min(weights) >= 0
    assert inverse_distance(corners[0], corners)[0] > 0


def test_the_reports_weights_do_not_sum_to_one() -> None:
    middle = unnormalised((0.5, 0.5), ((0, 0), (1, 0), (0, 1), (1, 1)))
    assert sum(middle) == pytest.approx(4 * (1 - 0.5**0.5))
    sums = {round(sum(m.weights), 2) for row in grid("abcd", 5, published=True) for m in row}
    assert 1.0 in sums
    assert max(sums) > 1.1


def test_the_sweeps_ends_are_the_single_packs(tmp_path: Path) -> None:
    request = Request(Recipe(loss_network="bundled"), WeightSource(), CPU)
    study = InterpolateStudy(request, InterpolatePlan(), tmp_path, resolve(InterpolatePlan.corners))
    trunk, _ = load_trunk(BUNDLED_TRUNK)
    photo = torch.rand(1, 3, 24, 32, generator=torch.Generator().manual_seed(0))
    for alpha, name in ((0.0, "starry"), (1.0, "scream")):
        weights = between("starry", "scream", alpha)
        assert weights == {name: 1.0}
        with torch.no_grad():
            alone = trunk(photo.to(torch.float32), study.packs[name].style)
        painted = study.paint(photo, weights)
        torch.testing.assert_close(painted, alone, atol=0.03, rtol=0)  # bfloat16 on some CPUs
    assert between("starry", "scream", 0.25) == {"starry": 0.75, "scream": 0.25}


@given(st.integers(1, 5), st.integers(2, 8), st.integers(0, 2**31))
def test_intervals_hold_their_means(seeds: int, photographs: int, seed: int) -> None:
    values = np.random.default_rng(seed).uniform(1, 2, (seeds, photographs))
    figure = crossed(values)
    assert figure.interval is not None
    assert figure.interval[0] <= figure.mean <= figure.interval[1]
    same = ratio(3 * values, values)
    assert (same.mean, *(same.interval or ())) == pytest.approx((3, 3, 3))


def test_one_norm_a_block_stays_one_norm() -> None:
    trunk = Trunk()
    styles = torch.nn.Parameter(trunk.config.neutral_style().repeat(2, 1))
    share_block_norms(styles, trunk.config)
    adam = torch.optim.Adam([styles], lr=0.1)
    factors = torch.randn(styles.shape, generator=torch.Generator().manual_seed(0))
    for _ in range(3):
        adam.zero_grad()
        (styles * factors).square().sum().backward()
        adam.step()
    first, second = trunk.slots["res2a"], trunk.slots["res2b"]
    assert torch.equal(styles[:, first.gamma], styles[:, second.gamma])
    assert torch.equal(styles[:, first.beta], styles[:, second.beta])
    assert not torch.equal(styles[:, trunk.slots["conv3"].gamma], styles[:, first.gamma])


def test_sequence_gives_every_style_its_turn(photos: Path) -> None:
    recipe = Recipe(updates=7, batch=2, crop=32, photo_side=32, selection="sequence")
    batches = Batches(PhotoFolder.open(photos), recipe, styles=3)
    turns = [batch.styles.tolist() for batch in batches]
    assert turns == [[turn] * 2 for turn in (0, 0, 0, 1, 1, 2, 2)]


def test_moments_are_spread_and_end_at_the_end() -> None:
    assert parts_of(10_000, 5) == (2000, 4000, 6000, 8000, 10_000)
    assert spread(60, 5) == (0, 2, 5, 12, 26, 60)
    assert spread(1, 3) == (0, 1)


def test_a_style_that_was_never_drawn_has_no_curve(tmp_path: Path) -> None:
    history = tmp_path / "losses.csv"
    row = "1,dawn,0.5,0.1,0.2,0.001"
    history.write_text(
        f"update,style,content_loss,style_loss,total_variation,learning_rate\n{row}\n"
    )
    draw_losses(history, tmp_path / "curves.png", ["dawn", "dusk"])
    assert (tmp_path / "curves.png").exists()
