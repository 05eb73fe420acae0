"""A run folder where things go wrong: damage, a full disk, two at once, other photographs."""

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stylepack.cli.main import run as stylepack
from stylepack.errors import StylepackError, TrainingError
from stylepack.files import FolderLock, remove_leftovers, replacing
from stylepack.packs.manifest import SUFFIX
from stylepack.training.checkpoint import NAME, PREVIOUS, load_checkpoint, save_checkpoint
from stylepack.training.dataset import Batch, PhotoFolder
from stylepack.training.held_out import Evaluation
from stylepack.training.reports import losses_csv as history_module
from stylepack.training.reports.charts import draw_losses
from stylepack.training.reports.losses_csv import History
from stylepack.training.run import Run
from stylepack.training.trainer import Step, Trainer


@pytest.fixture
def finished(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run of two updates, a checkpoint after each."""
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "2", "--checkpoint-every", "1"]) == 0
    capsys.readouterr()
    return run


def resume(run: Path, *words: str) -> int:
    return stylepack(["train", "--resume", str(run), *words])


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


@pytest.mark.parametrize("spoil", [cut_off, Path.unlink])
def test_going_on_from_an_older_checkpoint_is_told(
    spoil: Any, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(finished / NAME)
    assert resume(finished) == 0
    said = capsys.readouterr().err
    assert f"{NAME} is damaged or lost; continuing from the one before it, at update 1" in said


def test_a_run_that_has_lost_its_checkpoints_keeps_its_losses(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    losses = (finished / "losses.csv").read_bytes()
    for spoil, told in ((cut_off, "are damaged or lost"), (Path.unlink, "losses up to update 2")):
        for name in (NAME, PREVIOUS):
            spoil(finished / name)
        assert resume(finished) == 1
        said = capsys.readouterr().err
        assert told in said
        assert "put a copy" in said
        assert (finished / "losses.csv").read_bytes() == losses


def test_a_damaged_checkpoint_does_not_take_the_place_of_a_whole_one(tmp_path: Path) -> None:
    for update in (1, 2):
        save_checkpoint(tmp_path, {"update": torch.tensor(update)})
    cut_off(tmp_path / NAME)
    save_checkpoint(tmp_path, {"update": torch.tensor(3)})
    (tmp_path / NAME).unlink()
    assert int(load_checkpoint(tmp_path)["update"]) == 1


def test_a_disk_that_is_full_at_the_end_still_gets_the_trunk_and_its_packs(
    arguments: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(folder: Path, state: dict[str, Tensor], **_: bool) -> None:
        if int(state["update"]):
            with replacing(folder / NAME):
                raise OSError(errno.ENOSPC, "No space left on device")
        save_checkpoint(folder, state)

    monkeypatch.setattr("stylepack.training.run.save_checkpoint", full)
    run = tmp_path / "run"
    assert stylepack([*arguments, str(run), "--updates", "1"]) == 0
    said = capsys.readouterr().err
    assert f"{NAME}: No space left on device; free some space there; the trunk" in said
    assert (run / "trunk.safetensors").exists()
    assert (run / "packs" / f"dawn{SUFFIX}").exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.ENAMETOOLONG, "choose a shorter name"),
        (errno.EISDIR, "choose a name that no folder has"),
        (errno.EACCES, "choose a folder that exists"),
    ],
)
def test_what_cannot_be_written_is_told_with_what_to_do(
    number: int, advice: str, tmp_path: Path
) -> None:
    with pytest.raises(StylepackError, match=advice), replacing(tmp_path / "file"):
        raise OSError(number, os.strerror(number))


def test_a_folder_is_worked_in_by_one_process_at_a_time(
    finished: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import sys; from pathlib import Path; from stylepack.files import FolderLock\n"
        f"held = FolderLock(Path({str(finished)!r})); print(flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdin is not None
    assert other.stdout is not None
    other.stdout.readline()
    assert resume(finished, "--updates", "3") == 1
    assert f"another process is working in {finished}" in capsys.readouterr().err
    other.kill()  # which leaves nothing behind that would have to be removed
    other.wait()
    other.stdin.close()
    other.stdout.close()
    assert resume(finished, "--updates", "3") == 0


def test_a_folder_that_cannot_be_locked_is_worked_in_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = FolderLock(tmp_path)
    with pytest.raises(TrainingError, match="another process"):
        FolderLock(tmp_path)
    first.release()
    FolderLock(tmp_path).release()

    def unknown(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unknown)
    FolderLock(tmp_path)
    FolderLock(tmp_path)


def test_half_written_files_of_killed_processes_are_removed(finished: Path) -> None:
    left = [finished / ".12-1.part", finished / "packs" / f".{os.getpid()}-1.part"]
    others = [finished / ".mine.part", finished / ".12.part"]
    for path in (*left, *others):
        path.touch()
    with replacing(finished / "notes.txt") as at_work:
        assert resume(finished) == 0
        assert at_work.exists()
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)
    remove_leftovers(finished / "nowhere")


def test_other_photographs_are_told(
    finished: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = photos.rename(tmp_path / "moved")
    assert resume(finished, "--photos", str(moved), "--updates", "3") == 0
    assert "photographs that" not in capsys.readouterr().err
    (moved / "0.jpg").rename(moved / "9.jpg")
    assert resume(finished, "--updates", "4") == 0
    assert f"does not have the photographs that {finished} was" in capsys.readouterr().err


def test_fewer_updates_than_there_were_are_refused(
    finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (finished / "run.json").read_bytes()
    assert resume(finished, "--updates", "1") == 2
    assert "is already at update 2; --updates is 1 and must be" in capsys.readouterr().err
    assert (finished / "run.json").read_bytes() == before


def test_another_trunk_to_start_from_comes_too_late(
    finished: Path, tiny_trunk: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert resume(finished, "--start-from", str(finished / "trunk.safetensors")) == 0
    assert "--start-from has no effect" in capsys.readouterr().err


def test_ctrl_c_while_measuring_leaves_the_packs_to_resume(
    finished: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack = finished / "packs" / f"dawn{SUFFIX}"
    pack.unlink()
    whole = Evaluation._measure

    def interrupted(evaluation: Evaluation, image: Tensor) -> None:
        signal.raise_signal(signal.SIGTERM)
        whole(evaluation, image)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluation, "_measure", interrupted)
        assert resume(finished) == 143
    said = capsys.readouterr().err
    assert f"write the packs later with `stylepack train --resume {finished}`" in said
    assert not pack.exists()
    assert resume(finished) == 0
    assert pack.exists()


def test_ctrl_c_while_the_command_is_imported_leaves_no_traceback() -> None:
    code = (
        "import builtins, sys; whole = builtins.__import__\n"
        "def interrupted(name, *more):\n"
        "    if name == 'typer': raise KeyboardInterrupt\n"
        "    return whole(name, *more)\n"
        "builtins.__import__ = interrupted\n"
        "from stylepack.__main__ import main; main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("balance", None),
        ("balance", {"dawn": -3}),
        ("balance", {"dawn": float("nan")}),
        ("starts", [{}]),
        ("starts", [{"date": "", "update": 0, "command": [1]}]),
        ("author", None),
        ("vgg_input", "foo"),
        ("compiled", "x"),
        ("checkpoint_every", 0),
        ("sheet_every", float("inf")),
    ],
)
def test_a_run_json_that_no_run_has_written_is_damaged(
    finished: Path, capsys: pytest.CaptureFixture[str], key: str, value: object
) -> None:
    facts = json.loads((finished / "run.json").read_text())
    (finished / "run.json").write_text(json.dumps(facts | {key: value}))
    assert resume(finished) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "run.json is damaged: " in line


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text there")
def test_names_that_are_no_text_are_taken_as_they_are(
    arguments: list[str],
    photos: Path,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
) -> None:
    (photos / "0.jpg").rename(photos / os.fsdecode(b"caf\xe9.jpg"))
    run = tmp_path / os.fsdecode(b"r\xe9")
    assert stylepack([*arguments, str(run), "--updates", "1"]) == 0
    assert b"r\xe9" in (run / "README.md").read_bytes()
    assert resume(run, "--updates", "2") == 0
    assert capsysbinary.readouterr().out == 2 * (os.fsencode(run / "trunk.safetensors") + b"\n")


@pytest.mark.parametrize("group", [1, 2])  # as on a CPU, and as on CUDA, where it is larger
def test_an_error_keeps_what_was_learned_before_it(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: int
) -> None:
    step = Trainer.step

    def fail(trainer: Trainer, batch: Batch) -> Any:
        trainer.group = group
        if trainer.update == 3:
            raise TrainingError("not one of the photographs can be read")
        return step(trainer, batch)

    run = tmp_path / "run"
    with monkeypatch.context() as during:
        during.setattr(Trainer, "step", fail)
        assert stylepack([*arguments, str(run), "--updates", "5"]) == 1
    assert int(load_checkpoint(run)["update"]) == 3
    assert History(run, []).last_update() == 3
    assert resume(run) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_wish_to_stop_in_the_last_update_is_heard(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    step = Trainer.step

    def then_stop(trainer: Trainer, batch: Batch) -> Any:
        if trainer.update == 1:
            signal.raise_signal(number)
        return step(trainer, batch)

    run = tmp_path / "run"
    with monkeypatch.context() as during:
        during.setattr(Trainer, "step", then_stop)
        assert stylepack([*arguments, str(run), "--updates", "2"]) == 128 + number
    assert f"to write the packs: `stylepack train --resume {run}`" in capsys.readouterr().err
    assert not (run / "packs").exists()
    assert resume(run) == 0
    assert (run / "packs" / f"dawn{SUFFIX}").exists()


def test_a_run_that_another_has_begun_in_the_meantime_is_not_overwritten(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, take = tmp_path / "run", Run._take_folder

    def after_another(mine: Run) -> None:
        monkeypatch.setattr(Run, "_take_folder", take)
        assert stylepack([*arguments, str(run), "--updates", "1"]) == 0
        take(mine)

    monkeypatch.setattr(Run, "_take_folder", after_another)
    assert stylepack([*arguments, str(run), "--updates", "1"]) == 2
    assert int(load_checkpoint(run)["update"]) == 1


def test_losses_that_could_not_be_cut_off_are_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(tmp_path, ["dawn"])
    history.cut(0)
    for update in range(1, 5):
        history.add(Step(update, [0], [1.0], [1.0], [1.0], 1.0, 1.0))
    history.flush()

    def full(path: Path) -> Any:
        raise StylepackError("no space left")

    with monkeypatch.context() as during:
        during.setattr(history_module, "replacing", full)
        with pytest.raises(StylepackError):
            history.cut(2)
    assert history.last_update() == 4
    history.add(Step(3, [0], [2.0], [1.0], [1.0], 1.0, 1.0))
    history.flush()
    found = [row[:3] for row in history_module.read_rows(history.path)]
    assert found == [["1", "dawn", "1"], ["2", "dawn", "1"], ["3", "dawn", "2"]]


def test_a_plot_passes_over_half_a_row(finished: Path) -> None:
    with (finished / "losses.csv").open("a") as file:
        file.write("3,dawn,0.1")
    before = (finished / "losses.png").read_bytes()
    draw_losses(finished / "losses.csv", finished / "again.png")
    assert (finished / "again.png").read_bytes() == before


def test_the_few_photographs_that_can_be_read_serve_for_both(photos: Path) -> None:
    for path in sorted(photos.iterdir())[2:]:
        path.write_bytes(b"nothing")
    for index in range(30):
        (photos / f"broken{index}.jpg").write_bytes(b"nothing")
    learned, held_out = PhotoFolder.open(photos).split()
    assert learned.paths == held_out.paths == [photos / "0.jpg", photos / "1.jpg"]
    assert len(learned.journal.skipped) == 34
