"""`kill -9` at every event on the file system: nothing lost, nothing left, and a repeat works."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import TINY, picture

from stylepack.cli.main import run as stylepack
from stylepack.library import transaction as staging
from stylepack.network.trunk import Trunk
from stylepack.packs.trunk_file import save_trunk

EVENTS = frozenset(["open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"])
FAR = 1000  # events; no command here has as many

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def killed(words: list[str], at: int, below: Path, swaps: bool = True) -> bool:
    """Run a command in a process of its own that is killed before its `at`-th event in `below`.

    False if it ended before that.
    """
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    try:
        torch.set_num_threads(1)  # its threads are not in this process
        sys.addaudithook(_killing(at, os.fspath(below)))
        swap = staging._swap
        staging._swap = lambda *paths: swaps and (sys.audit("os.rename", *paths), swap(*paths))[1]
        stylepack(words)
    finally:
        os._exit(0)


def _killing(at: int, below: str) -> Callable[[str, tuple[object, ...]], None]:
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event not in EVENTS or not isinstance(arguments[0], str | bytes | os.PathLike):
            return
        path = Path.cwd() / os.fsdecode(arguments[0])
        if os.fspath(path).startswith(below) and _changes(event, arguments):
            count += 1
            if count == at:
                os.kill(os.getpid(), signal.SIGKILL)

    return hook


def _changes(event: str, arguments: tuple[object, ...]) -> bool:
    flags = arguments[2] if event == "open" else os.O_CREAT
    return isinstance(flags, int) and bool(flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR))


def files(folder: Path) -> dict[str, bytes]:
    """Every file below, hidden ones too, and the folders that are hidden."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path.is_file() or path.name.startswith(".")
    }


@pytest.fixture
def place(tmp_path: Path, make_pack, monkeypatch) -> Path:
    """The working folder, with packs, a photograph, two trunks, and a home with some of each."""
    work = tmp_path / "work"
    (work / "new").mkdir(parents=True)
    monkeypatch.setenv("STYLEPACK_HOME", str(work / "home"))
    monkeypatch.chdir(work)
    picture(24, 16).save(work / "a.png")
    for seed in (1, 2):
        torch.manual_seed(seed)
        (work / f"trunk{seed}").mkdir()
        save_trunk(work / f"trunk{seed}" / "trunk.safetensors", Trunk(TINY), {})
    olds = [make_pack("dots", 3), make_pack("lines", 4)]
    assert stylepack(["packs", "install", *map(str, olds), *TRUNK]) == 0
    assert stylepack(["trunks", "install", "trunk1", "--as", "mine"]) == 0
    assert stylepack(["packs", "hide", "tahiti"]) == 0
    for name, seed in (("dots", 1), ("lines", 2)):
        make_pack(name, seed).rename(work / "new" / f"{name}.safetensors")
    return work


TRUNK = ["--trunk", "../tiny-trunk.safetensors"]
DOTS = "new/dots.safetensors"
COMMANDS = {
    "install": ["packs", "install", "new", "--replace", *TRUNK],
    "install one": ["packs", "install", DOTS, "--replace", *TRUNK],
    "install new": ["packs", "install", DOTS, "--as", "new", *TRUNK],
    "upgrade a trunk": ["trunks", "install", "trunk2", "--as", "mine", "--replace"],
    "upgrade a trunk by two renames": ["trunks", "install", "trunk2", "--as", "mine", "--replace"],
    "install a trunk": ["trunks", "install", "trunk2", "--replace"],
    "hide": ["packs", "hide", "wave"],
    "restore": ["packs", "restore", "tahiti"],
    "apply": ["apply", "a.png", "--style", DOTS, *TRUNK, "-o", "b.png"],
    "export": ["packs", "export", DOTS, "-o", "m.onnx", "--replace", *TRUNK],
    "export new": ["packs", "export", DOTS, "-o", "n.onnx", *TRUNK],
    "new": ["packs", "new", "some-packs", DOTS, *TRUNK],
    "remove": ["packs", "remove", "dots", "-y"],
    "remove a trunk": ["trunks", "remove", "mine", "-y"],
}
# Where it was done, it cannot be repeated.
ONCE = ("new", "export new", "restore", "remove", "remove a trunk")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_that_is_killed_was_run_or_not_and_can_be_repeated(
    place: Path, tmp_path: Path, name: str
) -> None:
    words, swaps = COMMANDS[name], not name.endswith("renames")
    shutil.copytree(place, tmp_path / "before")
    before = files(place)
    assert not killed(words, FAR, place)
    after = files(place)
    assert after != before or name == "install a trunk"
    for at in range(1, FAR):
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(tmp_path / "before", place, dirs_exist_ok=True)
        if not killed(words, at, place, swaps):
            break
        assert stylepack(["packs", "list"]) == stylepack(["trunks", "list"]) == 0
        now = files(place)
        shelves = [
            {
                key: one
                for key, one in state.items()
                if key.startswith(("home/packs", "home/trunks"))
            }
            for state in (now, before, after)
        ]
        assert shelves[0] in shelves[1:]
        visible = {
            key: one for key, one in now.items() if not key.startswith(".") and "/." not in key
        }
        assert all(one in (before.get(key), after.get(key)) for key, one in visible.items())
        assert stylepack(words) == 0 or (name in ONCE and visible == after)
        if name in ONCE:  # refused before it would write there
            assert (
                stylepack(["packs", "hide", "wave"]) == stylepack(["packs", "restore", "wave"]) == 0
            )
        assert files(place) == after
    assert at > 1
