"""Placing files: undone when it fails, whatever stops the undoing, and nothing of others lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest
from conftest import install_pack

from stylepack.cli.main import run as stylepack
from stylepack.errors import PackError
from stylepack.library import install as installing
from stylepack.library import transaction as staging
from stylepack.library.fetch import PackFile
from stylepack.library.install import install_all, plan_install
from stylepack.library.shelf import BUNDLED_PACKS


class Killed(BaseException):
    """Stands for the end of the process: what comes after it is not run."""


def test_an_undo_that_is_stopped_is_finished_by_the_next_install(home: Path, monkeypatch) -> None:
    install_all({"dots": b"old"})
    with monkeypatch.context() as during:
        real = Path.replace
        calls: list[Path] = []

        def interrupted(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return real(path, target)

        during.setattr(Path, "replace", interrupted)
        remove = shutil.rmtree
        during.setattr(staging.shutil, "rmtree", lambda path, **_: _killed_within(path, remove))
        with pytest.raises(Killed):
            install_all({"dots": b"new", "lines": b"new"}, replace=True)
    install_all({"waves": b"waves"})
    assert {path.name: path.read_bytes() for path in (home / "packs").iterdir()} == {
        "dots.safetensors": b"old",
        "waves.safetensors": b"waves",
    }


def test_what_was_replaced_comes_back_though_the_new_file_is_gone(home: Path) -> None:
    left = home / "packs" / f"{staging.PREFIX}x"
    for name in (staging.NEW, staging.OLD):
        (left / name).mkdir(parents=True)
    (left / staging.OLD / "dots.safetensors").write_bytes(b"old")
    (left / staging.PLACING).write_text('["dots.safetensors"]')
    install_all({"lines": b"lines"})
    assert (home / "packs" / "dots.safetensors").read_bytes() == b"old"


def _killed_within(path: Path, remove) -> None:
    """Die when what was new is deleted and the rest of the stage is not."""
    remove(path / staging.NEW)
    remove(path / staging.OLD)
    raise Killed


KILLED = """
import os, signal, sys
from pathlib import Path
from stylepack.library.transaction import staging

place, count = Path.replace, 0
def killing(path, target):
    global count
    count += 1
    if count == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return place(path, target)

Path.replace = killing
with staging(Path(sys.argv[2]), "") as stage:
    for name in ("dots", "lines", "waves"):
        stage.add(f"{name}.safetensors", b"new")
    stage.place(replace=True)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks to tell by")
@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_next_install_undoes_a_killed_one(home: Path, make_pack, at: int) -> None:
    placed = install_pack(make_pack("dots", 1))
    old = placed.read_bytes()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(at), str(home / "packs")], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert len(list((home / "packs").glob(".stylepack-install-*"))) == 1
    install_pack(make_pack("more", 2))
    assert sorted(p.name for p in (home / "packs").iterdir()) == [
        "dots.safetensors",
        "more.safetensors",
    ]
    assert placed.read_bytes() == old


@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks to tell by")
def test_an_install_that_is_going_on_is_left_alone(home: Path, make_pack) -> None:
    folder = home / "packs"
    folder.mkdir(parents=True)
    waiting, done = Event(), []

    def other() -> None:
        waiting.set()
        done.append(install_pack(make_pack("more")))

    with staging.staging(folder, "") as stage:
        stage.add("dots.safetensors", b"dots")
        thread = Thread(target=other)
        thread.start()
        waiting.wait()
        thread.join(0.05)
        assert not done
        stage.place()
    thread.join()
    assert sorted(p.name for p in folder.iterdir()) == ["dots.safetensors", "more.safetensors"]


@pytest.mark.parametrize(
    "note", ["[1]", "5", "null", '[".."]', '["a/b"]', '["\\u0000"]', "[" * 9999]
)
def test_a_note_that_is_none_stops_no_install(home: Path, note: str) -> None:
    left = home / "packs" / f"{staging.PREFIX}x"
    left.mkdir(parents=True)
    (left / staging.PLACING).write_text(note)
    install_all({"dots": b"dots"})
    assert [path.name for path in (home / "packs").iterdir()] == ["dots.safetensors"]


def test_a_name_that_is_taken_while_an_install_waits_is_not_overwritten(
    home: Path, make_pack, tiny_trunk, monkeypatch, capsys
) -> None:
    """What takes minutes to make was planned before it; an install plans when it is its turn."""
    plan = plan_install([("dots", PackFile("dots", b"second"))], replace=False)
    install_all({"dots": b"first"})
    with pytest.raises(PackError, match=r"dots\.safetensors was written by another .* run this"):
        install_all(plan.new)
    assert (home / "packs" / "dots.safetensors").read_bytes() == b"first"

    check = installing.check_packs

    def then_another(*arguments: object) -> object:
        install_all({"lines": b"first"})
        return check(*arguments)

    monkeypatch.setattr(installing, "check_packs", then_another)
    words = ["packs", "install", str(make_pack("lines")), "--trunk", str(tiny_trunk[0])]
    assert stylepack(words) == 1
    assert "pack 'lines' is installed already" in capsys.readouterr().err
    assert (home / "packs" / "lines.safetensors").read_bytes() == b"first"


def test_a_folder_is_not_replaced_by_a_file(home: Path, capsys) -> None:
    folder = home / "packs" / "dir.safetensors"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    words = ["packs", "install", os.fspath(BUNDLED_PACKS / "wave.safetensors"), "--as", "dir"]
    assert stylepack([*words, "--replace"]) == 1
    assert "dir.safetensors is in the way and not a file; move it away" in capsys.readouterr().err
    assert (folder / "mine.txt").read_text() == "mine"
    assert [path.name for path in (home / "packs").iterdir()] == ["dir.safetensors"]


def half_placed(folder: Path, names: list[str]) -> Path:
    """What a command leaves that is killed between its two renames; returns its stage."""
    left = folder / f"{staging.PREFIX}left"
    for half in ("new", "old"):
        (left / half).mkdir(parents=True)
    (left / "placing.json").write_text(json.dumps(names))
    (folder / names[0]).write_text("half")
    (left / "new" / names[1]).write_text("half")
    return left


def test_in_a_folder_of_others_only_named_files_are_put_back(tmp_path: Path) -> None:
    left = half_placed(tmp_path, ["m.onnx", "m.json"])
    staging.recover(tmp_path, own=False, names=("m.onnx", "m.json"))
    assert list(tmp_path.iterdir()) == []
    half_placed(tmp_path, ["mine.txt", "m.json"])
    staging.recover(tmp_path, own=False, names=("m.onnx", "m.json"))
    assert (tmp_path / "mine.txt").read_text() == "half"
    shutil.rmtree(left)
    (tmp_path / "mine.txt").unlink()


def test_only_the_command_that_was_killed_undoes_what_it_replaced(tmp_path: Path) -> None:
    left = half_placed(tmp_path, ["m.onnx", "m.json"])
    (left / "old" / "m.onnx").write_text("before")
    for other in ((), ("n.onnx", "n.json")):
        with staging.staging(tmp_path, "", own=False, names=other):
            assert (left / "old" / "m.onnx").read_text() == "before"
    staging.recover(tmp_path, own=False, names=("m.onnx", "m.json"))
    assert not left.exists()
    assert (tmp_path / "m.onnx").read_text() == "before"


def test_a_stage_of_others_without_backups_is_deleted(tmp_path: Path) -> None:
    left = tmp_path / f"{staging.PREFIX}left"
    left.mkdir()
    (left / "placing.json").write_text('["my-packs"]')
    staging.recover(tmp_path, own=False)
    assert list(tmp_path.iterdir()) == []
