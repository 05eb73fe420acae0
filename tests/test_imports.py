"""What may be loaded when: the light commands stay light."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def loaded_after(code: str, tmp_path: Path) -> set[str]:
    """Names of the modules in a fresh interpreter after `code`."""
    report = f"{code}\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", report],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "STYLEPACK_HOME": str(tmp_path / "home")},
    )
    return set(done.stderr.split("\n"))


def command(*words: str) -> str:
    return f"from stylepack.cli.main import run; assert run({list(words)!r}) == 0"


@pytest.mark.parametrize(
    "code",
    [
        "import stylepack",
        command("--help"),
        command("--version"),
        command("apply", "--help"),
        command("train", "--help"),
        command("add-style", "--help"),
        command("distill", "--help"),
        command("evaluate", "--help"),
        command("gallery", "--help"),
        command("grid", "--help"),
        command("study", "--help"),
        command("study", "losses", "--help"),
        command("study", "compare", "--help"),
        command("study", "reconstruct", "--help"),
        command("study", "interpolate", "--help"),
        command("packs", "list"),
        command("packs", "list", "--json"),
        command("packs", "info", "starry"),
    ],
)
def test_light_commands_load_no_torch(code: str, tmp_path: Path) -> None:
    assert not loaded_after(code, tmp_path) & {"torch", "torchvision", "numpy", "PIL"}


def test_wrong_mixes_are_told_before_torch_is_loaded(tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    photo.touch()
    words = ["apply", str(photo), "--mix", "nonesuch=1"]
    code = f"from stylepack.cli.main import run; assert run({words!r}) == 2"
    assert "torch" not in loaded_after(code, tmp_path)


def test_painting_loads_no_torchvision(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out.png"
    code = command("apply", str(photos / "0.jpg"), "--style", "starry", "-o", str(out))
    loaded = loaded_after(code, tmp_path)
    assert out.exists()
    assert "torch" in loaded
    assert "torchvision" not in loaded


def test_the_package_offers_its_api_lazily() -> None:
    import stylepack

    assert stylepack.Stylizer.__name__ == "Stylizer"
    with pytest.raises(AttributeError, match="no attribute 'Painter'"):
        stylepack.Painter  # noqa: B018
