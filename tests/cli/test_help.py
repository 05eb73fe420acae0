"""Help screens fit a terminal of 80 columns."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from stylepack.cli.main import app
from stylepack.cli.main import run as stylepack


def commands(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield words
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*words, name))


EVERY = list(commands(typer.main.get_command(app)))


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def screen(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> str:
    assert stylepack([*words, "--help"]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_screen_fits_and_names_no_types(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    shown = screen(words, capsys)
    options, _, examples = shown.partition("\nExamples\n")
    assert max(map(len, shown.splitlines())) <= 80
    assert not re.search(r"<|> |\bbool|\brange", options)
    if not hasattr(command_of(words), "commands"):
        lines = [line for line in examples.splitlines() if line.strip()]
        assert len(lines) == 2
        command = f"stylepack {' '.join(words)}"
        assert all(f"{line.strip()} ".startswith(f"{command} ") for line in lines)


def command_of(words: tuple[str, ...]) -> Any:
    command = typer.main.get_command(app)
    for name in words:
        command = command.commands[name]  # type: ignore[attr-defined]
    return command


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_examples_have_options_that_exist(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for example in screen(words, capsys).partition("\nExamples\n")[2].splitlines():
        command = command_of(words)
        for word in example.split()[1 + len(words) :]:  # the commands of a group
            if word not in getattr(command, "commands", {}):
                break
            command = command.commands[word]
        known = {name for one in command.params for name in one.opts}
        assert {word for word in example.split() if re.fullmatch(r"--?[a-z].*", word)} <= known


def test_apply_fits_one_screen_in_panels(capsys: pytest.CaptureFixture[str]) -> None:
    shown = screen(("apply",), capsys)
    assert len(shown.splitlines()) < 45
    panels = [line for line in shown.splitlines() if re.fullmatch(r"[A-Z][a-z ]+", line)]
    assert panels == ["Style", "Output", "Many files", "Clips", "Advanced", "Examples"]
    assert "--style PACK         A pack, by name or file." in shown
    assert "--quality N          For JPEG, WebP, AVIF and HEIC, 1 to 100. (default: 95)" in shown


def test_commands_stand_in_panels(capsys: pytest.CaptureFixture[str]) -> None:
    shown = screen((), capsys)
    research = shown[shown.index("Research") :]
    assert "study" in research
    assert "distill" in research
    assert "apply" not in research
    assert shown.index("Paint") < shown.index("Learn styles") < shown.index("Research")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["packs", "uninstall", "dusk"], "'remove'"),
        (["packs", "uninstal", "dusk"], "'remove'"),
        (["packs", "add", "dusk"], "'install'"),
        (["paint", "photo.jpg"], "'apply'"),
        (["appyl", "photo.jpg"], "'apply'"),
    ],
)
def test_other_words_for_a_command_are_answered_with_it(
    words: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(words) == 2
    assert f"Did you mean {meant}?" in capsys.readouterr().err


def test_both_spellings_of_colours_are_accepted() -> None:
    for command in ("apply", "gallery"):
        names = {name for one in command_of((command,)).params for name in one.opts}
        assert {"--keep-colors", "--keep-colours"} <= names
