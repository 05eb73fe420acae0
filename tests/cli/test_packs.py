"""`stylepack packs` beside install: list, info, remove, hide, restore, blend, verify, diff."""

import json
import os
import pty
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import BUNDLED, TINY, install_pack, picture

from stylepack import Stylizer
from stylepack.cli.completion import (
    complete_hidden,
    complete_installed,
    complete_mix,
    complete_pack,
)
from stylepack.cli.console import _narrowed
from stylepack.cli.main import run as stylepack
from stylepack.errors import PackError, UsageError
from stylepack.library.remove import hide_packs, restore_packs
from stylepack.library.shelf import BUNDLED_PACKS, find_pack, shelf, user_packs
from stylepack.packs.diff import compare, load_pair
from stylepack.packs.manifest import Manifest, read_manifest
from stylepack.packs.mix import parse_mix
from stylepack.packs.pack import Pack, blend_packs, load_pack


@pytest.fixture
def packs(capsys: pytest.CaptureFixture[str]):
    """Run a `packs` command: (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = stylepack(["packs", *map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def describe(path: Path, **changes: object) -> Path:
    """The same pack with other metadata."""
    pack = load_pack(path, TINY)
    Pack(replace(pack.manifest, **changes), pack.style).save(path, TINY)
    return path


# remove, hide, restore


def test_remove_without_a_terminal_needs_yes(packs, make_pack) -> None:
    install_pack(make_pack("dots"))
    code, _, said = packs("remove", "dots")
    assert code == 2
    assert "add -y" in said
    assert "dots" in shelf()
    assert packs("remove", "dots", "-y")[0] == 0
    assert "dots" not in shelf()


@pytest.mark.parametrize(("answer", "left"), [("y", False), ("n", True), ("", True)])
def test_remove_asks_on_a_terminal(make_pack, home: Path, answer: str, left: bool) -> None:
    install_pack(make_pack("dots"))
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "stylepack", "packs", "remove", "dots"]
    os.write(leader, f"{answer}\n".encode())
    done = subprocess.run(command, stdin=follower, capture_output=True, text=True, timeout=60)
    os.close(leader)
    os.close(follower)
    assert "Delete this pack?" in done.stderr
    assert done.returncode == left
    assert ("dots" in shelf()) == left


def test_remove_removes_all_or_none(packs, make_pack) -> None:
    for name in ("dots", "lines"):
        install_pack(make_pack(name))
    code, _, said = packs("remove", "dots", "starry", "-y")
    assert code == 2
    assert "packs hide starry" in said
    assert list(user_packs()) == ["dots", "lines"]
    assert packs("remove", "dots", "lines", "dots", "-y")[0] == 0
    assert not user_packs()


def test_a_pack_named_twice_is_removed_once(packs, make_pack) -> None:
    placed = install_pack(make_pack("dots"))
    code, _, said = packs("remove", "-y", "dots", "installed/dots")
    assert (code, said) == (0, f"removed {placed}\n")


def test_bundled_packs_are_hidden_and_restored_by_their_full_names(packs, make_pack) -> None:
    install_pack(make_pack("starry"), replace=True)
    assert packs("hide", "bundled/starry", "wave")[2].startswith("hid 'starry'; ")
    assert "wave" not in shelf()
    assert packs("restore", "bundled/wave")[2] == "restored wave\n"
    assert packs("restore", "--all")[2] == "restored starry\n"


@pytest.mark.parametrize(
    ("words", "closed", "code"),
    [("packs list", ">&-", 0), ("packs list", "2>&-", 0), ("packs remove dots", "<&-", 2)],
)
def test_a_stream_that_is_closed_is_no_traceback(make_pack, words, closed, code) -> None:
    install_pack(make_pack("dots"))
    done = subprocess.run(
        f"{shlex.quote(sys.executable)} -m stylepack {words} {closed}",
        shell=True,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert "dots" in shelf()


def test_of_a_narrow_table_the_names_stay_whole_and_the_last_columns_go() -> None:
    assert _narrowed([9, 40, 40, 5], 60) == [9, 20, 20, 5]
    assert _narrowed([9, 40, 8, 5], 60) == [9, 32, 8, 5]
    assert _narrowed([4, 4], 20) == [4, 4]
    assert _narrowed([11, 40, 20, 7], 40) == [11, 12, 12]
    assert _narrowed([11, 40, 20, 7], 30) == [11, 17]
    assert _narrowed([11, 40, 20, 7], 10) == [11]


def test_the_bundled_pack_comes_back_when_the_one_before_it_goes(packs, make_pack) -> None:
    install_pack(make_pack("starry"), replace=True)
    assert "'starry' is now the bundled pack again" in packs("remove", "starry", "-y")[2]
    assert shelf()["starry"].bundled


def test_hidden_packs_are_gone_until_they_are_restored(packs, home: Path) -> None:
    assert packs("hide", "starry", "wave")[0] == 0
    assert list(shelf()) == [name for name in BUNDLED if name not in ("starry", "wave")]
    with pytest.raises(UsageError, match=r"'starry' is hidden.*`stylepack packs restore starry`"):
        find_pack("starry")
    assert packs("restore", "wave")[0] == 0
    assert "wave" in shelf()
    assert packs("restore", "--all")[2] == "restored starry\n"
    assert packs("restore", "--all")[2] == "no pack is hidden\n"
    assert list(shelf()) == BUNDLED
    assert [path.name for path in home.iterdir()] == ["hidden.json"]


def test_an_installed_pack_takes_the_name_of_a_hidden_one(make_pack) -> None:
    hide_packs(["starry"])
    placed = install_pack(make_pack("starry"))
    assert find_pack("starry") == placed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["hide", "photo"], "cannot be hidden"),
        (["hide", "stary"], "did you mean 'starry'"),
        (["hide", "starry", "dots"], "packs remove dots"),
        (["restore", "starry"], "'starry' is not hidden; no pack is"),
        (["restore"], "names of hidden packs or --all"),
        (["restore", "starry", "--all"], "names of hidden packs or --all"),
    ],
)
def test_hide_and_restore_refuse_in_one_line(packs, make_pack, words, said) -> None:
    install_pack(make_pack("dots"))
    code, _, line = packs(*words)
    assert code == 2
    assert said in line
    assert "starry" in shelf()


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"null", b'{"hidden": 1}', b'{"hidden": [1]}', b"\xff", b"[" * 9999],
)
def test_a_damaged_list_of_hidden_packs_says_how_to_mend_it(packs, home: Path, damage) -> None:
    home.mkdir()
    (home / "hidden.json").write_bytes(damage)
    code, _, said = packs("list")
    assert code == 1
    assert "hidden.json is damaged; `stylepack packs restore --all`" in said
    assert packs("restore", "--all")[0] == 0
    assert list(shelf()) == BUNDLED


# blend


def test_painting_with_a_blend_is_painting_with_the_mix(
    packs, make_pack, tiny_trunk, tmp_path: Path
) -> None:
    trunk, _ = tiny_trunk
    a, b = make_pack("dots", 1), describe(make_pack("lines", 2), own_contrast=0.7)
    mix = f"{a}=1,{b}=2"
    out = tmp_path / "dusk.safetensors"
    assert packs("blend", mix, "--name", "dusk", "-o", out, "--trunk", trunk)[0] == 0
    ours = Stylizer.load(str(out), trunk=trunk, device="cpu")
    theirs = Stylizer.load(mix, trunk=trunk, device="cpu")
    assert torch.equal(ours.style.vectors, theirs.style.vectors)
    assert torch.equal(ours.style.photo_contrast, theirs.style.photo_contrast)
    assert 0 < float(ours.style.photo_contrast) < 0.7
    photo = picture(40, 32)
    assert ours.paint(photo) == theirs.paint(photo)


def test_a_blend_whose_name_is_taken_meanwhile_is_kept(
    packs, make_pack, tiny_trunk, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = home / "packs" / "dusk.safetensors"

    def thumbnail(*_) -> str:  # another command is quicker
        theirs.write_bytes(b"theirs")
        return ""

    monkeypatch.setattr("stylepack.packs.thumbnail.thumbnail", thumbnail)
    monkeypatch.chdir(tmp_path)
    mix = f"{make_pack('dots', 1)}=1,{make_pack('lines', 2)}=2"
    code, _, said = packs("blend", mix, "--name", "dusk", "--trunk", tiny_trunk[0])
    assert code == 1
    assert "this one is in dusk.safetensors" in said
    assert theirs.read_bytes() == b"theirs"
    assert read_manifest(tmp_path / "dusk.safetensors").name == "dusk"


def test_a_blend_says_what_it_was_made_of(packs, make_pack, tiny_trunk, home: Path) -> None:
    trunk, digest = tiny_trunk
    a = describe(make_pack("dots", 1), license="CC0-1.0", style_image={"artist": "A", "year": "1"})
    b = describe(make_pack("lines", 2), license="CC0-1.0", style_image={"artist": "B"})
    words = ("blend", f"{a}=3,{b}=1", "--name", "dusk", "--trunk", trunk)
    code, _, said = packs(*words)
    assert code == 0, said
    manifest = read_manifest(home / "packs" / "dusk.safetensors")
    assert manifest.merged_from == "dots=0.75,lines=0.25"
    assert manifest.train["blend"] == [
        {"name": "dots", "sha256": read_manifest(a).sha256, "weight": 0.75},
        {"name": "lines", "sha256": read_manifest(b).sha256, "weight": 0.25},
    ]
    assert (manifest.title, manifest.license) == ("75% Dots, 25% Lines", "CC0-1.0")
    assert manifest.style_image["artist"] == "A, B"
    assert manifest.trunk_sha256 == digest
    assert manifest.thumbnail.startswith("data:image/jpeg;base64,")
    code, _, said = packs(*words)
    assert code == 1
    assert "'dusk' is installed already" in said
    assert packs(*words, "--replace", "--title", "Dusk")[0] == 0
    assert shelf()["dusk"].manifest().title == "Dusk"


def test_licences_that_differ_are_left_out_and_it_is_said(packs, make_pack, tiny_trunk) -> None:
    a, b = describe(make_pack("dots"), license="CC0-1.0"), make_pack("lines")
    words = ("blend", f"{a},{b}", "--name", "dusk", "--trunk", tiny_trunk[0])
    assert "do not share a licence" in packs(*words)[2]
    assert shelf()["dusk"].manifest().license == ""
    assert "do not share a licence" not in packs(*words, "--replace", "--license", "MIT")[2]
    assert shelf()["dusk"].manifest().license == "MIT"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["starry=1,scream=1", "--name", "Dusk"], 2, "cannot be a pack's name"),
        (["starry=0", "--name", "dusk"], 2, "all zero"),
        (["starry,scremm", "--name", "dusk"], 2, "did you mean 'scream'"),
        (["starry,scream", "--name", "dusk", "-o", "dusk.pt"], 2, "dusk.safetensors"),
        (["starry,scream", "--name", "dusk", "-o", "taken.safetensors"], 2, "already exists"),
        (["starry,scream"], 2, "--name"),
        (["starry,foreign.safetensors", "--name", "dusk"], 2, "belongs to trunk"),
    ],
)
def test_a_blend_is_refused_in_one_line(
    packs, make_pack, tmp_path, monkeypatch, home, words, code, said
) -> None:
    monkeypatch.chdir(tmp_path)
    pack = load_pack(BUNDLED_PACKS / "wave.safetensors", config_of_bundled())
    foreign = replace(pack, manifest=replace(pack.manifest, trunk_sha256="ab" * 32))
    foreign.save(tmp_path / "foreign.safetensors", config_of_bundled())
    (tmp_path / "taken.safetensors").write_text("mine")
    assert packs("blend", *words)[0] == code
    assert said in packs("blend", *words)[2]
    assert (tmp_path / "taken.safetensors").read_text() == "mine"
    assert not home.exists()


def config_of_bundled():
    from stylepack.bundled import BUNDLED_TRUNK
    from stylepack.packs.trunk_file import load_trunk

    return load_trunk(BUNDLED_TRUNK)[0].config


def test_packs_of_two_trunks_are_not_blended(make_pack) -> None:
    packs = {
        name: load_pack(make_pack(name, trunk_sha256=digest * 32), TINY)
        for name, digest in (("dots", "ab"), ("lines", "cd"))
    }
    with pytest.raises(UsageError, match="different trunks"):
        blend_packs(parse_mix("dots,lines"), packs, Manifest("dusk"))
    assert blend_packs(parse_mix("dots,lines=0"), packs, Manifest("dusk")).manifest.merged_from


# verify and diff


def test_verify_names_what_is_bad(packs, make_pack, home: Path) -> None:
    code, out, _ = packs("verify")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows] == ["trunk bundled", *BUNDLED]
    assert all(row[1] == "good" for row in rows)
    hide_packs(["wave"])
    wave = (BUNDLED_PACKS / "wave.safetensors").read_bytes()
    (home / "packs").mkdir()
    (home / "packs" / "flipped.safetensors").write_bytes(wave[:-1] + bytes([wave[-1] ^ 1]))
    (home / "packs" / "cut.safetensors").write_bytes(wave[:-9])
    install_pack(make_pack("foreign"))
    code, out, said = packs("verify")
    assert code == 1
    states = {line.split("\t")[0]: line.split("\t")[1] for line in out.splitlines()}
    assert states["flipped"].startswith("BAD: ")
    assert "does not match its hash" in states["flipped"]
    assert states["cut"].startswith("BAD: ")
    assert states["foreign"].startswith("good, of another trunk: ")
    assert states["wave"] == "good"
    assert f"2 of {len(BUNDLED) + 4} files are damaged" in said
    code, out, _ = packs("verify", "wave", "starry")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert packs("verify", "nonesuch")[0] == 2


def test_verify_finds_a_pack_of_other_sizes_that_claims_the_trunk(
    packs, make_pack, home: Path
) -> None:
    ours = read_manifest(BUNDLED_PACKS / "wave.safetensors").trunk_sha256
    install_pack(make_pack("small", trunk_sha256=ours))
    code, out, _ = packs("verify", "small")
    assert code == 1
    assert "BAD: " in out


def test_verify_goes_on_without_the_trunk(packs, tmp_path: Path) -> None:
    trunk = tmp_path / "t.safetensors"
    trunk.write_bytes(b"junk")
    code, out, said = packs("verify", "--trunk", trunk)
    assert code == 1
    assert f"1 of {len(BUNDLED) + 1}" in said
    assert out.startswith("trunk t.safetensors\tBAD: ")


def test_diff_of_a_pack_with_itself_is_nothing(packs) -> None:
    code, out, _ = packs("diff", "starry", "starry")
    assert code == 0
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[0] for row in rows][:2] == ["conv1", "conv2"]
    assert rows[-1] == ["all", "0.0000", "0.0000", "+1.0000"]


def test_diff_measures_as_it_says(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    neutral = TINY.neutral_style()
    way = torch.randn(TINY.style_size, generator=generator)
    paths = []
    for name, strength in (("weak", 0.5), ("strong", 1.0)):
        paths.append(tmp_path / f"{name}.safetensors")
        Pack(Manifest(name), neutral + strength * way).save(paths[-1], TINY)
    a, b, config = load_pair(*paths)
    rows = {row.norm: row for row in compare(a, b, config)}
    assert list(rows) == [slot.name for slot in TINY.layout()] + ["all"]
    assert all(row.cosine == pytest.approx(1, abs=1e-6) for row in rows.values())
    # Betas of which one is half the other: |a - b| / sqrt(|a| |b|) = 0.5 / sqrt(0.5).
    assert all(row.beta == pytest.approx(0.5**0.5, rel=1e-5) for row in rows.values())


def test_diff_tells_metadata_apart(packs, make_pack) -> None:
    a = describe(make_pack("dots"), train={"seed": 1, "layers": ["x", "y"]}, own_contrast=0.5)
    b = describe(make_pack("lines"), train={"seed": 2, "layers": ["x", "y"]}, license="MIT")
    out = packs("diff", a, b)[1]
    told = {line.split("\t")[0] for line in out.split("\n\n")[1].splitlines()}
    assert told == {"name", "title", "license", "own_contrast", "train.seed"}


def test_packs_of_other_sizes_are_not_compared(packs, make_pack) -> None:
    code, _, said = packs("diff", "starry", make_pack("dots"))
    assert code == 1
    assert "different sizes" in said


def test_neutral_packs_are_compared_too(tmp_path: Path) -> None:
    path = tmp_path / "n.safetensors"
    Pack(Manifest("n"), TINY.neutral_style()).save(path, TINY)
    whole = list(compare(*load_pair(path, path)))[-1]
    assert (whole.gamma, whole.beta) == (0, 0)
    assert whole.cosine != whole.cosine
    with pytest.raises(PackError):
        load_pair(path, BUNDLED_PACKS.parent / "trunk.safetensors")


# list, info, completion


def test_list_shows_trunk_size_and_origin(packs, make_pack) -> None:
    install_pack(make_pack("dots", trunk_sha256="ab" * 32))
    rows = {line.split("\t")[0]: line.split("\t") for line in packs("list")[1].splitlines()}
    size = f"{(BUNDLED_PACKS / 'starry.safetensors').stat().st_size / 1000:.0f} KB"
    assert rows["starry"][4:] == ["bundled", size, "bundled"]
    assert rows["dots"][4:] == ["abababab", "2 KB", "installed"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("GOGH", {"starry", "nightcafe", "wheatfield"}),
        ("wave", {"wave"}),
        ("identity", {"photo"}),
        ("Style Transfer", set(BUNDLED)),
        ("zzz", set()),
    ],
)
def test_list_searches_what_packs_say(packs, query: str, names: set[str]) -> None:
    out = packs("list", "-q", query)[1]
    assert {line.split("\t")[0] for line in out.splitlines()} == names
    found = json.loads(packs("list", "-q", query, "--json")[1])
    assert {pack["name"] for pack in found} == names
    said = packs("list", "-q", query)[2]
    assert said == ("" if names else f"no pack matches '{query}'; see `stylepack packs list`\n")


def test_info_shows_recipe_and_metrics(packs) -> None:
    short = dict(line.split("\t") for line in packs("info", "starry")[1].splitlines())
    assert [*short][:4] == ["name", "title", "artist", "year"]
    assert short["losses"].startswith("content 0.")
    assert "sha256" not in short
    lines = dict(line.split("\t") for line in packs("info", "starry", "--all")[1].splitlines())
    assert len(lines["sha256"]) == 64
    assert lines["train.style_layers"] == "relu1_1, relu2_1, relu3_1, relu4_1, relu5_1"
    assert float(lines["metrics.content"]) > 0
    assert lines["tags"] == "style transfer"


EVIL = "[/red]\x1b[2J\u202e\ud800\n"


def test_hostile_words_are_text_everywhere(packs, make_pack) -> None:
    told = {"artist": EVIL, "list": [EVIL, {"deep": [EVIL]}], EVIL: EVIL}
    evil = EVIL.replace("\ud800", "")
    path = describe(make_pack("dots"), title=evil * 1000, tags=evil, license=evil, style_image={})
    pack = load_pack(path, TINY)
    object.__setattr__(pack.manifest, "style_image", {"x": 1})
    metadata = pack.manifest.to_metadata() | {"stylepack.style_image": json.dumps(told)}
    from stylepack.packs.tensors import read_tensors, write_tensors

    write_tensors(path, read_tensors(path, 1 << 22)[1], metadata)
    install_pack(path)
    for words in (
        ["list"],
        ["list", "--json"],
        ["info", "dots"],
        ["info", "dots", "--json"],
        ["diff", "dots", path],
        ["diff", "dots", make_pack("lines")],
        ["verify"],
    ):
        code, out, said = packs(*words)
        assert code == 0, said
        assert all(c.isprintable() or c in "\t\n" for c in out)
        out.encode()


def test_a_terminal_shows_hostile_words_as_text(make_pack, home: Path) -> None:
    install_pack(describe(make_pack("dots"), title="[/red][bold]\x1b]0;x\x07" * 20))
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "stylepack", "packs", "list", "-q", "dots"]
    environment = {**os.environ, "COLUMNS": "100", "TERM": "xterm"}
    done = subprocess.run(command, stdout=follower, env=environment, timeout=60)
    os.close(follower)
    shown = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert done.returncode == 0
    assert "[/red][bold]" in shown
    assert "\x1b]" not in shown
    assert "\x07" not in shown


def test_completion_of_names_and_mixes(make_pack) -> None:
    install_pack(make_pack("scribble"))
    assert complete_pack("sc") == ["scream", "scribble"]
    assert complete_mix("sc") == ["scream", "scribble"]
    assert complete_mix("starry=0.5,scre") == ["starry=0.5,scream"]
    assert complete_mix("scream=0.5,sc") == ["scream=0.5,scribble"]
    assert complete_mix("starry=0.5,scream=") == []
    assert complete_installed("") == ["scribble"]
    hide_packs(["scream"])
    assert complete_pack("sc") == ["scribble"]
    assert complete_hidden("") == ["scream"]
    restore_packs()
    assert complete_hidden("") == []


def test_completion_never_fails(home: Path) -> None:
    home.mkdir()
    (home / "hidden.json").write_text("{")
    assert complete_pack("") == complete_mix("") == complete_hidden("") == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stylepack apply a.jpg --mix starry=0.5,sc", "starry=0.5,scream"),
        ("stylepack apply a.jpg --style wa", "wave"),
        ("stylepack packs info comp", "composition"),
        ("stylepack packs remove do", "dots"),
        ("stylepack packs blend starry,wa", "starry,wave"),
    ],
)
def test_the_shell_gets_them_without_torch(make_pack, line: str, expected: str) -> None:
    install_pack(make_pack("dots"))
    code = "import sys; sys.modules['torch'] = None\nfrom stylepack.cli.main import main\nmain()\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "_STYLEPACK_COMPLETE": "complete_zsh",
            "_TYPER_COMPLETE_ARGS": line,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f'"{expected}"' in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("stylepack apply a.jpg --mix starry = 0.5,sc", "0.5,scream"),
        ("stylepack apply a.jpg --mix = starry = 0.5,sc", "0.5,scream"),
        ("stylepack apply a.jpg --style = wa", "wave"),
        ("stylepack apply a.jpg --mix starry,sc", "starry,scream"),
        ("stylepack packs blend starry = 1,scream = 1,wa", "1,wave"),
        ("stylepack apply a.jpg --trunk bu", "bundled"),
    ],
)
def test_bash_gets_what_follows_the_last_equals_sign(words: str, expected: str) -> None:
    """As bash splits them: checked in a real one, Tab and all."""
    split = words.split(" ")
    done = subprocess.run(
        [sys.executable, "-m", "stylepack"],
        env={
            **os.environ,
            "_STYLEPACK_COMPLETE": "complete_bash",
            "COMP_WORDS": "\n".join(split),
            "COMP_CWORD": str(len(split) - 1),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.split() == [expected], done.stderr


@pytest.mark.parametrize("meant", ["x", "-1", "99", ""])
def test_a_shell_that_says_nonsense_gets_no_traceback(meant: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stylepack"],
        env={
            **os.environ,
            "_STYLEPACK_COMPLETE": "complete_bash",
            "COMP_WORDS": "stylepack\npa",
            "COMP_CWORD": meant,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""


def test_help_and_the_light_commands_load_no_torch(home: Path) -> None:
    names = ("list", "info", "install", "remove", "hide", "restore", "new", "blend")
    lines = [[name, "--help"] for name in (*names, "export", "verify", "diff")]
    lines += [["list", "-q", "gogh"], ["info", "wave"], ["hide", "wave"], ["restore", "--all"]]
    lines += [["install", "http://example.org/a"]]
    code = (
        "import sys\nfrom stylepack.cli.main import run\n"
        f"codes = [run(['packs', *words]) for words in {lines!r}]\n"
        "print(codes, {'torch', 'numpy', 'PIL'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.splitlines()[-1] == f"{[0] * (len(lines) - 1) + [2]} set()"


def test_words_that_are_no_utf8_are_escaped_in_packs(packs, tmp_path: Path) -> None:
    out = tmp_path / "a.safetensors"
    words = ("--name", "a", "--title", os.fsdecode(b"a\xff"), "-o", out)
    assert packs("blend", "starry,wave", *words)[0] == 0
    assert read_manifest(out).title == r"a\udcff"


def test_a_blend_of_boundless_words_can_be_read(packs, make_pack, tiny_trunk) -> None:
    names = []
    for index in range(2):
        path = make_pack(f"big{index}", seed=index)
        pack = load_pack(path, TINY)
        told = replace(pack.manifest, title="t" * 400_000, tags="t" * 50_000)
        replace(pack, manifest=told).save(path, TINY)
        names.append(str(path))
    code, _, said = packs("blend", ",".join(names), "--name", "mix", "--trunk", tiny_trunk[0])
    assert code == 0, said
    assert len(read_manifest(find_pack("mix")).title) < 300


def test_packs_hidden_at_once_are_all_hidden(packs) -> None:
    names = ["cassis", "composition", "kirchner", "lilies", "marine", "wave"]
    command = [sys.executable, "-m", "stylepack", "packs", "hide"]
    hiding = [subprocess.Popen([*command, name], stderr=subprocess.PIPE) for name in names]
    assert [one.communicate() and one.returncode for one in hiding] == [0] * len(names)
    assert not set(names) & shelf().keys()


def test_json_is_json_whatever_stdout_can_write() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stylepack", "packs", "list", "--json", "-q", "nightcafe"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout.decode("ascii"))[0]["title"] == "The Night Café"


def test_a_pipe_on_the_shelf_is_named_and_not_waited_for(packs, home: Path) -> None:
    (home / "packs").mkdir(parents=True)
    os.mkfifo(home / "packs" / "x.safetensors")
    code, out, said = packs("list")
    assert (code, "starry" in out, "x.safetensors is a pipe" in said) == (0, True, True)
