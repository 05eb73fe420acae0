"""Thumbnails on terminals: which protocol, what is sent, and what strangers' pictures can do."""

import base64
import io
import os
import re
import sys
from pathlib import Path

import pytest
from conftest import picture
from PIL import Image

from stylepack.cli.main import run as stylepack
from stylepack.cli.packs.thumbnails import decoded, in_iterm2, in_kitty, in_sixel, protocol
from stylepack.library.shelf import shelf


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "xterm-sixel"}, "sixel"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1", "TMUX": "/tmp/x"}, ""),
        ({"TERM": "screen", "LC_TERMINAL": "iTerm2"}, ""),
        ({"TERM": "xterm-256color"}, ""),
        ({}, ""),
    ],
)
def test_the_environment_tells_the_protocol(environment: dict[str, str], expected: str) -> None:
    assert protocol(environment) == expected


def uri(image: Image.Image, kind: str = "PNG") -> str:
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


def test_bundled_thumbnails_are_pictures() -> None:
    for pack in shelf().values():
        image = decoded(pack.manifest().thumbnail)
        assert image is not None
        assert min(image.size) == 160


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.org/a.png",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:image/png;base64,junk!",
        "data:image/png;base64,",
        uri(picture(8, 8))[:-60],
        uri(Image.new("1", (4096, 4096))),
        uri(picture(8, 8), "GIF").replace("gif", "png"),
    ],
)
def test_strangers_pictures_that_are_none_are_left_out(text: str) -> None:
    assert decoded(text) is None


def test_kitty_gets_a_png_in_chunks() -> None:
    image = picture(200, 120)
    sent = in_kitty(image)
    chunks = re.findall(r"\x1b_G([^;]*);([A-Za-z0-9+/=]{1,4096})\x1b\\", sent)
    assert "".join(f"\x1b_G{head};{data}\x1b\\" for head, data in chunks) == sent
    assert chunks[0][0] == "a=T,f=100,m=1"
    assert [head for head, _ in chunks[1:]] == ["m=1"] * (len(chunks) - 2) + ["m=0"]
    with Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in chunks)))) as back:
        assert back.convert("RGB").tobytes() == image.tobytes()


def test_iterm2_gets_a_png() -> None:
    image = picture(30, 20)
    sent = in_iterm2(image)
    (data,) = re.findall(r"^\x1b\]1337;File=inline=1;width=30px:([A-Za-z0-9+/=]+)\x07$", sent)
    with Image.open(io.BytesIO(base64.b64decode(data))) as back:
        assert back.size == (30, 20)


def test_sixels_are_bands_of_six_rows() -> None:
    image = Image.new("RGB", (10, 8), "red")
    image.paste("blue", (0, 0, 10, 1))
    sent = in_sixel(image)
    assert sent.startswith('\x1bP0;1q"1;1;10;8#0;2;')
    assert sent.endswith("-\x1b\\")
    colours = dict(re.findall(r"#(\d+);2;(\d+;\d+;\d+)", sent))
    red, blue = (next(n for n, c in colours.items() if c == rgb) for rgb in ("100;0;0", "0;0;100"))
    first, second, _ = sent.rpartition(f"#{max(colours, key=int)};2;")[2].split("-")
    assert set(re.findall(r"#\d+!\d+.", first)) == {f"#{red}!10}}", f"#{blue}!10@"}
    assert re.findall(r"#\d+!\d+.", second) == [f"#{red}!10B"]


def test_pipes_get_no_pictures(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm-kitty")
    assert stylepack(["packs", "list"]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert stylepack(["packs", "list", "--thumbnails"]) == 2
    assert "a terminal that shows images" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize(
    ("option", "shown"), [([], True), (["--thumbnails"], True), (["--no-thumbnails"], False)]
)
def test_a_terminal_gets_the_table_and_one_sheet(
    option: list[str], shown: bool, monkeypatch, tmp_path: Path
) -> None:
    import pty
    import subprocess

    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-kitty"}
    for name in ("TMUX", "TERM_PROGRAM"):
        environment.pop(name, None)
    with subprocess.Popen(
        [sys.executable, "-m", "stylepack", "packs", "list", "-q", "gogh", *option],
        stdout=theirs,
        stdin=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        sent = b""
        while True:
            try:
                chunk = os.read(ours, 1 << 16)
            except OSError:  # the other side is closed
                break
            if not chunk:
                break
            sent += chunk
    os.close(ours)
    assert process.returncode == 0
    assert b"Starry Night" in sent
    assert sent.count(b"\x1b_Ga=T") == shown
