"""Light commands stay light, imports run one way, and folders stay small."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import grimp
import pytest

PACKAGE = Path(__file__).parent.parent / "stylepack"


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
        command("studio", "--help"),
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


ENTERED = """
import inspect, json, os, sys, threading
import stylepack
from stylepack.cli.main import run
package = os.path.dirname(stylepack.__file__) + os.sep
entered = set()

def imports_something(frame):
    while frame and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(package)

def note(frame, event, argument):
    code = frame.f_code
    is_function = code.co_flags & inspect.CO_OPTIMIZED  # neither a module nor a class
    if event == "call" and is_function and code.co_filename.startswith(package):
        if code.co_filename not in entered and not imports_something(frame):
            entered.add(code.co_filename)

threading.setprofile(note)
sys.setprofile(note)
code = run(sys.argv[1:])
sys.setprofile(None)
assert code == 0
print(json.dumps(sorted(name.removeprefix(package) for name in entered)), file=sys.stderr)
"""
READ = """
import json, os, sys
from collections import Counter
import stylepack
packs = os.path.join(os.path.dirname(stylepack.__file__), "assets", "packs")
opened, scanned = Counter(), Counter()

def note(event, arguments):
    if event == "open" and os.path.dirname(str(arguments[0])) == packs:
        opened[os.path.basename(arguments[0])] += 1
    elif event == "os.scandir":
        scanned[str(arguments[0])] += 1

sys.addaudithook(note)
from stylepack.cli.main import run
assert run(sys.argv[1:]) == 0
print(json.dumps([opened, scanned[packs]]), file=sys.stderr)
"""
FILES_OF_APPLY = 42


def reported(script: str, words: list[str], tmp_path: Path) -> Any:
    """The JSON in the last line that a script writes to stderr after it has run a command."""
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "STYLEPACK_HOME": str(tmp_path / "home")},
    )
    return json.loads(done.stderr.splitlines()[-1])


def test_painting_a_photograph_enters_few_files(tmp_path: Path, photos: Path) -> None:
    out = tmp_path / "out.jpg"
    words = ["apply", str(photos / "0.jpg"), "--mix", "starry=1,scream=1", "-o", str(out)]
    entered = reported(ENTERED, words, tmp_path)
    assert "painting/stylizer.py" in entered
    assert len(entered) <= FILES_OF_APPLY, entered


@pytest.mark.parametrize("command", ["apply", "grid", "gallery"])
def test_each_pack_is_opened_once_and_the_shelf_scanned_once(
    command: str, tmp_path: Path, photos: Path
) -> None:
    photo, out, folder = str(photos / "0.jpg"), str(tmp_path / "out.png"), tmp_path / "album"
    folder.mkdir()
    shutil.copy(photo, folder / "sea.two.jpg")  # is it a painting in a style `two`?
    words = {
        "apply": ["apply", str(folder), "--mix", "starry=1,scream=1", "-o", out[:-4]],
        "grid": ["grid", photo, "--corners", "starry,scream", "--size", "32", "-o", out],
        "gallery": ["gallery", photo, "--style", "starry", "--style", "scream", "-o", out],
    }
    opened, scanned = reported(READ, words[command], tmp_path)
    assert opened == {"starry.safetensors": 1, "scream.safetensors": 1}
    assert scanned == 1


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    """Every import of the package, those inside functions included."""
    return grimp.build_graph("stylepack", cache_dir=None)


def test_no_imports_run_in_a_circle(imports: grimp.ImportGraph) -> None:
    modules = {name: imports.find_modules_directly_imported_by(name) for name in imports.modules}
    TopologicalSorter(modules).prepare()  # a CycleError names the circle


def test_no_folder_has_more_than_fifteen_modules() -> None:
    folders = Counter(path.parent for path in PACKAGE.rglob("*.py") if path.stem != "__init__")
    assert not {str(folder): count for folder, count in folders.items() if count > 15}


def test_every_module_is_reached_from_the_command_line_or_the_api(
    imports: grimp.ImportGraph,
) -> None:
    reached, waiting = set(), ["stylepack.__main__", "stylepack"]
    while waiting:
        if (name := waiting.pop()) not in reached:
            reached.add(name)
            waiting += imports.find_modules_directly_imported_by(name)
    folders = {name.rpartition(".")[0] for name in reached}  # importing a module runs its folder's
    assert not imports.modules - reached - folders
