"""Two processes train one trunk as one would."""

import csv
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stylepack.cli.main import run as stylepack
from stylepack.errors import UsageError
from stylepack.packs.manifest import read_manifest
from stylepack.training.checkpoint import load_checkpoint
from stylepack.training.launch import Launch
from stylepack.training.ranks import Ranks

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
    "from stylepack.training import trainer, objective\n"
    "trainer.training_dtype = objective.training_dtype = lambda device: torch.float32\n"
    "from stylepack.cli.main import main; main()\n"
)

Start = Callable[..., list[subprocess.Popen[str]]]


@pytest.fixture
def start(
    paintings: Path, photos: Path, vgg_file: Path, tiny_trunk: tuple[Path, str], tmp_path: Path
) -> Start:
    """Start a small training in so many processes: `start(2, "-o", run)`."""
    recipe = tmp_path / "small.toml"
    recipe.write_text(SMALL)
    fresh = [
        *("--styles", str(paintings), "--photos", str(photos), "--recipe", str(recipe)),
        *("--vgg-weights", str(vgg_file), "--start-from", str(tiny_trunk[0])),
        *("--sheet-every", "1000", "--device", "cpu"),
    ]

    def begin(world: int, *words: str) -> list[subprocess.Popen[str]]:
        given = [] if "--resume" in words else fresh
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        names = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        several = {key: str(value) for key, value in names.items()} if world > 1 else {}
        return [
            subprocess.Popen(
                [sys.executable, "-c", COMMAND, "train", *given, *words],
                env={**os.environ, **several, **({"RANK": str(rank)} if world > 1 else {})},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(world)
        ]

    return begin


def ended(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit codes and what was said."""
    said = [process.communicate(timeout=120)[1] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "losses.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_two_processes_train_as_one_does_and_go_on_together(start: Start, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    both = start(2, "-o", str(two), "--updates", "2")
    (first, said), (second, silence) = ended(both)
    assert (first, second, silence) == (0, 0, ""), said + silence
    assert "2 processes" in said
    assert [code for code, _ in ended(start(2, "--resume", str(two), "--updates", "4"))] == [0, 0]
    assert [code for code, _ in ended(start(1, "-o", str(one)))] == [0]
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


def test_a_signal_to_one_process_stops_both_with_a_checkpoint(start: Start, tmp_path: Path) -> None:
    run = tmp_path / "run"
    both = start(2, "-o", str(run), "--updates", "100000", "--checkpoint-every", "1")
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.previous.safetensors").exists():
        assert all(process.poll() is None for process in both), ended(both)
        assert time.monotonic() < deadline
        time.sleep(0.05)
    both[1].send_signal(signal.SIGTERM)
    (first, said), (second, _) = ended(both)
    assert (first, second) == (143, 143), said
    assert f"--resume {run}" in said
    assert int(load_checkpoint(run)["update"]) >= 1


def test_a_process_that_dies_ends_the_other_and_the_checkpoint_stays(
    start: Start, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    both = start(2, "-o", str(run), "--updates", "100000", "--checkpoint-every", "1")
    deadline = time.monotonic() + 120
    while not (run / "checkpoint.previous.safetensors").exists():
        assert all(process.poll() is None for process in both), ended(both)
        assert time.monotonic() < deadline
        time.sleep(0.05)
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
