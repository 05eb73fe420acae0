"""What the README tells people to type is run as it stands there."""

import re
import shutil
from pathlib import Path

import pytest
from conftest import picture

from stylepack.bundled import BUNDLED_PHOTOS
from stylepack.cli.main import app
from stylepack.cli.main import run as stylepack

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


PAGES = [
    README,
    *((ROOT / "docs" / f"{n}.md").read_text("utf-8") for n in ("packs", "make-a-pack")),
]


def commands(pages: list[str] = PAGES[:1]) -> list[str]:
    """Every `stylepack ...` command of these pages, without its comment."""
    lines = "\n".join("\n".join(blocks("bash", page)) for page in pages).splitlines()
    parts = [part.strip() for line in lines for part in line.split("  #")[0].split("&&")]
    return [part for part in parts if part.startswith("stylepack ")]


def test_the_first_command_paints_the_bundled_photograph(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = commands()[0].split()[1:]
    copy = tmp_path / first[1]
    copy.parent.mkdir(parents=True)
    shutil.copy(BUNDLED_PHOTOS / copy.name, copy)
    monkeypatch.chdir(tmp_path)
    assert stylepack(first) == 0
    assert Path("chelsea.starry+scream.png").exists()


def test_the_python_snippet_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    picture(40, 32).save("photo.jpg")
    (snippet,) = blocks("python")
    exec(snippet, {})
    assert Path("out.jpg").exists()


@pytest.mark.parametrize("command", commands(PAGES))
def test_every_command_names_options_that_exist(command: str) -> None:
    words = command.split()[1:]
    stylepack_help = ["--help"]
    group = words[:2] if words[0] in ("packs", "study", "trunks") else words[:1]
    assert stylepack([*group, *stylepack_help]) == 0
    parameters = _parameters(group)
    for word in words:
        if word.startswith("-"):
            assert word in parameters, f"{word} in `{command}`"


def _parameters(group: list[str]) -> set[str]:
    import typer.main

    command = typer.main.get_command(app)
    for name in group:
        command = command.commands[name]  # type: ignore[attr-defined]
    return {option for parameter in command.params for option in parameter.opts}


def test_ci_runs_the_second_command() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    assert "<!-- test -->" in ci
    marked = README.split("<!-- test -->")[1]
    assert marked.split("```bash\n")[1].startswith("pip install '.[test]' && pytest\n")


def test_links_and_pictures_of_the_docs_exist() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
