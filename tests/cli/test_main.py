"""`stylepack apply` and `stylepack packs` as a user types them."""

import errno
import json
import os
import shutil
import struct
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO

import pytest
import torch
from conftest import picture
from PIL import Image

from stylepack import Stylizer
from stylepack.cli import console
from stylepack.cli.main import refuse_empty
from stylepack.cli.main import run as stylepack
from stylepack.files import replacing
from stylepack.library.shelf import BUNDLED_PACKS, shelf

STARRY = ["--style", "starry"]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    picture(60, 44).save(path)
    return path


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The single error line on stderr."""
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 1, lines
    assert len(lines) - len(errors) <= 1, lines  # what is being painted may be said before
    return errors[0].removeprefix("error: ")


def test_a_mix_is_painted_beside_the_photograph(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(["apply", str(photo), "--mix", "starry=1,scream=3"]) == 0
    said = capsys.readouterr()
    target = photo.with_name("photo.starry+scream.jpg")
    assert said.out == f"{target}\n"
    assert "starry=0.25,scream=0.75" in said.err
    with Image.open(target) as painted:
        assert painted.size == (60, 44)
        assert painted.format == "JPEG"


def test_a_mix_lies_between_its_packs(photo: Path, tmp_path: Path) -> None:
    def painted(mix: str) -> torch.Tensor:
        return Stylizer.load(mix, device="cpu").paint(photo).to_float()

    starry, scream = painted("starry"), painted("scream")
    both = painted("starry=0.5,scream=0.5")
    assert torch.equal(painted("starry=0.4,starry=0.6"), starry)
    apart = (starry - scream).square().mean()
    assert (both - starry).square().mean() < apart
    assert (both - scream).square().mean() < apart


def test_the_three_lines_of_the_python_api(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jpg"
    Stylizer.load("starry=0.5,scream=0.5").paint(str(photo)).save(str(out))
    with Image.open(out) as painted:
        assert painted.size == (60, 44)


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_exif_orientation_is_respected(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(60, 44).save(path, exif=exif)
    assert stylepack(["apply", str(path), *STARRY]) == 0
    with Image.open(tmp_path / "turned.starry.jpg") as painted:
        assert painted.size == ((60, 44) if orientation == 1 else (44, 60))


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (5, 300), (61, 47)])
def test_tiny_and_odd_sizes_are_painted(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "small.png"
    picture(*size).save(path)
    assert stylepack(["apply", str(path), *STARRY]) == 0
    with Image.open(tmp_path / "small.starry.png") as painted:
        assert painted.size == size


def test_several_photographs_and_folders_go_into_a_folder(tmp_path: Path, photo: Path) -> None:
    folder = tmp_path / "trip"
    (folder / "day 2").mkdir(parents=True)
    picture(40, 32).save(folder / "a.png")
    picture(40, 32).save(folder / "day 2" / "b.gif")
    picture(40, 32).save(folder / "a.starry.png")
    out = tmp_path / "out"
    assert stylepack(["apply", str(photo), str(folder), *STARRY, "-o", str(out)]) == 0
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert found == {"photo.starry.jpg", "a.starry.png", "day 2/b.starry.gif"}


def test_one_bad_photograph_does_not_stop_the_rest(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(photo.read_bytes()[:300])
    assert stylepack(["apply", str(bad), str(photo), *STARRY]) == 1
    assert str(bad) in capsys.readouterr().err
    assert photo.with_name("photo.starry.jpg").exists()
    assert not bad.with_name("bad.starry.jpg").exists()


def test_packs_may_be_given_as_files_with_their_trunk(
    photo: Path, make_pack, tiny_trunk: tuple[Path, str], tmp_path: Path
) -> None:
    one, two = make_pack("one", 1), make_pack("two", 2)
    mix = ["--mix", f"{one}=1,{two}=2", "--trunk", str(tiny_trunk[0])]
    assert stylepack(["apply", str(photo), *mix, "-o", str(tmp_path / "x.png")]) == 0
    assert (tmp_path / "x.png").exists()


def test_a_pack_for_another_trunk_is_refused_naming_both(
    photo: Path, make_pack, tiny_trunk: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    other = make_pack("other", trunk_sha256="ab" * 32)
    words = ["apply", str(photo), "--style", str(other), "--trunk", str(tiny_trunk[0])]
    assert stylepack(words) == 1
    line = only_line(capsys)
    assert "abababababab" in line
    assert tiny_trunk[1][:12] in line
    assert stylepack([*words, "--force"]) == 1


def test_a_pack_without_a_trunk_needs_force(
    photo: Path, make_pack, tiny_trunk: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["apply", str(photo), "--trunk", str(tiny_trunk[0])]
    words += ["--style", str(make_pack("stray", trunk_sha256=""))]
    assert stylepack(words) == 1
    assert "--force" in only_line(capsys)
    assert stylepack([*words, "--force"]) == 0


def bad_input(tmp_path: Path) -> dict[str, tuple[list[str], int, str]]:
    """What a user may get wrong: (command, exit code, words of the message)."""
    photo = tmp_path / "good.jpg"
    picture(40, 32).save(photo)
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photo.read_bytes()[:400])
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(png_header(60000, 60000))
    (tmp_path / "empty").mkdir()
    good = str(photo)
    return {
        "missing photograph": (["apply", "no.jpg", *STARRY], 2, "no such file"),
        "not an image": (["apply", str(text), *STARRY], 1, "not an image"),
        "truncated": (["apply", str(cut), *STARRY], 1, "cut.jpg"),
        "bomb": (["apply", str(bomb), *STARRY], 1, "500 megapixels"),
        "size": (
            ["apply", good, *STARRY, "--size", "3000000000"],
            2,
            "the limit is 500 megapixels",
        ),
        "no size": (["apply", good, *STARRY, "--no-upscale"], 2, "give --size N"),
        "format": (["apply", good, *STARRY, "--format", "xyz"], 2, "no format 'xyz'"),
        "formats": (["apply", good, *STARRY, "--format", "png", "-o", "x.jpg"], 2, "leave one"),
        "a folder": (["add-style", str(tmp_path / "empty")], 2, "is a folder; give the picture"),
        "a wrong name": (["add-style", good, "--name", "My Dream"], 2, "--name: 'My Dream'"),
        "a device": (["add-style", good, "--name", "con"], 2, "reserved on Windows"),
        "identity": (
            ["packs", "blend", "wave", "--name", "photo"],
            2,
            "identity pack's",
        ),
        "steps": (["grid", good, "--corners", "starry,wave", "--steps", "9999"], 2, "--steps"),
        "a sheet": (
            ["grid", good, "--corners", "a,b,c,d", "--steps", "90", "--size", "999"],
            2,
            "too large a sheet",
        ),
        "no mask": (["apply", good, good + "2", *STARRY, "--mask", "no.png"], 2, "no such file"),
        "empty folder": (["apply", str(tmp_path / "empty"), *STARRY], 2, "no images"),
        "unknown pack": (["apply", good, "--style", "stary"], 2, "did you mean 'starry'?"),
        "no style": (["apply", good], 2, "--style A, --mix"),
        "both": (["apply", good, *STARRY, "--mix", "wave"], 2, "--style A, --mix"),
        "not near": (["apply", good, "--style", "nope"], 2, "see `stylepack packs list`"),
        "a letter": (["apply", good, "--style", "a"], 2, "see `stylepack packs list`"),
        "no value": (["apply", good, "--style"], 2, "see `stylepack apply --help`"),
        "out of range": (["apply", good, *STARRY, "--quality", "200"], 2, "--quality is '200'; it"),
        "not a number": (["apply", good, *STARRY, "--quality=x"], 2, "--quality is 'x'; it must"),
        "a clip's": (["apply", good, *STARRY, "--resume"], 2, "--resume is for clips"),
        "a picture": (["packs", "install", good], 1, "add-style"),
        "negative": (["apply", good, "--mix", "starry=-1"], 2, "0 or more"),
        "zero": (["apply", good, "--mix", "starry=0,wave=0"], 2, "all zero"),
        "nan": (["apply", good, "--mix", "starry=nan"], 2, "0 or more"),
        "unparsable": (["apply", good, "--mix", "starry=much"], 2, "not a number"),
        "empty part": (["apply", good, "--mix", "starry=1,"], 2, "without a pack"),
        "no such option": (["apply", good, "--wat"], 2, "--wat"),
        "no such command": (["paint"], 2, "paint"),
        "strange output": (["apply", good, *STARRY, "-o", "out.xyz"], 2, "name it .jpg"),
        "onto itself": (["apply", good, *STARRY, "-o", good], 2, "the photograph itself"),
        "output below a file": (
            ["apply", good, *STARRY, "-o", str(text / "out.png")],
            2,
            "is a file, not a folder",
        ),
        "no such device": (["apply", good, *STARRY, "--device", "abacus"], 2, "abacus"),
        "no such trunk": (["apply", good, *STARRY, "--trunk", "no.safetensors"], 2, "no.safe"),
        "pack not a pack": (["packs", "install", str(text)], 1, "text.jpg"),
        "remove bundled": (["packs", "remove", "starry"], 2, "not a pack that you installed"),
        "info unknown": (["packs", "info", "wav"], 2, "did you mean 'wave'?"),
        "painting missing": (["add-style", "no.jpg", "--name", "x"], 2, "no such file"),
        "vgg missing": (
            ["add-style", good, "--vgg-weights", "no.pth", "--photos", str(tmp_path)],
            2,
            "--vgg-weights",
        ),
        "recipe unknown": (["add-style", good, "--recipe", "soup"], 2, "johnson"),
        "resume nothing": (["train", "--resume", str(tmp_path)], 1, "not a run folder"),
        "train without": (["train"], 2, "--styles FOLDER --photos FOLDER"),
    }


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_bad_input_gives_one_line_the_right_code_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], subtests: pytest.Subtests
) -> None:
    cases = bad_input(tmp_path)
    before = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    for name, (command, code, words) in cases.items():
        with subtests.test(name):
            assert stylepack(command) == code
            assert words in only_line(capsys)
            assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == before


def test_a_full_disk_keeps_the_old_file(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"precious")

    def full(image: Image.Image, target: BinaryIO, **options: object) -> None:
        target.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Image.Image, "save", full)
    assert stylepack(["apply", str(photo), *STARRY, "-o", str(target)]) == 1
    assert "No space left" in only_line(capsys)
    assert target.read_bytes() == b"precious"
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


def test_an_interrupted_write_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"

    def write_half() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert list(tmp_path.glob(".*")) == []
    assert not target.exists()


def test_packs_list_shows_the_bundled_packs(capsys: pytest.CaptureFixture[str]) -> None:
    assert stylepack(["packs", "list"]) == 0
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert {"starry", "scream", "wave", "composition", "photo"} <= {row[0] for row in rows}
    assert stylepack(["packs", "list", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert all(pack["bundled"] for pack in found)
    assert {pack["name"]: pack["artist"] for pack in found}["starry"] == "Vincent van Gogh"


def test_packs_info_as_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert stylepack(["packs", "info", "wave"]) == 0
    assert "Katsushika Hokusai" in capsys.readouterr().out
    assert stylepack(["packs", "info", "wave", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["metrics"]["content"] > 0
    assert facts["train"]["recipe"] == "default"


def test_install_apply_and_remove_a_pack(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "wave.safetensors"
    shutil.copyfile(BUNDLED_PACKS / "wave.safetensors", source)
    assert stylepack(["packs", "install", str(source)]) == 0
    assert "'wave' is already installed, with the same content" in capsys.readouterr().err
    assert shelf()["wave"].bundled
    assert stylepack(["packs", "install", str(source), "--as", "surf"]) == 0
    assert stylepack(["apply", str(photo), "--style", "surf"]) == 0
    assert stylepack(["packs", "remove", "surf", "-y"]) == 0
    assert "surf" not in shelf()


def test_a_pack_for_another_trunk_is_not_installed(
    make_pack, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(["packs", "install", str(make_pack("dots"))]) == 1
    assert only_line(capsys)
    assert not (home / "packs").exists()


def test_a_broken_pack_on_the_shelf_is_named_and_the_rest_are_listed(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "packs").mkdir(parents=True)
    (home / "packs" / "bad.safetensors").write_bytes(b"junk")
    assert stylepack(["packs", "list"]) == 0
    said = capsys.readouterr()
    assert "bad.safetensors" in said.err
    assert "starry" in said.out


def test_markup_and_escapes_in_metadata_are_shown_as_text(
    make_pack, capsys: pytest.CaptureFixture[str]
) -> None:
    from conftest import TINY

    from stylepack.packs.manifest import Manifest
    from stylepack.packs.pack import Pack

    path = make_pack("dots")
    title = "[red]boo[/red]\x1b[2J\nnext"
    Pack(Manifest(name="dots", title=title), torch.zeros(TINY.style_size)).save(path, TINY)
    assert stylepack(["packs", "info", str(path)]) == 0
    said = capsys.readouterr().out
    assert "[red]boo[/red]\\x1b[2J\\nnext" in said
    assert "\x1b" not in said


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gallery", ""], "what follows 'gallery' is empty"),
        (["apply", "a.jpg", "--mix", ""], "--mix is empty"),
        (["evaluate", "--photos="], "--photos is empty"),
        (["packs", "install", "a", "--sha256", ""], "--sha256 is empty"),
    ],
)
def test_empty_words_are_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(words) == 2
    assert told in only_line(capsys)


def test_an_empty_word_may_mean_something(photo: Path, tmp_path: Path) -> None:
    words = ["--suffix", "", "-o", str(tmp_path / "out")]
    assert stylepack(["apply", str(photo), *STARRY, *words, "--size=16", "--no-upscale"]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "there is not enough memory"),
        (
            ImportError("libtorch.so: failed\nto map", name="torch"),
            "cannot load torch: libtorch.so",
        ),
    ],
)
def test_a_lack_of_memory_is_one_line_everywhere(
    error: Exception,
    told: str,
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("stylepack.cli.gallery.find_photos", fail)
    assert stylepack(["gallery", str(photo)]) == 1
    assert told in only_line(capsys)


def test_other_errors_of_torch_are_not_hidden(photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("sizes differ")

    monkeypatch.setattr("stylepack.cli.gallery.find_photos", fail)
    with pytest.raises(RuntimeError, match="sizes differ"):
        stylepack(["gallery", str(photo)])


def test_words_that_only_look_empty_are_taken() -> None:
    refuse_empty(["packs", "list", "--query=e=", "-q", "", "--title=1+1=", "--mix", "a=1,b=2"])


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The console's clock: its `seconds` pass only when a test adds to them."""
    clock = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: clock.seconds))
    return clock


def test_long_units_are_told_where_there_is_no_terminal(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.meter("painting", 30) as meter:
        for unit in range(10):  # short ones: a line every ten seconds
            for tenth in range(10):
                clock.seconds += 0.25
                meter.share(tenth / 10)
            meter.advance(f"{unit}.jpg")
        for tenth in range(10):  # a long one
            clock.seconds += 3
            meter.share(tenth / 10)
    assert capsys.readouterr().err.splitlines() == [
        "painting 4/30  1:05 left  3.jpg",
        "painting 8/30  0:55 left  7.jpg",
        "painting 11/30: 30%",
        "painting 11/30: 70%",
    ]


def test_the_first_unit_alone_gives_no_time_left(
    clock: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    with console.meter("learning", 3) as meter:
        for spent in (40, 20, 12):
            clock.seconds += spent
            meter.advance()
    assert capsys.readouterr().err.splitlines() == [
        "learning 1/3",
        "learning 2/3  0:30 left",
        "learning 3/3  0:00 left",
    ]


def test_a_deleted_working_folder_is_one_line(
    tmp_path: Path, photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert stylepack(["apply", str(photo), *STARRY]) == 2
    assert only_line(capsys) == "the working folder no longer exists; change to another one"
