"""`stylepack packs install` from files, folders, zips and addresses: all or nothing, checked."""

import hashlib
import io
import json
import shutil
import stat
import struct
import threading
import warnings
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from stylepack.bundled import ASSETS, BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.errors import PackError, StylepackError, UsageError
from stylepack.library import archive as archive_room
from stylepack.library import fetch as download_room
from stylepack.library import fetch as sources_room
from stylepack.library.archive import packs_in_zip
from stylepack.library.fetch import PackFile, check_address, check_redirect, download, gather
from stylepack.library.install import install_all, plan_install
from stylepack.library.shelf import BUNDLED_PACKS, shelf, user_packs


def quiet(_: float) -> None:
    """No progress."""


@pytest.fixture
def install(tiny_trunk, capsys):
    """Run `packs install` on the tiny trunk: `install(*words)` -> (exit code, stderr)."""

    def run(*words: object) -> tuple[int, str]:
        command = ["packs", "install", *map(str, words), "--trunk", str(tiny_trunk[0])]
        return stylepack(command), capsys.readouterr().err

    return run


def zipped(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


@pytest.fixture
def three(make_pack) -> dict[str, bytes]:
    """Bytes of three packs by file name."""
    paths = [make_pack(name, seed) for seed, name in enumerate(("dots", "lines", "waves"))]
    return {path.name: path.read_bytes() for path in paths}


def test_a_file_a_folder_and_a_zip_at_once(install, three, make_pack, tmp_path, home) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "lines.safetensors").write_bytes(three["lines.safetensors"])
    (folder / ".half.safetensors").write_bytes(b"")
    (folder / "notes.txt").write_text("not a pack")
    wheel = zipped(
        tmp_path / "more-1.0-py3-none-any.whl",
        {"more/packs/waves.safetensors": three["waves.safetensors"], "more/__init__.py": b""},
    )
    code, said = install(tmp_path / "dots.safetensors", folder, wheel)
    assert code == 0
    assert said.count("installed '") == 3
    left = {path.name: path.read_bytes() for path in (home / "packs").iterdir()}
    assert left == three


def test_one_bad_pack_of_several_is_named_and_nothing_is_written(
    install, three, tmp_path: Path, home: Path
) -> None:
    three["bad.safetensors"] = three["dots.safetensors"][:-1] + b"\xff"
    code, said = install(tmp_path / "dots.safetensors", zipped(tmp_path / "p.zip", three))
    assert code == 1
    assert "p.zip:bad.safetensors is damaged" in said
    assert not home.exists()


def test_a_clash_is_refused_upgraded_or_renamed(install, make_pack) -> None:
    assert install(make_pack("dots", 1))[0] == 0
    first = shelf()["dots"].path.read_bytes()
    other = make_pack("dots", 2)
    code, said = install(other, make_pack("new"))
    assert code == 1
    assert "a different pack 'dots' is installed already" in said
    assert "--as NAME" in said
    assert list(user_packs()) == ["dots"]
    assert shelf()["dots"].path.read_bytes() == first
    assert install(other, "--as", "points")[0] == 0
    assert shelf()["points"].path.read_bytes() == other.read_bytes()
    source = make_pack("dots", 3)
    code, said = install(source, "--replace")
    assert (code, "replaced 'dots'" in said) == (0, True)
    assert shelf()["dots"].path.read_bytes() == source.read_bytes()


def test_the_same_content_again_is_said_and_no_error(install, make_pack) -> None:
    path = make_pack("dots")
    assert install(path, path)[0] == 0
    before = shelf()["dots"].path.stat().st_mtime_ns
    for words in ([path], [path, "--replace"]):
        code, said = install(*words)
        assert (code, said) == (0, "'dots' is already installed, with the same content\n")
    assert shelf()["dots"].path.stat().st_mtime_ns == before


def test_two_packs_of_one_name_are_refused(install, make_pack, tmp_path: Path) -> None:
    first = shutil.move(make_pack("dots", 1), tmp_path / "a.safetensors")
    code, said = install(first, make_pack("dots", 2), "--replace")
    assert code == 1
    assert "both named 'dots'" in said
    assert not user_packs()


@pytest.mark.parametrize("name", ["../up", "CON", "con", "", "a/b"])
def test_as_takes_only_names(install, make_pack, home: Path, name: str) -> None:
    code, said = install(make_pack("dots"), "--as", name)
    assert code == 2
    assert not home.exists()
    assert ("cannot be a pack's name" if name else "--as is empty") in said


def test_as_is_for_one_pack(install, three, tmp_path: Path) -> None:
    code, said = install(zipped(tmp_path / "p.zip", three), "--as", "x")
    assert code == 2
    assert "is one name, but there are 3 packs" in said


def test_what_is_no_source_is_a_usage_error(install, tmp_path: Path) -> None:
    code, said = install("starry")
    assert code == 2
    assert "no such file: starry; give a file, a folder, a zip or an https address" in said
    code, said = install(tmp_path / "no.zip")
    assert code == 2


def test_a_place_without_packs_is_named(install, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", zipped(tmp_path / "e.zip", {"a.txt": b""})):
        code, said = install(place)
        assert code == 1
        assert f"there is no pack in {place}" in said


def test_the_trunk_beside_the_packs_is_passed_over(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(BUNDLED_PACKS, run)
    shutil.copyfile(BUNDLED_TRUNK, run / "trunk.safetensors")
    names = [Path(file.source).stem for file in gather([str(run)], "", quiet)]
    assert names == sorted(path.stem for path in BUNDLED_PACKS.iterdir())
    wheel = tmp_path / "s.whl"
    zipped(wheel, {str(p.relative_to(ASSETS)): p.read_bytes() for p in ASSETS.rglob("*.saf*")})
    assert len(gather([str(wheel)], "", quiet)) == len(names)
    assert stylepack(["packs", "install", str(run)]) == 0
    assert not user_packs()


def test_a_trunk_larger_than_a_pack_is_passed_over_in_a_zip(tmp_path: Path, three) -> None:
    entry = {"dtype": "U8", "shape": [5 << 20], "data_offsets": [0, 5 << 20]}
    metadata = {"modelspec.architecture": "stylepack-cin-v1"}
    header = json.dumps({"a": entry, "__metadata__": metadata}).encode()
    three["trunk.safetensors"] = struct.pack("<Q", len(header)) + header + bytes(5 << 20)
    files = gather([str(zipped(tmp_path / "p.zip", three))], "", quiet)
    assert len(files) == 3


def test_too_many_packs_in_one_command(three, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sources_room, "MOST_PACKS", 2)
    with pytest.raises(PackError, match="more than 2 packs"):
        gather([str(zipped(tmp_path / "p.zip", three))], "", quiet)


def test_the_hash_of_a_file_is_checked(install, make_pack, tmp_path: Path, home: Path) -> None:
    path = make_pack("dots")
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    code, said = install(path, "--sha256", "0" * 64)
    assert code == 1
    assert good in said
    for sources, value, words in (
        ([path], "abc", "expected 64"),
        ([path, path], good, "one source"),
        ([tmp_path], good, "is a folder"),
    ):
        code, said = install(*sources, "--sha256", value)
        assert code == 2
        assert words in said
    assert not home.exists()
    assert install(path, "--sha256", good.upper())[0] == 0


def test_a_file_is_read_once(make_pack, install, monkeypatch) -> None:
    path = make_pack("dots")
    before = path.read_bytes()
    read = sources_room.read_content

    def then_changed(place: Path, largest: int) -> bytes:
        content = read(place, largest)
        place.write_bytes(b"something else")
        return content

    monkeypatch.setattr(sources_room, "read_content", then_changed)
    assert install(path)[0] == 0
    assert shelf()["dots"].path.read_bytes() == before


@pytest.mark.parametrize("broken", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_what_fails_on_the_way_is_undone(three, home: Path, monkeypatch, broken, at) -> None:
    install_all({"dots": b"old dots"})
    place, calls = Path.replace, []

    def failing(path: Path, target: Path) -> Path:
        calls.append(path)
        if len(calls) == at:
            raise broken
        return place(path, target)

    monkeypatch.setattr(Path, "replace", failing)
    new = {Path(name).stem: content for name, content in three.items()}
    with pytest.raises(KeyboardInterrupt if at and not isinstance(broken, OSError) else Exception):
        install_all(new, replace=True)
    left = {path.name: path.read_bytes() for path in (home / "packs").iterdir()}
    assert left == {"dots.safetensors": b"old dots"}


def test_a_plan_says_what_is_new_replaced_and_the_same() -> None:
    install_all({"a": b"1", "b": b"2"})
    packs = [(name, PackFile(name, content)) for name, content in (("a", b"1"), ("b", b"3"))]
    plan = plan_install([*packs, ("c", PackFile("c", b"4"))], replace=True)
    assert plan.new == {"b": b"3", "c": b"4"}
    assert (plan.replaced, plan.same) == (["b"], ["a"])


def raw_entry(name: bytes, **changes: int) -> bytes:
    """A zip of one stored entry of eight bytes, with fields of its directory changed."""
    data = b"12345678"
    fields = {"flags": 0, "method": 0, "crc": 0x9AE0DAAF, "packed": 8, "size": 8, "mode": 0}
    fields |= changes
    common = struct.pack(
        "<HHHHHIII",
        *(20, fields["flags"], fields["method"], 0, 0, fields["crc"]),
        *(fields["packed"], fields["size"]),
    )
    local = b"PK\3\4" + common + struct.pack("<HH", len(name), 0) + name
    entry = (
        b"PK\1\2\x14\x03"
        + common
        + struct.pack("<HHHHHII", len(name), 0, 0, 0, 0, fields["mode"] << 16, 0)
        + name
    )
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(local) + 8, 0)
    return local + data + entry + end


NAME = b"a.safetensors"
HOSTILE_ZIPS = {
    "climbs": (raw_entry(b"../a.safetensors"), "climbs out"),
    "climbs in the middle": (raw_entry(b"x/../../a.safetensors"), "climbs out"),
    "climbs with backslashes": (raw_entry(b"..\\a.safetensors"), "climbs out"),
    "climbs, and is no pack": (raw_entry(b"../../.bashrc"), "climbs out"),
    "absolute": (raw_entry(b"/etc/a.safetensors"), "absolute"),
    "a drive": (raw_entry(b"C:\\a.safetensors"), "absolute"),
    "backslash": (raw_entry(b"x\\a.safetensors"), "an invalid name"),
    "null": (raw_entry(b"a.safetensors\0.txt"), "an invalid name"),
    "symlink": (raw_entry(NAME, mode=stat.S_IFLNK | 0o777), "link or a device"),
    "device": (raw_entry(NAME, mode=stat.S_IFCHR), "link or a device"),
    "encrypted": (raw_entry(NAME, flags=1), "encrypted"),
    "bzip2": (raw_entry(NAME, method=12), "is not stored or compressed with deflate"),
    "unknown method": (raw_entry(NAME, method=77), "is not stored or compressed with deflate"),
    "declares too much": (raw_entry(NAME, size=5 << 20), "5,242,880 bytes"),
    "declares less than it holds": (raw_entry(NAME, size=4), "damaged zip"),
    "declares more than it holds": (raw_entry(NAME, size=4096, packed=8), "p.zip"),
    "wrong checksum": (raw_entry(NAME, crc=1), "damaged zip"),
    "cut": (raw_entry(NAME)[:-20], "damaged zip"),
    "no end": (b"PK\3\4" + b"\0" * 100, "damaged zip"),
    "deflated nonsense": (raw_entry(NAME, method=8), "damaged zip"),
    "escape in its name": (raw_entry(b"../\x1b[2J\n.safetensors"), "climbs out"),
}


@pytest.mark.parametrize(("content", "words"), HOSTILE_ZIPS.values(), ids=HOSTILE_ZIPS)
def test_hostile_zips_are_refused_in_one_line(content: bytes, words: str) -> None:
    with pytest.raises(PackError) as refused:
        packs_in_zip(content, "p.zip")
    assert words in str(refused.value)
    assert str(refused.value).isprintable()


def test_the_plain_zip_behind_the_hostile_ones_is_read() -> None:
    assert packs_in_zip(raw_entry(NAME), "p.zip") == [("a.safetensors", b"12345678")]
    assert packs_in_zip(raw_entry(b"__MACOSX/._a.safetensors"), "p.zip") == []


def test_a_name_twice_is_refused() -> None:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("a.safetensors", b"1")
        archive.writestr("a.safetensors", b"2")
    with pytest.raises(PackError, match="is there twice"):
        packs_in_zip(buffer.getvalue(), "p.zip")


def test_too_many_entries_are_refused_before_they_are_listed(monkeypatch) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for index in range(1001):
            archive.writestr(f"{index}.txt", b"")
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(PackError, match="more than 1,000 entries"):
        packs_in_zip(buffer.getvalue(), "p.zip")


def test_a_bomb_of_many_packs_is_refused_by_its_sum(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive_room, "LARGEST_TOTAL", 10 << 20)
    bomb = zipped(tmp_path / "b.zip", {f"{i}.safetensors": bytes(4 << 20) for i in range(3)})
    assert bomb.stat().st_size < 100_000
    with pytest.raises(PackError, match="12,582,912 bytes of packs"):
        packs_in_zip(bomb.read_bytes(), "b.zip")


class Server(ThreadingHTTPServer):
    """Serves bytes by path; what it should do otherwise is said in the path."""

    files: dict[str, bytes]
    moved: dict[str, str]


class Answers(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if self.path in self.server.moved:
            self.send_response(302)
            self.send_header("Location", self.server.moved[self.path])
            self.end_headers()
        elif self.path not in self.server.files:
            self.send_error(404)
        else:
            content = self.server.files[self.path]
            self.send_response(200)
            extra = 10 if "cut" in self.path else 0
            if "undeclared" not in self.path:
                self.send_header("Content-Length", str(len(content) + extra))
            self.end_headers()
            if "silent" in self.path:
                self.server.stop.wait(5)
            self.wfile.write(content)

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def server(three: dict[str, bytes]) -> Iterator[tuple[Server, str]]:
    """(server on this machine, its address); it serves three packs and a zip of them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in three.items():
            archive.writestr(name, content)
    running = Server(("127.0.0.1", 0), Answers)
    running.stop = threading.Event()
    running.files = {f"/{name}": content for name, content in three.items()}
    running.files["/packs.zip"] = buffer.getvalue()
    running.moved = {}
    thread = threading.Thread(target=running.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield running, f"http://127.0.0.1:{running.server_port}"
    finally:
        running.stop.set()
        running.shutdown()
        running.server_close()
        thread.join()


def test_packs_are_installed_from_an_address(install, server, three) -> None:
    _, address = server
    digest = hashlib.sha256(three["dots.safetensors"]).hexdigest()
    assert install(f"{address}/dots.safetensors", "--sha256", digest)[0] == 0
    assert shelf()["dots"].path.read_bytes() == three["dots.safetensors"]
    assert install(f"{address}/packs.zip")[0] == 0
    assert {"dots", "lines", "waves"} <= set(shelf())


def test_another_hash_than_the_one_given_is_refused(install, server, home: Path) -> None:
    code, said = install(f"{server[1]}/dots.safetensors", "--sha256", "1" * 64)
    assert code == 1
    assert "not that of --sha256" in said
    assert not home.exists()


def test_progress_counts_sources(server, three, tmp_path: Path) -> None:
    shares: list[float] = []
    address = f"{server[1]}/dots.safetensors"
    assert download(address, shares.append) == three["dots.safetensors"]
    gather([address, str(tmp_path / "lines.safetensors"), address], "", shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 3


def test_a_download_over_the_limit_is_refused(server, monkeypatch) -> None:
    running, address = server
    running.files["/undeclared"] = bytes(5000)
    monkeypatch.setattr(download_room, "LARGEST_DOWNLOAD", 1000)
    for path in ("undeclared", "dots.safetensors"):
        with pytest.raises(PackError, match="larger than 1,000 bytes"):
            download(f"{address}/{path}", quiet)


@pytest.mark.parametrize(
    ("path", "words"),
    [("/nothing", "answered 404"), ("/cut", "cut off after"), ("/silent", "no answer for")],
)
def test_servers_that_fail_are_named(server, monkeypatch, path: str, words: str) -> None:
    running, address = server
    monkeypatch.setattr(download_room, "TIMEOUT", 0.3)
    running.files |= {"/cut": b"half", "/silent": b"late"}
    with pytest.raises(PackError, match=words) as refused:
        download(address + path, quiet)
    assert address in str(refused.value)
    assert str(refused.value).isprintable()


def test_nobody_listening_is_said(server) -> None:
    running, address = server
    running.shutdown()
    running.server_close()
    with pytest.raises(PackError, match="cannot download"):
        download(address, quiet)


def test_redirects_lead_only_to_https(server, three, monkeypatch) -> None:
    running, address = server
    running.moved = {
        "/plain": f"{address}/dots.safetensors",
        "/file": "file:///etc/passwd",
        "/round": "/round",
        "/escape": "http://a/\x1b[2J",
    }
    for path in running.moved:
        with pytest.raises(PackError) as refused:
            download(address + path, quiet)
        assert str(refused.value).isprintable()
    monkeypatch.setattr(download_room, "check_redirect", lambda url, source: None)
    assert download(f"{address}/plain", quiet) == three["dots.safetensors"]
    with pytest.raises(PackError, match="answered 302"):
        download(f"{address}/round", quiet)


def test_check_redirect() -> None:
    check_redirect("https://example.org/b", "https://example.org/a")
    for url in ("http://example.org/", "http://127.0.0.1/", "ftp://example.org/", "data:,a"):
        with pytest.raises(PackError, match="not https"):
            check_redirect(url, "https://example.org/a")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/a.safetensors",
        "http://127.0.0.1.example.org/a",
        "http://localhost@example.org/",
        "http://example.org#@127.0.0.1/",
        "ftp://example.org/a",
        "file:///etc/passwd",
        "https://",
        "https://[::1",
        "://",
        "\x1b://x",
    ],
)
def test_only_https_is_downloaded(url: str) -> None:
    for asked in (lambda: check_address(url), lambda: gather([url], "", quiet)):
        with pytest.raises(UsageError) as refused:
            asked()
        assert str(refused.value).isprintable()


@pytest.mark.parametrize("url", ["https://a b/c", "https://exa\nmple/", "https://127.0.0.1:99999/"])
def test_odd_addresses_are_one_line(url: str) -> None:
    with pytest.raises(StylepackError) as refused:
        download(url, quiet)
    assert str(refused.value).isprintable()
