"""Two processes train one trunk as one would."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from stylepack.cli.main import run as stylepack
from stylepack.errors import UsageError
from stylepack.launchers import Launch
from stylepack.packs.manifest import read_manifest
from stylepack.training.checkpoint import load_checkpoint
from stylepack.training.distributed import Ranks

SMALL = """
batch = 4
crop = 32
photo_side = 48
style_side = 48
updates = 4
warmup = 2
decay = "none"
"""
# bfloat16 would round each process's gradients; in float32 two processes are nearly one.
COMMAND = (
    "import sys, torch; torch.set_num_threads(1)\n"
    "from stylepack.training import trainer, paintings\n"
    "trainer.training_dtype = paintings.training_dtype = lambda device: torch.float32\n"
    "from stylepack.cli.main import main; main()\n"
)


@pytest.fixture
def fresh(
    paintings: Path, photos: Path, vgg_file: Path, tiny_trunk: tuple[Path, str], tmp_path: Path
) -> list[str]:
    """A small training of a tiny trunk, up to the output folder."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(SMALL)
    return [
        *("train", "--styles", str(paintings), "--photos", str(photos), "--recipe", str(recipe)),
        *("--vgg-weights", str(vgg_file), "--start-from", str(tiny_trunk[0])),
        *("--sheet-every", "1000", "--device", "cpu", "-o"),
    ]


def start(*words: str) -> list[subprocess.Popen[str]]:
    """Start a command in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return [
        subprocess.Popen(
            [sys.executable, "-c", COMMAND, *words],
            env={**os.environ, **place, "RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit codes and what was said."""
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_train_as_one_does_and_go_on_together(
    fresh: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (first, said), (second, silence) = ended(start(*fresh, str(two), "--updates", "2"))
    assert (first, second, silence) == (0, 0, ""), said + silence
    assert "2 processes" in said
    both = ended(start("train", "--resume", str(two), "--updates", "4"))
    assert [code for code, _ in both] == [0, 0], both
    for module in ("trainer", "paintings"):
        monkeypatch.setattr(f"stylepack.training.{module}.training_dtype", lambda _: torch.float32)
    assert stylepack([*fresh, str(one)]) == 0
    assert len(rows(one)) == len(rows(two)) == 16
    for ours, theirs in zip(rows(two), rows(one), strict=True):
        assert (ours["update"], ours["style"]) == (theirs["update"], theirs["style"])
        for loss in ("content_loss", "style_loss", "total_variation"):
            assert float(ours[loss]) == pytest.approx(float(theirs[loss]), rel=2e-3), ours
    for name in ("weight/style", "average/trunk.conv1.weight"):
        ours, theirs = load_checkpoint(two)[name], load_checkpoint(one)[name]
        # Where a gradient is next to nothing, its rounding decides which way Adam steps.
        assert (ours - theirs).abs().mean() < 1e-3 * theirs.abs().mean(), name
    assert read_manifest(two / "packs" / "dawn.safetensors").train["updates"] == 4


def under_way(run: Path, fresh: list[str]) -> list[subprocess.Popen[str]]:
    """Two processes that have written a checkpoint and go on for long."""
    both = start(*fresh, str(run), "--updates", "100000", "--checkpoint-every", "1")
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.previous.safetensors").exists():
        assert all(process.poll() is None for process in both), ended(both)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return both


@pytest.mark.parametrize("told", [[1], [0, 1, 0, 1]], ids=["one", "by Slurm and torchrun"])
def test_a_signal_stops_both_processes_with_a_checkpoint(
    told: list[int], fresh: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    both = under_way(run, fresh)
    for rank in told:
        both[rank].send_signal(signal.SIGTERM)
        time.sleep(0.02)  # the same signal twice at one moment would arrive once
    (first, said), (second, _) = ended(both)
    # A signal that comes after all is saved ends a process by itself, which is 143 to shells too.
    assert {first, second} <= {143, -signal.SIGTERM}, said
    assert f"--resume {run}" in said
    assert int(load_checkpoint(run)["update"]) >= 1


def test_a_process_that_dies_ends_the_other_and_the_checkpoint_stays(
    fresh: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    both = under_way(run, fresh)
    both[1].kill()
    (first, said), _ = ended(both)
    assert first == 1
    assert "another process of this training has ended" in said
    assert "Traceback" not in said
    assert int(load_checkpoint(run)["update"]) >= 1


def test_a_batch_that_cannot_be_shared_is_refused(
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert stylepack([*arguments, str(tmp_path / "run"), "--batch", "3"]) == 2
    assert capsys.readouterr().err.strip().endswith("it must be a multiple of 2")
    assert not (tmp_path / "run").exists()


def test_the_environment_numbers_a_process() -> None:
    assert Launch.from_environment({}) == Launch()
    four = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    assert Launch.from_environment(four) == Launch(3, 4, 1, 2)
    assert Launch.from_environment({"RANK": "1", "WORLD_SIZE": "2"}) == Launch(1, 2, 1, 2)
    for wrong in ({"WORLD_SIZE": "2"}, {"RANK": "2", "WORLD_SIZE": "2"}, {**four, "RANK": "x"}):
        with pytest.raises(UsageError, match="torchrun"):
            Launch.from_environment(wrong)


def test_every_process_has_its_own_part_of_a_batch() -> None:
    parts = [range(12)[Ranks(rank, 3).part(12)] for rank in range(3)]
    assert [index for part in parts for index in part] == list(range(12))
    with pytest.raises(UsageError, match="multiple of 3"):
        Ranks(0, 3).part(10)
