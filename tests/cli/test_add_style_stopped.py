"""`stylepack add-style` after Ctrl-C: nothing that was learned is lost."""

import signal
from collections.abc import Generator
from pathlib import Path

import pytest
import torch
from conftest import picture

from stylepack.cli import console
from stylepack.cli.main import run as stylepack
from stylepack.events import Event
from stylepack.library.shelf import shelf
from stylepack.packs.manifest import read_manifest
from stylepack.training.finetune import Finetune
from stylepack.training.held_out import Evaluation
from stylepack.training.trainer import Step


@pytest.fixture
def command(
    tmp_path: Path, photos: Path, vgg_file: Path, tiny_trunk: tuple[Path, str]
) -> list[str]:
    recipe = tmp_path / "small.toml"
    recipe.write_text("batch = 2\ncrop = 32\nphoto_side = 40\nstyle_side = 48\n")
    picture(80, 64, 7).save(tmp_path / "dream.png")
    return [
        *("add-style", str(tmp_path / "dream.png"), "--photos", str(photos), "--device", "cpu"),
        *("--vgg-weights", str(vgg_file), "--recipe", str(recipe), "--updates", "6"),
        *("--trunk", str(tiny_trunk[0])),
    ]


@pytest.fixture
def stopped_at_two(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Signals that arrive at the second update, once each."""
    waiting = [signal.SIGINT]
    train = Finetune.train

    def stopped(work: Finetune) -> Generator[Event]:
        for event in train(work):
            if isinstance(event, Step) and event.update == 2 and waiting:
                signal.raise_signal(waiting.pop())
            yield event

    monkeypatch.setattr(Finetune, "train", stopped)
    return waiting


def test_before_there_is_a_style_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(work: Finetune) -> Generator[Event]:
        signal.raise_signal(signal.SIGINT)
        yield from ()

    monkeypatch.setattr(Finetune, "first_version", interrupted)
    picture(80, 64, 7).save(tmp_path / "dream.png")
    assert stylepack(["add-style", str(tmp_path / "dream.png"), "--device", "cpu"]) == 130
    assert "before there was a style to keep; the same command" in capsys.readouterr().err
    assert "dream" not in shelf()


def unfinished(home: Path) -> Path:
    return home / "unfinished" / "dream.safetensors"


def test_without_a_terminal_it_is_kept_and_the_commands_are_named(
    command: list[str], stopped_at_two: list[int], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(command) == 130
    said = capsys.readouterr().err
    assert "dream" not in shelf()
    assert read_manifest(unfinished(home)).train["updates"] == 2
    assert "kept 'dream' after 2 of 6 updates" in said
    assert f"stylepack packs install {unfinished(home)}" in said
    again = next(line for line in said.splitlines() if line.startswith("continue learning: "))
    words = again.removeprefix("continue learning: stylepack ").split()
    assert {*command} - {"--device", "cpu"} <= {*words}
    assert stylepack([*words, "--device", "cpu"]) == 0
    assert "continuing after 2 updates" in capsys.readouterr().err
    assert read_manifest(shelf()["dream"].path).train["updates"] == 8  # six more: not too few
    assert not unfinished(home).exists()


@pytest.mark.parametrize("answer", [True, False])
def test_on_a_terminal_it_asks_whether_to_install(
    command: list[str],
    stopped_at_two: list[int],
    home: Path,
    answer: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(console, "can_ask", lambda: True)
    monkeypatch.setattr(console, "ask", lambda question: asked.append(question) or answer)
    assert stylepack(command) == (0 if answer else 130)
    assert asked == ["Install 'dream' as it is?"]
    assert ("dream" in shelf()) == answer
    assert unfinished(home).exists() != answer
    assert "continue learning: stylepack add-style" in capsys.readouterr().err
    if answer:
        assert read_manifest(shelf()["dream"].path).metrics["style"] > 0


def test_a_scheduler_is_not_asked(
    command: list[str], stopped_at_two: list[int], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_at_two[:] = [signal.SIGTERM]
    monkeypatch.setattr(console, "can_ask", lambda: True)
    monkeypatch.setattr(console, "ask", lambda question: pytest.fail(question))
    assert stylepack(command) == 128 + signal.SIGTERM
    assert unfinished(home).exists()


def test_a_style_is_kept_when_measuring_it_is_interrupted(
    command: list[str], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: Evaluation) -> Generator[Event]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Evaluation, "measure", interrupted)
    assert stylepack(command) == 130
    assert read_manifest(unfinished(home)).train["updates"] == 6


def test_resuming_starts_from_the_style_that_was_kept(
    command: list[str], stopped_at_two: list[int], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stylepack.packs.pack import load_pack

    assert stylepack(command) == 130
    starts = []

    def note(work: Finetune) -> Generator[Event]:
        starts.append((work.best[0].clone(), work.trunk.config))
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Finetune, "train", note)
    assert stylepack([*command, "--resume"]) == 130
    ((start, config),) = starts
    assert torch.equal(start, load_pack(unfinished(home), config).style)


def test_resume_refuses_what_is_not_there_or_another_painting(
    command: list[str],
    stopped_at_two: list[int],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert stylepack([*command, "--resume"]) == 2
    assert "there is no unfinished style 'dream'" in capsys.readouterr().err
    assert stylepack(command) == 130
    picture(80, 64, 8).save(tmp_path / "dream.png")
    assert stylepack([*command, "--resume"]) == 2
    assert "was learned from another picture" in capsys.readouterr().err
    assert stylepack([*command, "--resume", "--preview"]) == 2
    assert "leave out --resume" in capsys.readouterr().err


def test_the_meter_expects_what_is_planned(
    command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    totals: list[int] = []
    monkeypatch.setattr(console.Meter, "expect", lambda meter, total: totals.append(total))
    train = Finetune.train

    def hurried(work: Finetune) -> Generator[Event]:
        for event in train(work):
            if isinstance(event, Step) and event.update == 1:
                work.trainer.planned = 3
            yield event

    monkeypatch.setattr(Finetune, "train", hurried)
    assert stylepack(command) == 0
    assert totals[:3] == [3, 3, 3]
