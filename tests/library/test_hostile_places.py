"""Slow servers, odd names, users without a home, and packs that others remove meanwhile."""

import json
import socket
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import pytest
from conftest import TINY, install_pack
from packs.test_hostile_files import good_trunk

from stylepack import files
from stylepack.cli import console
from stylepack.cli.main import at_home
from stylepack.cli.main import run as stylepack
from stylepack.errors import PackError, UsageError
from stylepack.files import replacing
from stylepack.library import archive, shelf, verify
from stylepack.library import fetch as download
from stylepack.library import fetch as sources
from stylepack.library.shelf import Shelved
from stylepack.packs.manifest import read_manifest
from stylepack.packs.pack import Pack, load_pack

Send = Callable[[bytes], None]


def no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n"
SLOW = {  # what a server begins with, and then goes on with for ever
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
    "nothing": (b"", b""),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk's extension": (CHUNKED + b"5;", b"y"),
    "trailers": (CHUNKED + b"0\r\n", b"A: b\r\n"),
    "a body": (b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", b"y"),
}


@pytest.mark.parametrize(("first", "then"), SLOW.values(), ids=SLOW)
def test_a_slow_server_cannot_hold_up_a_download(first: bytes, then: bytes, monkeypatch) -> None:
    monkeypatch.setattr(download, "LONGEST", 0.3)
    over = Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                try:
                    connection.sendall(first)
                    while not over.wait(0.02):
                        connection.sendall(then)
                except OSError:
                    pass

        server = Thread(target=serve)
        server.start()
        start = time.monotonic()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        with pytest.raises(PackError, match="takes more than 0 seconds; download it yourself"):
            download.download(address, lambda share: None)
        assert time.monotonic() - start < 5
        over.set()
        server.join()


def test_few_large_trunks_may_be_beside_packs_in_a_zip(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "MOST_OTHERS", 2)
    for count in (2, 3):
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as zipped:
            for index in range(count):
                zipped.writestr(f"{index}/trunk.safetensors", good_trunk())
        read = (tmp_path / "x.zip").read_bytes()
        if count == 2:
            assert archive.packs_in_zip(read, "x.zip", 100) == []
        else:
            with pytest.raises(PackError, match="has 3 entries that are too large"):
                archive.packs_in_zip(read, "x.zip", 100)


def test_a_folder_is_not_read_beyond_the_limit(tmp_path: Path, monkeypatch) -> None:
    for index in range(9):
        (tmp_path / f"{index}.safetensors").write_bytes(b"x" * 50)
    monkeypatch.setattr(sources, "LARGEST_TOTAL", 120)
    read: list[Path] = []
    real = sources.read_content
    monkeypatch.setattr(
        sources, "read_content", lambda path, most: (read.append(path), real(path, most))[1]
    )
    with pytest.raises(PackError, match="more than 1,000 packs or 120 bytes"):
        sources.gather([str(tmp_path)], "", lambda share: None)
    assert len(read) == 3


def test_a_pack_that_vanishes_meanwhile_is_no_fault(make_pack, monkeypatch, capsys) -> None:
    for name, seed in (("dots", 1), ("lines", 2)):
        install_pack(make_pack(name, seed))

    def removed_before(pack: Shelved) -> object:
        if pack.name == "dots":
            pack.path.unlink(missing_ok=True)
        return read_manifest(pack.path)

    monkeypatch.setattr(Shelved, "manifest", removed_before)
    assert stylepack(["packs", "list"]) == 0
    out, err = capsys.readouterr()
    assert ("dots" in out, "lines" in out, err) == (False, True, "")
    real = verify.read_content

    def removed_too(path: Path, most: int) -> bytes:
        path.unlink(missing_ok="lines" in path.name)
        return real(path, most)

    monkeypatch.setattr(verify, "read_content", removed_too)
    assert stylepack(["packs", "verify", "lines"]) == 0
    assert "lines\tremoved meanwhile" in capsys.readouterr().out


def test_a_link_to_nowhere_is_a_fault(home: Path, capsys) -> None:
    (home / "packs").mkdir(parents=True)
    (home / "packs" / "dots.safetensors").symlink_to("nowhere")
    assert stylepack(["packs", "list"]) == 0
    assert "warning: no such file" in capsys.readouterr().err
    assert stylepack(["packs", "verify", "dots"]) == 1


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_json_is_json(make_pack, tiny_trunk, number: str, capsys) -> None:
    path = make_pack("dots")
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"]["stylepack.metrics"] = f'{{"a": [{{"b": {number}}}, 1.5]}}'
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + content[8 + size :])
    assert stylepack(["packs", "info", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out, parse_constant=no_constant)
    assert told["metrics"] == {"a": [{"b": None}, 1.5]}


ESCAPES = "a\x1b]0;stolen\x07\u202eb"


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_is_not_steered_by_the_name_of_a_result(terminal, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
    with console.meter("painting", 1) as meter:
        meter.result(ESCAPES)
    console.result(Path(ESCAPES))
    lines = capsys.readouterr().out.splitlines()
    assert [line.isprintable() for line in lines] == [terminal, terminal]
    assert terminal or lines == [ESCAPES, ESCAPES]


def test_a_readme_is_printable(make_pack, tiny_trunk, tmp_path: Path, monkeypatch) -> None:
    path = make_pack("dots")
    pack = load_pack(path, TINY)
    told = replace(pack.manifest, title=ESCAPES, license=ESCAPES, style_image={"artist": ESCAPES})
    Pack(told, pack.style).save(path, TINY)
    monkeypatch.chdir(tmp_path)
    assert stylepack(["packs", "new", "some", str(path), "--trunk", str(tiny_trunk[0])]) == 0
    for name in ("README.md", "pyproject.toml"):
        lines = (tmp_path / "some" / name).read_text().splitlines()
        assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("before", "word", "expected"),
    [
        ("apply", "--output=~/x.png", "--output=HOME/x.png"),
        ("apply", "-o~/x.png", "-oHOME/x.png"),
        ("-o", "~/x.png", "HOME/x.png"),
        ("apply", "~", "HOME"),
        ("apply", "--mix=~/a.safetensors=0.5,wave=0.5", "--mix=HOME/a.safetensors=0.5,wave=0.5"),
        ("apply", "--title=~/x", "--title=~/x"),
        ("--title", "~/x", "~/x"),
        ("apply", "~backup.png", "~backup.png"),
        ("apply", "./~", "./~"),
        ("apply", "--output=a~/x.png", "--output=a~/x.png"),
    ],
)
def test_a_tilde_is_the_home(before, word, expected, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert at_home(before, word) == expected.replace("HOME", str(tmp_path))


def test_output_below_a_tilde_is_written_home(tmp_path, photos, tiny_trunk, make_pack, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "me").mkdir()
    monkeypatch.chdir(tmp_path)
    words = ["--style", str(make_pack()), "--trunk", str(tiny_trunk[0]), "--output=~/x.png"]
    assert stylepack(["apply", str(photos / "0.jpg"), *words]) == 0
    assert (tmp_path / "me" / "x.png").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("known", [RuntimeError("no home"), Path("~/.local/share/stylepack")])
def test_only_what_writes_home_needs_one(known, tmp_path: Path, monkeypatch, capsys) -> None:
    def nobody(*_: object, **__: object) -> Path:
        if isinstance(known, Exception):
            raise known
        return known

    monkeypatch.delenv("STYLEPACK_HOME")
    monkeypatch.chdir(tmp_path)
    for folder in ("user_data_path", "user_cache_path"):
        monkeypatch.setattr(shelf, folder, nobody)
    for words in (["packs", "list"], ["packs", "verify", "wave"], ["trunks", "info"]):
        assert stylepack(words) == 0
    assert shelf.cache_folder() == shelf.NOWHERE
    install = ["packs", "install", str(shelf.BUNDLED_PACKS / "wave.safetensors"), "--as", "sea"]
    for words in (["packs", "hide", "wave"], install):
        assert stylepack(words) == 1
        assert "set STYLEPACK_HOME to a folder you own" in capsys.readouterr().err
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(UsageError, match="there is no home folder for ~"):
        at_home("apply", "--output=~/x.png")
    assert not list(tmp_path.iterdir())


def test_what_is_written_beside_goes_once_a_command(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    left = home / ".12-34.part"
    for _ in range(2):
        left.touch()
        assert stylepack(["packs", "hide", "wave"]) == 0
        assert not left.exists()


def test_a_temporary_file_taken_for_a_leftover_is_made_again(tmp_path, monkeypatch) -> None:
    real, taken = files.lock, []

    def too_late(descriptor: int, **options: bool) -> bool | None:
        if not taken:
            taken.extend(tmp_path.glob(".*.part"))
            taken[0].unlink()
        return real(descriptor, **options)

    monkeypatch.setattr(files, "lock", too_late)
    with replacing(tmp_path / "a.txt") as temporary:
        assert temporary.exists()
        temporary.write_text("a")
    assert (tmp_path / "a.txt").read_text() == "a"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
