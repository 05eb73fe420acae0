"""More than one trunk: installed with their packs, named by packs, used, removed."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import TINY, install_pack, picture

from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.errors import StylepackError, UsageError, WrongTrunkError
from stylepack.library import install as trunk_install
from stylepack.library import transaction as staging
from stylepack.library.resolve import resolve
from stylepack.library.shelf import BUNDLED_PACKS, find_pack, shelf, user_packs
from stylepack.library.trunks import find_trunk, known_trunks
from stylepack.network.trunk import Trunk
from stylepack.packs.manifest import Manifest, read_manifest
from stylepack.packs.pack import Pack, load_pack
from stylepack.packs.trunk_file import load_trunk, save_trunk
from stylepack.painting.stylizer import Stylizer

STEPS = ("--updates", "2")


@pytest.fixture
def make_run(tmp_path: Path):
    """A folder as `train` leaves it: `make_run("mine", ["dawn", "photo"])` -> its path."""

    def make(name: str, packs: list[str], seed: int = 0) -> Path:
        folder = tmp_path / "runs" / name
        (folder / "packs").mkdir(parents=True)
        torch.manual_seed(seed)
        digest = save_trunk(folder / "trunk.safetensors", Trunk(TINY), {"modelspec.author": "Me"})
        (folder / "checkpoint.safetensors").write_bytes(b"is not looked at")
        for pack in packs:
            style = torch.randn(TINY.style_size)
            Pack(Manifest(pack, digest, pack.title(), own_contrast=0.5), style).save(
                folder / "packs" / f"{pack}.safetensors", TINY
            )
        return folder

    return make


@pytest.fixture
def trunks(capsys: pytest.CaptureFixture[str]):
    """Run a command: (exit code, stdout, stderr)."""

    def run(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = stylepack([*map(str, words)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture(40, 32).save(path)
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_run_is_installed_by_one_command_and_paints(make_run, trunks, photo, home) -> None:
    run = make_run("mine", ["dawn", "photo", "starry"])
    code, _, said = trunks("trunks", "install", run)
    assert code == 0, said
    assert "installed trunk 'mine' with dawn, photo, starry" in said
    assert files_of(home / "trunks" / "mine") == {
        name: content for name, content in files_of(run).items() if "checkpoint" not in name
    }
    assert {"dawn", "mine/photo", "mine/starry", "photo", "starry"} <= shelf().keys()
    code, _, said = trunks("apply", photo, "--mix", "dawn,mine/starry", "--strength", "0.5")
    assert code == 0, said
    by_file = Stylizer.load(
        f"{run}/packs/dawn.safetensors,{run}/packs/starry.safetensors",
        trunk=run / "trunk.safetensors",
        strength=0.5,
    )
    by_name = Stylizer.load("dawn,mine/starry", strength=0.5)
    assert torch.equal(by_file.paint(photo).pixels, by_name.paint(photo).pixels)


def test_packs_choose_their_trunk_and_a_mix_across_trunks_is_refused(
    make_run, trunks, photo, tmp_path
) -> None:
    mine, other = make_run("mine", ["dawn"], 1), make_run("other", ["dusk"], 2)
    for run in (mine, other):
        assert trunks("trunks", "install", run)[0] == 0
    trunk_files = [resolve([name]).trunk for name in ("dawn", "dusk", "wave")]
    known = known_trunks()
    assert trunk_files == [known["mine"].path, known["other"].path, BUNDLED_TRUNK]
    assert resolve([]).trunk == BUNDLED_TRUNK
    for words in (
        ["apply", photo, "--mix", "dawn,dusk"],
        ["apply", photo, "--style", "dawn", "--region", f"{photo}=dusk"],
        ["grid", photo, "--corners", "dawn,dusk", "-o", tmp_path / "grid.png"],
        ["study", "interpolate", "--corners", "dawn,dusk", "-o", tmp_path / "study"],
        ["gallery", photo, "--style", "dawn", "--style", "dusk", "-o", tmp_path / "gallery.png"],
        ["packs", "blend", "dawn,dusk", "--name", "both"],
        ["packs", "export", "dawn", "dusk", "-o", tmp_path / "both.onnx"],
        ["packs", "new", tmp_path / "both", "dawn", "dusk"],
    ):
        code, _, said = trunks(*words)
        assert code == 2, words
        assert said == (
            "error: 'dawn' belongs to trunk mine and 'dusk' to trunk other; packs are painted and "
            "mixed on one trunk\n"
        )


def test_every_command_takes_the_trunk_that_packs_name(make_run, trunks, photo, tmp_path) -> None:
    assert trunks("trunks", "install", make_run("mine", ["dawn", "dusk"]))[0] == 0
    for words in (
        ["grid", photo, "--corners", "dawn,dusk", "--steps", "2", "-o", tmp_path / "grid.png"],
        ["study", "interpolate", "--quick", "--corners", "dawn,dusk", "-o", tmp_path / "study"],
        ["gallery", photo, "--style", "dawn", "-o", tmp_path / "gallery.png"],
        ["packs", "blend", "dawn,dusk", "--name", "both"],
        ["packs", "export", "dawn", "-o", tmp_path / "dawn.onnx"],
        ["packs", "verify", "dawn"],
        ["packs", "install", find_pack("dawn"), "--as", "again"],
    ):
        code, _, said = trunks(*words)
        assert code == 0, (words, said)
    assert read_manifest(find_pack("both")).trunk_sha256 == known_trunks()["mine"].sha256


def test_a_plain_name_is_the_bundled_pack_before_that_of_a_trunk(make_run, trunks, home) -> None:
    run = make_run("mine", ["dawn", "photo", "starry"])
    assert trunks("trunks", "install", run)[0] == 0
    assert (
        find_pack("starry") == find_pack("bundled/starry") == BUNDLED_PACKS / "starry.safetensors"
    )
    assert find_pack("mine/starry") == home / "trunks" / "mine" / "packs" / "starry.safetensors"
    with pytest.raises(UsageError, match=r"no pack 'noon' in 'mine'; it has .*starry"):
        find_pack("mine/noon")
    rows = [line.split("\t") for line in trunks("packs", "list")[1].splitlines()]
    told = {row[0]: (row[4], row[6]) for row in rows}
    assert told["mine/starry"] == ("mine", "trunk mine")
    assert told["starry"] == ("bundled", "bundled")
    assert trunks("trunks", "list")[1].splitlines()[1].split("\t")[:2] == ["mine", "3"]
    assert find_trunk(None) == BUNDLED_TRUNK


@pytest.fixture
def learning(photos: Path, vgg_file: Path, tmp_path: Path) -> list[str]:
    """Options for the smallest of training and measuring."""
    recipe = tmp_path / "small.toml"
    recipe.write_text("batch = 2\ncrop = 32\nphoto_side = 40\nstyle_side = 48\nscales = 1\n")
    return [
        *("--photos", str(photos), "--vgg-weights", str(vgg_file), "--device", "cpu"),
        *("--recipe", str(recipe)),
    ]


def test_learning_and_measuring_are_on_the_trunk_that_is_meant(
    make_run, trunks, paintings, learning, tmp_path: Path
) -> None:
    assert trunks("trunks", "install", make_run("mine", ["dawn"]))[0] == 0
    mine = known_trunks()["mine"].sha256
    evaluate = ["evaluate", "--paintings", paintings, *learning, "--limit", 1, "-o", tmp_path / "e"]
    code, _, said = trunks(*evaluate, "--style", "dawn")  # the one that the pack names
    assert code == 0, said
    assert json.loads((tmp_path / "e" / "evaluation.json").read_text())["trunk"]["sha256"] == mine
    words = ["add-style", paintings / "dawn.png", "--trunk", "mine", "--name", "new", *STEPS]
    code, _, said = trunks(*words, *learning)
    assert code == 0, said
    assert read_manifest(find_pack("new")).trunk_sha256 == mine
    words = ["add-style", paintings / "dawn.png", "--name", "old", *STEPS]
    assert trunks(*words, *learning)[0] == 0
    assert read_manifest(find_pack("old")).trunk_sha256 == known_trunks()["bundled"].sha256


def test_training_starts_from_a_trunk_by_name_and_is_installed(
    make_run, trunks, paintings, learning, tmp_path: Path
) -> None:
    assert trunks("trunks", "install", make_run("mine", ["dawn"]))[0] == 0
    run = tmp_path / "runs" / "next"
    words = ["train", "--styles", paintings, "--start-from", "mine", "-o", run, "--updates", 2]
    code, _, said = trunks(*words, *learning)
    assert code == 0, said
    code, _, said = trunks("trunks", "install", run)
    assert code == 0, said
    assert {"mine/dawn", "next/dawn", "dusk-over-sea", "next/photo"} <= shelf().keys()


def test_an_own_pack_comes_first_and_the_trunks_is_still_there(make_run, trunks) -> None:
    run = make_run("mine", ["dawn"])
    assert trunks("trunks", "install", run)[0] == 0
    code, _, said = trunks("packs", "install", BUNDLED_PACKS / "wave.safetensors", "--as", "dawn")
    assert code == 1
    assert "a different pack 'dawn' comes with trunk mine already" in said
    assert trunks("packs", "install", run / "packs" / "dawn.safetensors")[0] == 0  # the same
    install_pack(BUNDLED_PACKS / "wave.safetensors", "dawn", replace=True)
    assert find_pack("dawn") == user_packs()["dawn"].path
    assert shelf()["mine/dawn"].collection == "mine"


def test_names_that_two_trunks_have_are_asked_for(make_run, trunks) -> None:
    for name in ("one", "two"):
        run = make_run(name, ["dawn"], seed=len(known_trunks()))
        assert trunks("trunks", "install", run)[0] == 0
    with pytest.raises(UsageError, match=r"several packs 'dawn'; choose one: one/dawn, two/dawn"):
        find_pack("dawn")
    assert {"one/dawn", "two/dawn"} <= shelf().keys()


def test_a_trunk_comes_as_a_zip_or_a_file(make_run, trunks, tmp_path: Path, home: Path) -> None:
    run = make_run("mine", ["dawn"])
    archive = Path(shutil.make_archive(str(tmp_path / "shared"), "zip", run.parent, "mine"))
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert trunks("trunks", "install", archive, "--sha256", "0" * 64)[0] == 1
    assert not home.exists()
    assert trunks("trunks", "install", archive, "--sha256", digest)[0] == 0
    assert {"trunk.safetensors", "packs/dawn.safetensors"} == set(
        files_of(home / "trunks" / "shared")
    )
    code, _, said = trunks("trunks", "install", run)
    assert (code, "is already installed, as 'shared'" in said) == (1, True)
    assert trunks("trunks", "remove", "shared", "-y")[0] == 0
    assert trunks("trunks", "install", run / "trunk.safetensors", "--as", "bare")[0] == 0
    assert set(files_of(home / "trunks" / "bare")) == {"trunk.safetensors"}
    assert trunks("packs", "install", run / "packs")[0] == 0
    assert find_pack("dawn") == home / "packs" / "dawn.safetensors"


def spoil_trunk(run: Path) -> None:
    path = run / "trunk.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def spoil_pack(run: Path) -> None:
    path = run / "packs" / "dusk.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")


def foreign_pack(run: Path) -> None:
    shutil.copy(BUNDLED_PACKS / "wave.safetensors", run / "packs")


def no_trunk(run: Path) -> None:
    (run / "trunk.safetensors").unlink()


def pack_as_trunk(run: Path) -> None:
    shutil.copy(run / "packs" / "dawn.safetensors", run / "trunk.safetensors")


def no_hash(run: Path) -> None:
    path = run / "trunk.safetensors"
    path.write_bytes(path.read_bytes().replace(b"modelspec.hash_sha256", b"modelspec.hush_sha256"))


def twice(run: Path) -> None:
    shutil.copy(run / "packs" / "dawn.safetensors", run / "packs" / "other.safetensors")


@pytest.mark.parametrize(
    "spoil", [spoil_trunk, spoil_pack, foreign_pack, no_trunk, pack_as_trunk, twice, no_hash]
)
@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
def test_one_bad_file_and_nothing_is_installed(make_run, trunks, home, spoil, zipped) -> None:
    run = make_run("mine", ["dawn", "dusk"])
    spoil(run)
    source = shutil.make_archive(str(run), "zip", run) if zipped else run
    code, _, said = trunks("trunks", "install", source)
    assert code in (1, 2)
    assert len(said.splitlines()) == 1
    assert not home.exists()


@pytest.mark.parametrize("name", ["bundled", "installed", "../up", "con", "Mine", "a b"])
def test_names_that_no_trunk_can_have(make_run, trunks, home: Path, name: str) -> None:
    code, _, said = trunks("trunks", "install", make_run("mine", ["dawn"]), "--as", name)
    assert code == 2
    assert "--as NAME" in said
    assert not home.exists()


def test_a_training_that_was_stopped_is_to_be_continued(
    tmp_path: Path, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(b"")
    assert stylepack(["trunks", "install", str(tmp_path)]) == 2
    assert f"continue it: `stylepack train --resume {tmp_path}`" in capsys.readouterr().err


def test_a_taken_name_is_refused_or_replaced_whole(make_run, trunks, home: Path) -> None:
    first, second = make_run("one", ["dawn", "dusk"], 1), make_run("two", ["noon"], 2)
    assert trunks("trunks", "install", first, "--as", "mine")[0] == 0
    code, _, said = trunks("trunks", "install", second, "--as", "mine")
    assert (code, "--replace" in said) == (1, True)
    assert trunks("trunks", "install", second, "--as", "mine", "--replace")[0] == 0
    assert set(files_of(home)) == {
        "trunks/mine/trunk.safetensors",
        "trunks/mine/packs/noon.safetensors",
    }


@pytest.mark.parametrize("broken", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("replace", [[], ["--replace"]])
def test_what_fails_on_the_way_leaves_what_was(
    make_run, trunks, home, monkeypatch, broken, replace
) -> None:
    old, new = make_run("one", ["dawn"], 1), make_run("two", ["noon"], 2)
    if replace:
        assert trunks("trunks", "install", old, "--as", "mine")[0] == 0
    before = files_of(home)

    real = Path.replace

    def failing_once(path: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", real)
        raise broken

    monkeypatch.setattr(Path, "replace", failing_once)
    monkeypatch.setattr(staging, "_swap", lambda *_: False)
    assert trunks("trunks", "install", new, "--as", "mine", *replace)[0] in (1, 130)
    assert files_of(home) == before
    assert not list(home.rglob(".*"))


def test_a_trunk_that_packs_of_yours_need_is_not_replaced(make_run, trunks, home: Path) -> None:
    first, second = make_run("one", ["dawn", "dusk"], 1), make_run("two", ["noon"], 2)
    assert trunks("trunks", "install", first, "--as", "mine")[0] == 0
    assert trunks("packs", "blend", "dawn,dusk", "--name", "both")[0] == 0
    before = files_of(home)
    code, _, said = trunks("trunks", "install", second, "--as", "mine", "--replace")
    assert (code, "your packs both belong to trunk 'mine'" in said) == (2, True)
    assert files_of(home) == before
    assert trunks("trunks", "install", first, "--as", "mine", "--replace")[0] == 0


def test_remove_takes_the_packs_along_but_not_those_of_yours(make_run, trunks, home) -> None:
    run = make_run("mine", ["dawn", "dusk"])
    assert trunks("trunks", "install", run)[0] == 0
    assert trunks("packs", "blend", "dawn,dusk", "--name", "both")[0] == 0
    code, _, said = trunks("trunks", "remove", "mine", "-y")
    assert (code, "stylepack packs remove both" in said) == (2, True)
    code, _, said = trunks("packs", "remove", "dawn", "-y")
    assert (code, "stylepack trunks remove mine" in said) == (2, True)
    assert trunks("packs", "remove", "both", "-y")[0] == 0
    code, _, said = trunks("trunks", "remove", "mine")
    assert (code, "add -y" in said) == (2, True)
    code, _, said = trunks("trunks", "remove", "mine", "-y")
    assert (code, "removed " in said) == (0, True)
    assert list(known_trunks()) == ["bundled"]
    assert not list((home / "trunks").iterdir())
    assert trunks("trunks", "remove", "bundled", "-y")[0] == 2


def test_a_pack_whose_trunk_is_gone_says_so(make_run, trunks, photo) -> None:
    pack = make_run("mine", ["dawn"]) / "packs" / "dawn.safetensors"
    with pytest.raises(WrongTrunkError, match=r"not installed; install it: `stylepack trunks inst"):
        Stylizer.load(str(pack))
    with pytest.raises(UsageError, match="no trunk 'nowhere'; give a file or one of the installed"):
        Stylizer.load("wave", trunk="nowhere")
    assert Stylizer.load("wave", trunk="bundled").paint(photo).size == (40, 32)


def test_info_tells_sizes_and_packs(make_run, trunks) -> None:
    run = make_run("mine", ["dawn"])
    assert trunks("trunks", "install", run)[0] == 0
    told = json.loads(trunks("trunks", "info", "mine", "--json")[1])
    assert (told["widths"], told["packs"], told["author"]) == ([4, 6, 8], ["dawn"], "Me")
    assert told["sha256"] == load_trunk(run / "trunk.safetensors")[1]
    assert trunks("trunks", "info")[1].startswith("name\tbundled\n")
    assert "author\tMe\n" in trunks("trunks", "info", run / "trunk.safetensors")[1]


def test_damage_is_told_and_stops_nothing_else(make_run, trunks, home: Path, photo) -> None:
    run = make_run("mine", ["dawn"])
    assert trunks("trunks", "install", run)[0] == 0
    (home / "trunks" / "mine" / "trunk.safetensors").write_bytes(b"junk")
    code, out, said = trunks("trunks", "list")
    assert (code, "bundled" in out, "warning: trunk 'mine': " in said) == (0, True, True)
    code, out, _ = trunks("packs", "verify")
    assert code == 1
    assert "trunk mine\tBAD: " in out
    assert trunks("apply", photo, "--style", "wave")[0] == 0
    assert trunks("apply", photo, "--style", "dawn")[0] == 1
    assert trunks("trunks", "remove", "mine", "-y")[0] == 0


def test_a_removal_that_fails_changes_nothing(make_run, trunks, home: Path, monkeypatch) -> None:
    assert trunks("trunks", "install", make_run("mine", ["dawn"]))[0] == 0

    def refuse(path: Path, target: Path) -> Path:
        raise OSError("no reason that the system knows")

    with monkeypatch.context() as during:
        during.setattr(Path, "rename", refuse)
        code, _, said = trunks("trunks", "remove", "mine", "-y")
    assert (code, "mine: no reason that the system knows" in said) == (1, True)
    assert "mine" in known_trunks()
    assert "dawn" in shelf()


def test_what_a_removal_leaves_is_told_and_deleted_by_the_next(
    make_run, trunks, home: Path, monkeypatch
) -> None:
    for name, seed in (("mine", 1), ("other", 2)):
        assert trunks("trunks", "install", make_run(name, [f"of-{name}"], seed))[0] == 0

    def refuse(path: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as during:
        during.setattr(shutil, "rmtree", refuse)
        code, _, said = trunks("trunks", "remove", "mine", "-y")
    assert code == 1
    assert "trunk 'mine' is removed, but" in said
    assert "/old/mine remains: Permission denied" in said
    assert list(known_trunks()) == ["bundled", "other"]
    assert [path.name for path in (home / "trunks").iterdir()] == ["other"]


def test_a_link_or_a_file_among_the_trunks_is_removed_alone(make_run, trunks, home: Path) -> None:
    run = make_run("mine", ["dawn"])
    (home / "trunks").mkdir(parents=True)
    (home / "trunks" / "linked").symlink_to(run, target_is_directory=True)
    (home / "trunks" / "file").write_text("no trunk")
    for name in ("linked", "file"):
        code, _, said = trunks("trunks", "remove", name, "-y")
        assert code == 0, said
    assert not list((home / "trunks").iterdir())
    assert (run / "trunk.safetensors").exists()


@pytest.mark.parametrize("deep", ["[" * 9999, '{"widths": ' + "[" * 900 + "]" * 900 + "}"])
def test_info_believes_a_trunk_about_nothing_else_than_itself(tmp_path, trunks, deep: str) -> None:
    path = tmp_path / "claims.safetensors"
    forged = {"x.name": "bundled", "modelspec.name": "bundled", "modelspec.title": "Claims"}
    save_trunk(path, Trunk(TINY), forged)
    told = json.loads(trunks("trunks", "info", path, "--json")[1])
    assert (told["name"], told["title"]) == ("claims", "Claims")
    save_trunk(path, Trunk(TINY), {"stylepack.trunk_config": deep})
    code, out, said = trunks("trunks", "info", path)
    assert (code, "widths" in out, said) == (0, False, "")


def test_info_says_when_a_trunk_is_not_what_its_hash_says(tiny_trunk, trunks) -> None:
    path, digest = tiny_trunk
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    code, out, said = trunks("trunks", "info", path)
    assert (code, digest in out) == (0, False)
    assert "tiny-trunk.safetensors is damaged: its data does not match its hash" in said


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("cut.safetensors", "it is cut off: download it again"),
        ("My Run", "cannot be a trunk's name"),
        ("", "what follows 'install' is empty"),
    ],
)
def test_what_is_wrong_with_a_source_is_said(
    tiny_trunk, trunks, tmp_path: Path, monkeypatch, source: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cut.safetensors").write_bytes(tiny_trunk[0].read_bytes()[:-9])
    Path("My Run").mkdir()
    code, _, line = trunks("trunks", "install", source)
    assert code in (1, 2)
    assert said in line
    assert len(line.splitlines()) == 1


def test_force_is_advised_only_where_there_is_such_an_option(make_run, trunks) -> None:
    run = make_run("mine", ["dawn"])
    path = run / "packs" / "dawn.safetensors"
    pack = load_pack(path, TINY)
    Pack(replace(pack.manifest, trunk_sha256=""), pack.style).save(path, TINY)
    code, _, said = trunks("trunks", "install", run)
    assert (code, "to; leave it out" in said) == (1, True)
    code, _, said = trunks("packs", "install", path, "--trunk", run / "trunk.safetensors")
    assert (code, "to; add --force to use it anyway" in said) == (1, True)


def test_a_trunk_that_another_command_installs_meanwhile_is_not_replaced(
    make_run, trunks, home: Path, monkeypatch
) -> None:
    first, second = make_run("one", ["dawn"], 1), make_run("two", ["dusk"], 2)
    make = trunk_install.make_folder

    def then_another(folder: Path, advice: str) -> None:
        make(folder, advice)
        shutil.copytree(first, home / "trunks" / "mine")

    monkeypatch.setattr(trunk_install, "make_folder", then_another)
    code, _, said = trunks("trunks", "install", second, "--as", "mine")
    assert (code, "a trunk 'mine' is already installed" in said) == (1, True)
    assert files_of(home / "trunks" / "mine") == files_of(first)
    assert [path.name for path in (home / "trunks").iterdir()] == ["mine"]


def test_a_zip_of_trunks_is_refused(make_run, trunks, tmp_path: Path, home: Path) -> None:
    one, two = make_run("one", ["dawn"], 1), make_run("two", ["dusk"], 2)
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        for run in (one, two):
            archive.write(run / "trunk.safetensors", f"{run.name}/trunk.safetensors")
    code, _, said = trunks("trunks", "install", tmp_path / "both.zip")
    assert code == 1
    assert "there are 2 trunks in" in said
    with pytest.raises(StylepackError):
        find_trunk("both")
    assert not home.exists()
