"""Training as a whole, small: a run folder from start to packs, stopped and resumed."""

import csv
import errno
import io
import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import picture
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from stylepack.cli.main import run as stylepack
from stylepack.errors import StylepackError, TrainingError
from stylepack.network.trunk import Trunk, TrunkConfig
from stylepack.packs.manifest import read_manifest
from stylepack.packs.pack import load_pack
from stylepack.packs.trunk_file import load_trunk
from stylepack.recipe import RECIPES, Recipe
from stylepack.training.checkpoint import (
    NAME,
    PREVIOUS,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from stylepack.training.held_out import Evaluation
from stylepack.training.reports.losses_csv import History
from stylepack.training.run import Run
from stylepack.training.settings import RunSettings
from stylepack.training.trainer import Step, Trainer


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_ends_in_a_trunk_and_a_pack_for_every_painting(
    arguments: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run)]) == 0
    trunk, digest = load_trunk(run / "trunk.safetensors")
    assert {tensor.dtype for tensor in load_file(run / "trunk.safetensors").values()} == {
        torch.float16
    }
    packs = {path.stem: load_pack(path, trunk.config) for path in (run / "packs").iterdir()}
    assert packs.keys() == {"dawn", "dusk-over-sea", "photo"}
    for pack in packs.values():
        manifest = pack.manifest
        assert manifest.trunk_sha256 == digest
        assert manifest.metrics["content"] > 0
        assert manifest.metrics["photographs"] == 1
        assert manifest.train["updates"] == 4
        assert manifest.thumbnail.startswith("data:image/jpeg;base64,")
    assert packs["dawn"].manifest.style_image["artist"] == "A. Painter"
    assert packs["photo"].manifest.metrics["style"] == 0
    assert not torch.equal(packs["dawn"].style, packs["dusk-over-sea"].style)
    assert sorted(p.name for p in (run / "sheets").glob("*.png")) == ["000002.png", "000004.png"]
    assert (run / "losses.png").exists()
    assert (run / "progress.png").exists()
    assert [int(row["update"]) for row in rows(run)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert json.loads((run / "run.json").read_text())["recipe"]["crop"] == 32
    assert "crop = 32" in (run / "recipe.toml").read_text()


def test_the_identity_style_takes_the_photographs_own_contrast(
    arguments: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "1"]) == 0
    shares = {path.stem: read_manifest(path).own_contrast for path in (run / "packs").iterdir()}
    assert shares == {"dawn": 0.0, "dusk-over-sea": 0.0, "photo": 1.0}


def test_balance_weighs_single_paintings_and_packs_say_so(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--balance", "dawn=4", "--style-weight", "3"]) == 0
    weights = {
        path.stem: read_manifest(path).train["style_weight"] for path in (run / "packs").iterdir()
    }
    assert weights == {"dawn": 12.0, "dusk-over-sea": 3.0, "photo": 0.0}
    assert stylepack([*arguments, str(tmp_path / "other"), "--balance", ""]) == 2
    assert "--balance is empty" in capsys.readouterr().err
    assert stylepack([*arguments, str(tmp_path / "other"), "--balance", "noon=4"]) == 2
    assert "--balance names 'noon'; the paintings are dawn, dusk-over-sea" in (
        capsys.readouterr().err
    )


def test_a_run_may_start_from_a_trunk_and_its_packs(arguments: list[str], tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert stylepack([*arguments, str(first)]) == 0
    start = ["--start-from", str(first / "trunk.safetensors"), "--learning-rate", "1e-9"]
    assert stylepack([*arguments, str(second), "--updates", "1", *start]) == 0
    before, _ = load_trunk(first / "trunk.safetensors")
    after, _ = load_trunk(second / "trunk.safetensors")
    for name, weight in before.state_dict().items():
        torch.testing.assert_close(after.state_dict()[name], weight, atol=1e-3, rtol=1e-3)
    for name in ("dawn", "photo"):
        packs = [
            load_pack(run / "packs" / f"{name}.safetensors", before.config).style
            for run in (first, second)
        ]
        skip = before.slots["out"].gamma.start if name == "photo" else None
        torch.testing.assert_close(packs[0][:skip], packs[1][:skip], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stops", [[1], [2], [3], [4], [5], [6], [1, 2, 3, 4, 5, 6], [3, 4]])
def test_a_run_stopped_at_any_update_goes_on_to_the_same_bits(
    whole_run: tuple[RunSettings, dict[str, Tensor], list[dict[str, str]]],
    tmp_path: Path,
    stops: list[int],
) -> None:
    settings, expected, losses = whole_run
    cpu, folder = torch.device("cpu"), tmp_path / "parts"
    run = Run.start(folder, settings, cpu)
    for stop in stops:
        steps = run.train()
        while next(steps).update < stop:
            pass
        steps.close()
        run.close()
        run = Run.resume(folder, RunSettings.read(folder), cpu)
        assert run.trainer.update == stop
    assert [step.update for step in run.train()] == list(range(stops[-1] + 1, 8))
    state = load_checkpoint(folder)
    assert state.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(tensor, state[name]), name
    assert rows(folder) == losses
    assert [start["update"] for start in RunSettings.read(folder).starts] == [0, *stops]


@pytest.fixture
def whole_run(
    paintings: Path, photos: Path, vgg_file: Path, tiny_trunk: tuple[Path, str], tmp_path: Path
) -> tuple[RunSettings, dict[str, Tensor], list[dict[str, str]]]:
    """A run that was never stopped: what was asked for, its last state and its losses."""
    recipe = Recipe(
        **{"batch": 3, "crop": 48, "first_crop": 32, "photo_side": 56, "style_side": 48},
        **{"updates": 7, "warmup": 3},
    )
    settings = RunSettings(
        paintings, photos, recipe, vgg_file, start_from=tiny_trunk[0], sheet_every=1000
    )
    folder = tmp_path / "whole"
    run = Run.start(folder, settings, torch.device("cpu"))
    assert len(list(run.train())) == 7
    return settings, load_checkpoint(folder), rows(folder)


def test_a_killed_run_goes_on_to_bit_identical_weights(
    arguments: list[str], tiny_trunk: tuple[Path, str], tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with (tmp_path / "small.toml").open("a") as recipe:
        recipe.write('decay = "none"\n')  # else the rate depends on the number of updates
    arguments[1:1] = ["--start-from", str(tiny_trunk[0]), "--checkpoint-every", "3"]
    process = subprocess.Popen(
        [sys.executable, "-m", "stylepack", *arguments, str(killed), "--updates", "100000"],
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (killed / "sheets" / "000004.png").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    updates = str(int(load_checkpoint(killed)["update"]) + 2)
    assert stylepack(["train", "--resume", str(killed), "--updates", updates]) == 0
    assert stylepack([*arguments, str(whole), "--updates", updates]) == 0
    assert rows(killed) == rows(whole)
    state = load_checkpoint(killed)
    for name, tensor in load_checkpoint(whole).items():
        assert torch.equal(tensor, state[name]), name


def test_a_run_folder_explains_itself(arguments: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "2"]) == 0
    assert stylepack(["train", "--resume", str(run), "--updates", "3"]) == 0
    notes = (run / "README.md").read_text()
    facts = json.loads((run / "run.json").read_text())
    assert "Update 3 of 3" in notes
    assert "1 updates" in notes
    assert "waiting for photographs" in notes
    assert [start["update"] for start in facts["starts"]] == [0, 2]
    for start in facts["starts"]:
        assert start["versions"].keys() >= {"stylepack", "torch", "python"}
        assert start["date"] in notes
    for name, digest in facts["paintings"].items():
        assert f"| {name} | `{digest}` |" in notes
        assert len(digest) == 64
    unknown = set(re.findall(r"`([\w.-]+\.(?:json|csv|png|toml|safetensors))`", notes))
    assert {name for name in unknown if not (run / name).exists()} == set()


def test_a_short_run_is_shown_at_its_end(arguments: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--sheet-every", "100"]) == 0
    assert [path.name for path in (run / "sheets").glob("*.png")] == ["000004.png"]
    assert (run / "losses.png").exists()
    assert (run / "progress.png").exists()


@pytest.mark.parametrize("option", ["--sheet-every", "--checkpoint-every"])
def test_every_0_updates_is_refused(arguments: list[str], tmp_path: Path, option: str) -> None:
    assert stylepack([*arguments, str(tmp_path / "run"), option, "0"]) == 2
    assert not (tmp_path / "run").exists()


def test_pictures_too_narrow_to_be_looked_at_whole_are_named(
    arguments: list[str],
    photos: Path,
    paintings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for index in range(3, 6):  # of three photographs all are measured
        (photos / f"{index}.jpg").unlink()
    Image.new("RGB", (30, 1500)).save(photos / "0.jpg")
    assert stylepack([*arguments, str(tmp_path / "run")]) == 0
    assert "0.jpg has 30x1500 pixels, more than 10 times" in capsys.readouterr().err
    Image.new("RGB", (4000, 3)).save(paintings / "dawn.png")
    assert stylepack([*arguments, str(tmp_path / "other")]) == 1
    assert "dawn.png has 4000x3 pixels" in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (60, 50)])
def test_a_picture_of_one_colour_is_no_painting(
    arguments: list[str],
    paintings: Path,
    tmp_path: Path,
    size: tuple[int, int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGBA", size, (255, 0, 0, 0)).save(paintings / "dawn.png")
    assert stylepack([*arguments, str(tmp_path / "run")]) == 1
    assert "dawn.png has only one colour" in capsys.readouterr().err


def test_a_photograph_too_large_to_be_measured_is_named(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, measured = Evaluation._measure, []

    def measure(evaluation: Evaluation, image: Tensor) -> None:
        measured.append(image)
        if len(measured) == 1:
            evaluation.content[0].append(7.0)
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ...")
        whole(evaluation, image)

    for index in range(6, 20):  # two of them are measured
        picture(64, 56, index).save(tmp_path / "photos" / f"{index}.jpg")
    monkeypatch.setattr(Evaluation, "_measure", measure)
    assert stylepack([*arguments, str(tmp_path / "run")]) == 0
    assert "does not fit into memory to be measured" in capsys.readouterr().err
    for path in (tmp_path / "run" / "packs").iterdir():
        assert read_manifest(path).metrics["photographs"] == len(measured) - 1


def test_ctrl_c_leaves_a_checkpoint_from_which_the_run_goes_on(
    arguments: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-m", "stylepack", *arguments, str(run), "--updates", "100000"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not (run / "sheets" / "000002.png").exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGINT
    assert f"stylepack train --resume {run}" in said
    assert "Traceback" not in said
    done = int(load_checkpoint(run)["update"])
    assert done >= 2
    assert stylepack(["train", "--resume", str(run), "--updates", str(done + 1)]) == 0
    assert read_manifest(run / "packs" / "dawn.safetensors").train["updates"] == done + 1


def test_learning_lowers_the_loss(arguments: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    more = ["--updates", "60", "--learning-rate", "0.003", "--sheet-every", "60"]
    assert stylepack([*arguments, str(run), *more]) == 0
    losses = [
        float(row["content_loss"]) + 5 * float(row["style_loss"])
        for row in rows(run)
        if row["style"] != "photo"
    ]
    tenth = len(losses) // 10
    assert sum(losses[-tenth:]) < 0.8 * sum(losses[:tenth])


def test_photographs_that_do_not_decode_are_named_and_skipped(
    arguments: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes((photos / "0.jpg").read_bytes()[:200])
    assert stylepack([*arguments, str(tmp_path / "run"), "--updates", "8"]) == 0
    said = capsys.readouterr().err
    assert said.count("broken.jpg") == 1


def test_a_painting_among_the_photographs_is_named_and_left_out(
    arguments: list[str],
    photos: Path,
    paintings: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (photos / "copy.png").write_bytes((paintings / "dawn.png").read_bytes())
    assert stylepack([*arguments, str(tmp_path / "run"), "--updates", "1"]) == 0
    assert "copy.png is one of the paintings" in capsys.readouterr().err


def test_a_folder_with_a_run_is_not_trained_over(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "1"]) == 0
    assert stylepack([*arguments, str(run), "--updates", "1"]) == 2
    assert "--resume" in capsys.readouterr().err


def test_resume_takes_new_options_and_a_kill_between_renames_loses_nothing(
    arguments: list[str], photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "2"]) == 0
    (run / NAME).replace(run / PREVIOUS)  # killed after the first of the two renames
    moved = photos.rename(tmp_path / "moved")
    assert stylepack(["train", "--resume", str(run), "--updates", "3"]) == 2
    assert len(rows(run)) == 4
    words = ["--photos", str(moved), "--author", "me", "--updates", "3"]
    assert stylepack(["train", "--resume", str(run), *words]) == 0
    assert [int(row["update"]) for row in rows(run)] == [1, 1, 2, 2, 3, 3]
    assert read_manifest(run / "packs" / "dawn.safetensors").author == "me"
    assert stylepack(["train", "--resume", str(run), "-o", str(tmp_path / "other")]) == 2


def test_a_run_whose_recipe_lacks_a_term_is_refused(arguments: list[str], tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "1"]) == 0
    facts = json.loads((run / "run.json").read_text())
    del facts["recipe"]["similarity_weight"]
    (run / "run.json").write_text(json.dumps(facts))
    with pytest.raises(TrainingError, match=r"run.json is damaged: its recipe lacks similarity"):
        RunSettings.read(run)


def test_damaged_photographs_are_never_held_out(
    arguments: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(5):
        (photos / f"broken{index}.jpg").write_bytes(b"nothing")
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "2"]) == 0
    assert "broken" in capsys.readouterr().err
    assert read_manifest(run / "packs" / "dawn.safetensors").metrics["photographs"] == 1


def test_other_paintings_do_not_go_on_in_a_run(
    arguments: list[str], paintings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "1"]) == 0
    picture(64, 64, 9).save(paintings / "dawn.png")
    assert stylepack(["train", "--resume", str(run), "--updates", "2"]) == 1
    assert "are not those that" in capsys.readouterr().err


@pytest.mark.parametrize("empty", ["--styles", "--photos"])
def test_an_empty_folder_is_refused_and_nothing_is_written(
    arguments: list[str], tmp_path: Path, empty: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "nothing"
    folder.mkdir()
    arguments[arguments.index(empty) + 1] = str(folder)
    assert stylepack([*arguments, str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.strip() == (
        f"error: no images in {folder}; expected files like .jpg or .png"
    )
    assert not (tmp_path / "run").exists()


def test_a_diverging_run_says_so_and_keeps_its_checkpoint(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run)]) == 0
    spoil(run)
    spoil(run)
    before = load_checkpoint(run)
    assert stylepack(["train", "--resume", str(run), "--updates", "9"]) == 1
    assert "with a --learning-rate below 0.0003" in capsys.readouterr().err
    assert "**The run has failed:** the loss is nan" in (run / "README.md").read_text()
    after = load_checkpoint(run)
    assert float(after.pop("rate_scale")) == pytest.approx(0.3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.items())
    assert stylepack(["train", "--resume", str(run), "--updates", "9"]) == 1
    assert "continuing" not in capsys.readouterr().err.replace("continuing from update 4", "", 1)


def spoil(run: Path) -> None:
    """Write a checkpoint with which everything is painted black or white."""
    state = load_checkpoint(run)
    state["weight/style"][:] = 1e30
    save_checkpoint(run, state)


def test_a_run_goes_back_further_where_the_last_checkpoint_is_no_good(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run)]) == 0
    spoil(run)
    words = ["--updates", "6", "--checkpoint-every", "1"]
    assert stylepack(["train", "--resume", str(run), *words]) == 0
    assert capsys.readouterr().err.count("continuing from update 4 at 0.3") == 2
    for name in (NAME, PREVIOUS):  # the one that was no good has not taken the good one's place
        state = read_checkpoint(run / name)
        assert state is not None
        assert state["weight/style"].max() < 1e3
    assert [int(row["update"]) for row in rows(run)] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_weights_that_no_loss_would_be_finite_with_are_not_kept(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    more = ["--checkpoint-every", "1", "--learning-rate", "1e6"]
    assert stylepack([*arguments, str(run), *more]) == 1
    assert "after update 1; no checkpoint is saved" in capsys.readouterr().err
    assert int(load_checkpoint(run)["update"]) == 0
    assert stylepack(["train", "--resume", str(run), "--learning-rate", "1e-3"]) == 0
    # Half of it, in the first of two updates of warm-up: the lower rate was for the other one.
    assert float(rows(run)[0]["learning_rate"]) == pytest.approx(5e-4)


def test_what_the_last_update_has_spoilt_is_not_written(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "1", "--learning-rate", "1e6"]) == 1
    assert "after update 1; continuing from update 0 at 0.3" in capsys.readouterr().err
    assert not (run / "trunk.safetensors").exists()


def test_losses_that_are_wrong_before_anything_is_learned_are_not_the_learning_rates_fault(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, balance = tmp_path / "run", ["--balance", "dawn=1e30,dusk-over-sea=1e30"]
    assert stylepack([*arguments, str(run), "--style-weight", "1e30", *balance]) == 1
    said = capsys.readouterr().err
    assert "at update 1, before the first update" in said
    assert "--style-weight" in said
    assert "continuing" not in said


@pytest.mark.parametrize("at", [1, 2])
def test_a_run_that_diverges_goes_back_once_at_a_lower_rate(
    at: int,
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Trainer._losses
    spoilt = []

    def spoil_once(trainer: Trainer, *given: Any) -> tuple[Tensor, Tensor]:
        total, each = whole(trainer, *given)
        if trainer.update == at and not spoilt and total.requires_grad:
            spoilt.append(trainer.update)
            return total * float("nan"), each * float("nan")
        return total, each

    monkeypatch.setattr(Trainer, "_losses", spoil_once)
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--checkpoint-every", "2"]) == 0
    said = capsys.readouterr().err
    back = at // 2 * 2  # a checkpoint every other update
    assert (
        f"the loss is nan at update {at + 1}; continuing from update {back} at 0.3 of the" in said
    )
    assert [int(row["update"]) for row in rows(run)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert float(load_checkpoint(run)["rate_scale"]) == 0.3
    rates = [float(row["learning_rate"]) for row in rows(run)[::2]]
    assert rates[at] < 0.31 * Recipe().learning_rate


def test_black_and_white_pictures_are_a_divergence(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = Trunk.logits
    monkeypatch.setattr(Trunk, "logits", lambda *given: whole(*given) * 100)
    assert stylepack([*arguments, str(tmp_path / "run")]) == 1
    said = capsys.readouterr().err
    assert "all paintings are black and white at update 1, before the first update" in said


def test_a_full_disk_pauses_checkpoints_and_not_training(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(folder: Path, state: dict[str, Tensor], *, over: bool) -> None:
        if 0 < int(state["update"]) < 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        save_checkpoint(folder, state, over=over)

    monkeypatch.setattr("stylepack.training.run.save_checkpoint", full)
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--checkpoint-every", "1"]) == 0
    said = capsys.readouterr().err
    assert said.count("No space left on device; training continues") == 3
    assert [int(row["update"]) for row in rows(run)] == [1, 1, 2, 2, 3, 3, 4, 4]
    assert int(load_checkpoint(run)["update"]) == 4


def test_losses_that_cannot_be_written_wait_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path, ["dawn"])
    history.cut(0)
    step = Step(1, [0], [0.5], [0.25], [0.125], 1.0, 1e-3)
    history.add(step)
    history.flush()
    before = history.path.read_bytes()
    history.add(replace(step, update=2))

    class FullDisk(io.StringIO):
        def write(self, text: str) -> int:
            with open(history.path, "a") as file:  # noqa: PTH123
                file.write(text[:5])
            raise OSError(errno.ENOSPC, "No space left on device")

    whole_open = Path.open
    with monkeypatch.context() as patch:
        patch.setattr(
            Path,
            "open",
            lambda path, mode="r", **more: (
                FullDisk() if mode == "a" else whole_open(path, mode, **more)
            ),
        )
        with pytest.raises(StylepackError, match=r"losses.csv: No space left .* free some space"):
            history.flush()
    assert history.path.read_bytes() == before
    history.flush()
    assert [row["update"] for row in rows(tmp_path)] == ["1", "2"]


def test_a_kill_at_any_moment_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    code = (
        "import sys, torch; from pathlib import Path\n"
        "from stylepack.training.checkpoint import save_checkpoint\n"
        "for update in range(1, 10**9):\n"
        "    full = torch.full((300_000,), float(update))\n"
        f"    save_checkpoint(Path({str(tmp_path)!r}), "
        "{'update': torch.tensor(update), 'full': full})\n"
        "    print(update, flush=True)\n"
    )
    for attempt in range(4):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(3 + attempt):
            told = int(process.stdout.readline())
        time.sleep(0.003 * attempt)
        process.kill()
        process.wait()
        process.stdout.close()
        state = load_checkpoint(tmp_path)
        assert int(state["update"]) >= told
        assert state["full"].unique().tolist() == [float(state["update"])]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, {"update": torch.tensor(1)})
    save_checkpoint(tmp_path, {"update": torch.tensor(2)})
    assert int(load_checkpoint(tmp_path)["update"]) == 2
    content = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(content[:-3])
    assert int(load_checkpoint(tmp_path)["update"]) == 1
    (tmp_path / PREVIOUS).unlink()
    with pytest.raises(TrainingError, match=re.escape(str(tmp_path / NAME))):
        load_checkpoint(tmp_path)


@pytest.mark.parametrize("preset", RECIPES)
def test_every_preset_trains(preset: str, tmp_path: Path, paintings: Path, photos: Path) -> None:
    from stylepack.images.photo import resized
    from stylepack.losses.objective import Objective
    from stylepack.losses.vgg import INPUT_SCALES, VGG
    from stylepack.recipe import load_recipe
    from stylepack.training.dataset import Batches, PhotoFolder

    small = {"batch": 2, "crop": 32, "photo_side": 40, "style_side": 40, "updates": 2}
    recipe = replace(load_recipe(preset), **small)
    torch.manual_seed(0)
    layers = (*recipe.content_layers, *recipe.style_layers)
    vgg = VGG(recipe.loss_network, layers, next(iter(INPUT_SCALES)))
    for name, buffer in vgg.named_buffers():
        if name.endswith("weight"):
            buffer.normal_(0, (2 / (9 * buffer.shape[1])) ** 0.5)
    pictures = [resized(path, recipe.style_side) for path in sorted(paintings.glob("*.png"))]
    targets = [*pictures, None] if recipe.identity else pictures
    styles = TrunkConfig().neutral_style().repeat(len(targets), 1)
    from stylepack.network.trunk import Trunk

    trainer = Trainer(Trunk(), styles, Objective(vgg, recipe, targets), recipe, frozen=False)
    steps = list(trainer.steps(Batches(PhotoFolder.open(photos), recipe, len(targets))))
    assert [step.update for step in steps] == [1, 2]
    assert not torch.equal(trainer.parameters["style"], styles)
