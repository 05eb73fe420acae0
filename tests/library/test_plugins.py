"""Packs by pip: found without running a line of the package, and written by `packs new`."""

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import BUNDLED, install_pack, picture

import stylepack as package
from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli.completion import complete_pack
from stylepack.cli.main import run as stylepack
from stylepack.errors import UsageError
from stylepack.images.photo import read_photo
from stylepack.library.plugins import packages
from stylepack.library.shelf import BUNDLED_PACKS, find_pack, shelf
from stylepack.packs.pack import load_pack
from stylepack.packs.trunk_file import load_trunk
from stylepack.painting.stylizer import Stylizer

EVIL = "raise SystemExit('this package was imported')\n"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path to put installed packages in."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def put(site: Path, name: str, packs: list[Path], value: str = "", module: str = "") -> None:
    """A distribution as pip leaves it, whose code must never run."""
    module = module or name.lower().replace("-", "_")
    (site / module / "packs").mkdir(parents=True)
    (site / module / "__init__.py").write_text(EVIL)
    for pack in packs:
        (site / module / "packs" / pack.name).write_bytes(pack.read_bytes())
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    value = value or f"{module}.packs"
    (info / "entry_points.txt").write_text(f"[stylepack.packs]\nsome = {value}\n")


def packs_command(capsys, *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = stylepack(["packs", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_packs_of_a_package_are_on_the_shelf(site, make_pack, capsys) -> None:
    put(site, "Foo.Packs", [make_pack("dots"), BUNDLED_PACKS / "wave.safetensors"], module="foo")
    code, out, said = packs_command(capsys, "list")
    assert (code, said) == (0, "")
    origins = {line.split("\t")[0]: line.split("\t")[6] for line in out.splitlines()}
    assert origins["dots"] == origins["foo-packs/wave"] == "pip foo-packs"
    assert origins["wave"] == "bundled"
    assert find_pack("dots") == find_pack("foo-packs/dots") == site / "foo/packs/dots.safetensors"
    code, out, _ = packs_command(capsys, "verify", "foo-packs/wave")
    assert (code, "wave\tgood" in out) == (0, True)


def test_an_own_pack_takes_the_place_of_a_packages(site, make_pack, capsys) -> None:
    put(site, "foo", [make_pack("dots", 1)])
    mine = make_pack("dots", 2)
    code, _, said = packs_command(capsys, "install", mine, "--trunk", mine.parent)
    assert code == 2
    placed = install_pack(mine, replace=True)
    assert find_pack("dots") == placed
    assert find_pack("foo/dots") == site / "foo" / "packs" / "dots.safetensors"
    assert "foo/dots" not in shelf()
    assert said


def test_remove_and_hide_name_pip(site, make_pack, capsys) -> None:
    put(site, "foo-packs", [make_pack("dots")])
    for command in (["remove", "-y"], ["hide"]):
        code, _, said = packs_command(capsys, *command, "dots")
        assert code == 2
        assert "`pip uninstall foo-packs`" in said


def test_two_packages_of_one_pack_are_told_in_one_line(site, make_pack, capsys) -> None:
    for name, seed in (("beta", 1), ("alpha", 2)):
        put(site, name, [make_pack("dots", seed)])
    code, out, said = packs_command(capsys, "list")
    assert code == 0
    assert "alpha/dots\t" in out
    assert "beta/dots\t" in out
    assert said == (
        "warning: 'dots' is in the packages alpha and beta; choose one: alpha/dots, beta/dots\n"
    )
    with pytest.raises(UsageError, match="choose one: alpha/dots, beta/dots"):
        find_pack("dots")


@pytest.mark.parametrize("value", ["foo.nowhere", "../../etc", "/etc", "foo:packs", "foo packs"])
def test_a_folder_that_is_not_there_is_told_and_stops_nothing(site, capsys, value: str) -> None:
    put(site, "foo", [], value)
    code, out, said = packs_command(capsys, "list")
    assert (code, len(out.splitlines())) == (0, len(BUNDLED))
    assert said.startswith("warning: package 'foo' declares packs in '")
    assert len(said.splitlines()) == 1


def test_a_package_elsewhere_on_the_path_is_found_as_of_an_editable_install(
    site, make_pack, tmp_path: Path, monkeypatch
) -> None:
    put(site, "foo", [make_pack("dots")])
    source = tmp_path / "source"
    source.mkdir()
    (site / "foo").rename(source / "foo")
    assert packages()[0].folder is None
    monkeypatch.syspath_prepend(str(source))
    assert find_pack("dots") == source / "foo" / "packs" / "dots.safetensors"


def test_damaged_packages_stop_nothing(site, make_pack, capsys) -> None:
    put(site, "foo", [make_pack("dots")])
    (site / "foo" / "packs" / "dots.safetensors").write_bytes(b"junk")
    bad = site / "bad-1.0.dist-info"
    bad.mkdir()
    (bad / "entry_points.txt").write_bytes(b"[stylepack.packs]\n\xff = \xfe")
    code, out, said = packs_command(capsys, "list")
    assert (code, len(out.splitlines())) == (0, len(BUNDLED))
    assert "dots.safetensors is not a safetensors file" in said


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("entry_points.txt", b"[stylepack.packs]\nnonsense\n"),
        ("entry_points.txt", b"[stylepack.packs]\n\xff = \xfe\n"),
        ("METADATA", b"Name: bro\xffken\n"),
        ("METADATA", b"\n"),
    ],
)
def test_a_damaged_record_is_told_in_one_warning(site, make_pack, capsys, file, content) -> None:
    put(site, "fine", [make_pack("dots")])
    put(site, "broken", [make_pack("lines")])
    (site / "broken-1.0.dist-info" / file).write_bytes(content)
    code, out, said = packs_command(capsys, "list")
    assert (code, len(out.splitlines())) == (0, len(BUNDLED) + 1)
    record = site / "broken-1.0.dist-info"
    assert said == f"warning: {record} is damaged; reinstall that package\n"
    assert complete_pack("do") == ["dots"]


def test_a_folder_declared_twice_has_its_packs_once(site, make_pack, capsys) -> None:
    put(site, "foo", [make_pack("dots")])
    points = "[stylepack.packs]\na = foo.packs\nb = foo.packs\nc = foo.more\n"
    (site / "foo-1.0.dist-info" / "entry_points.txt").write_text(points)
    (site / "foo" / "more").symlink_to(site / "foo" / "packs", target_is_directory=True)
    assert packs_command(capsys, "list")[2] == ""
    assert find_pack("dots") == site / "foo" / "packs" / "dots.safetensors"


@pytest.mark.parametrize("name", ["bundled", "installed", "mine"])
def test_a_package_does_not_hide_what_has_its_name(site, home, make_pack, capsys, name) -> None:
    placed = home / ("packs" if name == "installed" else "trunks/mine/packs") / "wave.safetensors"
    placed.parent.mkdir(parents=True)
    placed.write_bytes(make_pack("wave").read_bytes())
    put(site, name, [make_pack("wave", 2), make_pack("dots")])
    wanted = BUNDLED_PACKS / "wave.safetensors" if name == "bundled" else placed
    assert find_pack(f"{name}/wave") == wanted
    assert wanted in {pack.path for pack in shelf().values()}
    assert shelf().get(f"{name}/wave", shelf()["wave"]).path == wanted
    assert find_pack("dots") == site / name / "packs" / "dots.safetensors"
    said = packs_command(capsys, "list")[2]
    assert f"warning: package '{name}' has the name of another collection of packs" in said
    assert len(said.splitlines()) == 1


def test_a_folder_that_cannot_be_read_is_told_and_stops_nothing(home, monkeypatch, capsys) -> None:
    folder = home / "trunks" / "mine" / "packs"
    folder.mkdir(parents=True)

    def refusing(real):
        def refuse(path, *words):
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *words)

        return refuse

    monkeypatch.setattr(Path, "glob", refusing(Path.glob))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    code, out, said = packs_command(capsys, "list")
    assert (code, len(out.splitlines())) == (0, len(BUNDLED))
    assert said == f"warning: cannot read {folder}: Permission denied\n"
    assert stylepack(["trunks", "list"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"bundled\t{len(BUNDLED)}\t")
    assert shown.err.startswith("warning: trunk 'mine': ")


def test_new_refuses_in_one_line(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").mkdir()
    for words, told in (
        *(
            ([name, "wave"], "cannot be a package's name")
            for name in ("Bad_Name", "a--b", "a-", "a" * 65, "stylepack", "bundled", "installed")
        ),
        (["taken", "wave"], "already exists"),
        (["fine"], "you have installed no packs"),
        (["fine", "wvae"], "did you mean 'wave'"),
        (["no/fine", "wave"], "no such folder: no, for no/fine"),
    ):
        code, _, said = packs_command(capsys, "new", *words)
        assert code in (1, 2)
        assert told in said
        assert len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_new_believes_nothing_that_lies_there(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("mine")
    trap = Path(".stylepack-install-x")
    trap.mkdir()
    (trap / "placing.json").write_text('["mine.txt", "../mine.txt"]')
    assert packs_command(capsys, "new", "fine", "wave")[0] == 0
    assert Path("mine.txt").read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fine", "mine.txt"]


def test_new_says_what_lacks(make_pack, tiny_trunk, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "runs" / "mine"
    (folder / "packs").mkdir(parents=True)
    (folder / "trunk.safetensors").write_bytes(tiny_trunk[0].read_bytes())
    (folder / "packs" / "dots.safetensors").write_bytes(make_pack("dots").read_bytes())
    assert stylepack(["trunks", "install", str(folder)]) == 0
    code, out, said = packs_command(capsys, "new", tmp_path / "dot-packs", "dots")
    assert (code, out) == (0, f"{tmp_path / 'dot-packs'}\n")
    assert "'dots' has no licence" in said
    assert "trunk 'mine' is not bundled" in said
    project = tomllib.loads((tmp_path / "dot-packs" / "pyproject.toml").read_text())["project"]
    assert "license" not in project
    assert project["entry-points"]["stylepack.packs"] == {"dot-packs": "dot_packs.packs"}


def of_bundled(path: Path, **changes: object) -> Path:
    """A pack on the bundled trunk with other metadata."""
    config = load_trunk(BUNDLED_TRUNK)[0].config
    pack = load_pack(BUNDLED_PACKS / "starry.safetensors", config)
    replace(pack, manifest=replace(pack.manifest, **changes)).save(path, config)
    return path


@pytest.mark.parametrize(
    ("licence", "line"),
    [
        ("CC0-1.0", "CC0-1.0"),
        ("Proprietary", {"text": "Proprietary"}),
        ('Mine, \U0001f600\n\x7f"all" of it\\', {"text": 'Mine, \U0001f600 \\x7f"all" of it\\'}),
        (" \n", None),
    ],
)
def test_new_writes_any_licence_so_that_it_builds(tmp_path, licence: str, line) -> None:
    pack = of_bundled(tmp_path / "star.safetensors", license=licence)
    folder = tmp_path / "star-packs"
    assert stylepack(["packs", "new", str(folder), str(pack)]) == 0
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
    assert project.get("license") == line
    # What the build backend itself makes of it, without building.
    from hatchling.metadata.core import ProjectMetadata
    from hatchling.plugin.manager import PluginManager

    core = ProjectMetadata(str(folder), PluginManager()).core
    assert (core.license_expression or core.license) == (
        line["text"] if isinstance(line, dict) else line or ""
    )


def test_new_finds_damage_that_the_header_does_not_show(tmp_path: Path, capsys) -> None:
    content = (BUNDLED_PACKS / "wave.safetensors").read_bytes()
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    code, _, said = packs_command(capsys, "new", tmp_path / "bad-packs", bad)
    assert (code, "bad.safetensors is damaged" in said) == (1, True)
    assert not (tmp_path / "bad-packs").exists()


def test_new_takes_the_trunk_from_the_packs_that_name_one(tmp_path: Path, capsys) -> None:
    first = of_bundled(tmp_path / "a.safetensors", trunk_sha256="")
    code, _, said = packs_command(capsys, "new", tmp_path / "two", first, "wave")
    assert (code, "not bundled" in said) == (0, False)
    assert "that is bundled with stylepack." in (tmp_path / "two" / "README.md").read_text()


def test_new_takes_a_trunk_that_is_not_installed(tmp_path: Path, make_pack, tiny_trunk, capsys):
    words = ["new", tmp_path / "dot-packs", make_pack("dots")]
    code, _, said = packs_command(capsys, *words)
    assert (code, "give its file with --trunk FILE" in said) == (1, True)
    code, _, said = packs_command(capsys, *words, "--trunk", tiny_trunk[0])
    assert (code, f"trunk '{tiny_trunk[1][:8]}' is not bundled" in said) == (0, True)


def test_two_packs_of_one_name_are_neither_packaged_nor_exported(tmp_path, capsys) -> None:
    files = []
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        files.append(of_bundled(tmp_path / place / "starry.safetensors", title=place))
    for words in (["new", tmp_path / "both"], ["export", "-o", tmp_path / "both.onnx"]):
        code, _, said = packs_command(capsys, *words, *files)
        assert (code, "two of the packs are named 'starry'" in said) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


def test_a_package_is_built_installed_elsewhere_and_painted_with(tmp_path: Path, home) -> None:
    """As docs/make-a-pack.md has it, but that nothing is downloaded."""
    source = install_pack(BUNDLED_PACKS / "wave.safetensors", "surf")
    folder = tmp_path / "surf-packs"
    assert stylepack(["packs", "new", str(folder)]) == 0
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(folder)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = (folder / "dist").iterdir()
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=sys.platform != "win32")
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    python = str(scripts / Path(sys.executable).name)
    elsewhere = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # stylepack and what it needs, as they are here; the new package only there.
    here = [str(Path(package.__file__).parent.parent), sysconfig.get_path("purelib")]
    lines = [f"import site; site.addsitedir({place!r})\n" for place in here]
    Path(elsewhere, "here.pth").write_text("".join(lines))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps"]
    subprocess.run([*install, "--no-index", str(wheel)], check=True, capture_output=True)
    photo, painted = tmp_path / "photo.png", tmp_path / "painted.png"
    picture(48, 40).save(photo)
    words = ["apply", photo, "--style", "surf", "--precision", "float32", "-o", painted]
    strangers_home = {**os.environ, "STYLEPACK_HOME": str(tmp_path / "stranger")}
    done = subprocess.run(
        [python, "-m", "stylepack", *map(str, words)],
        env=strangers_home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wanted = Stylizer.load(str(source), precision="float32").paint(photo)
    assert torch.equal(read_photo(painted).pixels, wanted.pixels)
    assert not (tmp_path / "stranger").exists()
