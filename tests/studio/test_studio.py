"""The studio's server: who may ask, what is painted, and where things go."""

import asyncio
import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import picture
from PIL import Image
from studio_server import Served, huge_png, served

from stylepack.cli.main import run as stylepack
from stylepack.errors import PhotoError, UsageError
from stylepack.images.photo import Photo, read_photo
from stylepack.library.resolve import resolve
from stylepack.library.shelf import shelf
from stylepack.packs.mix import Mix
from stylepack.painting.stylizer import Stylizer
from stylepack.studio import guard
from stylepack.studio.catalog import Engine
from stylepack.studio.desk import Desk, Upload, file_name
from stylepack.studio.guard import kept_token
from stylepack.studio.lanes import Lane, SupersededError, Turn
from stylepack.studio.look import Look
from stylepack.studio.pace import FIRST, FRAMES, LATENCY, SIDES, Pace
from stylepack.studio.serve import listen

LOOK = {"mix": [["starry", 70], ["wave", 30]]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "chosen"
    place.mkdir()
    return place


@pytest.fixture
def studio(folder: Path) -> Iterator[Served]:
    with served(folder) as one:
        yield one


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a photo.png"
    picture(96, 64).save(path)
    return path


# Who may ask


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_only_the_page_itself_is_answered(
    studio: Served, headers: dict[str, str], code: int
) -> None:
    assert studio.client.get("state", headers=headers).status_code == code
    assert studio.client.post("learn/cancel", headers=headers).status_code == code


def test_a_post_without_an_origin_is_refused(studio: Served) -> None:
    del studio.client.headers["origin"]
    assert studio.client.post("learn/cancel").status_code == 403
    assert studio.client.get("state").status_code == 200


def test_without_the_token_nothing_is_answered(studio: Served) -> None:
    for path in ("/", "/state", "/wrong/state", "/index.html", "//state"):
        answer = studio.client.get(f"{studio.origin}{path}")
        assert (answer.status_code, "stylepack studio" in answer.text) == (403, True)


def test_every_answer_forbids_scripts_of_others(studio: Served) -> None:
    for path in ("", "state", "main.js", "nonesuch", "/refused"):
        policy = studio.client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy


@pytest.mark.parametrize("path", ["../guard.py", "%2e%2e/guard.py", "..%2fguard.py", "app.py"])
def test_only_files_of_the_page_are_given(studio: Served, path: str) -> None:
    assert studio.client.get(path).status_code in (403, 404)


def test_the_page_loads_nothing_from_elsewhere() -> None:
    place = Path(guard.__file__).parent / "page"
    for file in place.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text, file.name
        assert "https:" not in text, file.name
        assert "innerHTML" not in text, file.name


def test_the_token_is_the_same_the_next_time_and_the_users_alone(home: Path) -> None:
    token = kept_token()
    assert len(token) >= 32
    assert kept_token() == token
    assert (home / "studio-token").stat().st_mode & 0o077 == 0
    (home / "studio-token").write_text("../..")
    assert kept_token() != "../.."


# What comes in


def test_a_photograph_is_read_as_apply_reads_it(studio: Served, tmp_path: Path) -> None:
    image = picture(40, 24)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.jpg", exif=exif)
    content = (tmp_path / "turned.jpg").read_bytes()
    answer = studio.client.post("photo", content=content, headers={"x-name": "turned.jpg"})
    assert (answer.json()["width"], answer.json()["height"]) == (24, 40)


def test_six_hundred_megapixels_are_refused_in_words(studio: Served) -> None:
    content = huge_png(30_000, 20_000)
    answer = studio.client.post("photo", content=content, headers={"x-name": "huge.png"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("huge.png has more than 500 megapixels")
    assert studio.studio.desk.sheet is None


def test_a_body_without_end_is_refused_before_it_is_read(studio: Served) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 26:
            sent += 1 << 20
            yield bytes(1 << 20)

    answer = studio.client.post("mask", params={"width": 9, "height": 9}, content=endless())
    assert answer.status_code == 400
    assert "has more than 2 MB" in answer.json()["error"]


def test_a_file_that_is_no_picture_is_refused_by_name(studio: Served) -> None:
    answer = studio.client.post("photo", content=b"%!PS", headers={"x-name": "..%2f..%2fx.jpg"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("x.jpg is PostScript")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\y.png", "y.png"),
        (".hidden.png", "hidden.png"),
        ("a\x1b[31m\nb.png", "a[31mb.png"),
        ("", "photograph"),
        ("..", "photograph"),
        ("x" * 300 + ".jpg", "x" * 120 + ".jpg"),
    ],
)
def test_names_of_files_are_names(given: str, kept: str) -> None:
    assert file_name(given) == kept


@pytest.mark.parametrize(
    "look",
    [
        {},
        {"mix": []},
        {"mix": [["starry", 0]]},
        {"mix": [["/etc/passwd", 100]]},
        {"mix": [["stylepack/assets/packs/starry.safetensors", 100]]},
        {"mix": [["starry", 1e9]]},
        {"mix": [["starry", True]]},
        {"mix": [["starry", 100]], "strength": 151},
        {"mix": [["starry", 100]], "strength": "100"},
        {"mix": [["starry", 100]], "size": 3},
        {"mix": [["starry", 100]], "size": 10**9},
        {"mix": [["starry", 100]], "mask": "../x.png"},
        {"mix": [["starry", 100]], "regions": [{"mask": "0" * 12, "mix": [["wave", 1]]}]},
        {"mix": [["starry", 100]] * 99},
        [],
    ],
)
def test_what_is_no_look_is_refused(studio: Served, photo: Path, look: object) -> None:
    studio.studio.lay(photo)
    for path in ("frame", "command", "save"):
        answer = studio.ask(path, look)
        assert answer.status_code == 400
        assert answer.json()["error"]


def test_json_that_is_none_is_refused(studio: Served, photo: Path) -> None:
    studio.studio.lay(photo)
    for content in (b"{", b"[" * 60_000, b"\xff", b"x" * (1 << 17)):
        answer = studio.client.post("frame", params=studio.photo, content=content)
        assert answer.status_code == 400


# What is painted


def painted_by_command(command: str) -> Image.Image:
    words = shlex.split(command)
    assert words[0] == "stylepack"
    assert (
        stylepack([*words[1:], "-o", "painted.png", "--device", "cpu", "--precision", "float32"])
        == 0
    )
    with Image.open("painted.png") as image:
        return image.convert("RGB")


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"strength": 55},
        {"strength": 130, "keepColors": True},
        {"size": 48},
        {"size": "full"},
    ],
)
def test_the_saved_picture_is_the_commands(
    more: dict[str, object],
    studio: Served,
    photo: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    studio.studio.lay(photo)
    values = bytes(range(0, 240, 10)) * 16
    mask = studio.client.post("mask", params={"width": 24, "height": 16}, content=values).json()
    look = {**LOOK, "regions": [{"mask": mask["id"], "mix": [["scream", 100]]}], **more}
    saved = saved_by(studio, look)
    assert Path(saved["path"]) == folder / "a photo.starry+wave,scream.png"
    command = studio.ask("command", look, masks=1).json()["command"]
    monkeypatch.chdir(tmp_path)
    with Image.open(saved["path"]) as image:
        assert list(image.convert("RGB").get_flattened_data()) == list(
            painted_by_command(command).get_flattened_data()
        )


def test_a_mask_that_limits_the_painting_is_in_the_command(
    studio: Served, photo: Path, folder: Path
) -> None:
    studio.studio.lay(photo)
    content = bytes(4) + bytes([255] * 4)
    kept = studio.client.post("mask", params={"width": 4, "height": 2}, content=content)
    look = {**LOOK, "mask": kept.json()["id"]}
    assert not list(folder.iterdir())
    words = shlex.split(studio.ask("command", look, masks=1).json()["command"])
    file = Path(words[words.index("--mask") + 1])
    assert file.parent == folder
    with Image.open(file) as image:
        assert list(image.get_flattened_data()) == list(content)
    frame = saved_by(studio, look)["path"]
    painted, before = read_photo(frame).pixels, read_photo(photo).pixels
    assert torch.equal(painted[:, :16], before[:, :16])
    assert not torch.equal(painted[:, 48:], before[:, 48:])


def test_commands_quote_what_a_shell_would_read() -> None:
    look = Look(Mix((("a/b", 0.5), ("c", 0.5))))
    words = look.command("-o; rm -rf $HOME.jpg", {}, [])
    assert shlex.split(shlex.join(words)) == words
    assert words[2] == "./-o; rm -rf $HOME.jpg"


def test_nothing_is_replaced_in_the_folder(studio: Served, photo: Path, folder: Path) -> None:
    studio.studio.lay(photo)
    names = [saved_by(studio, LOOK)["name"] for _ in range(3)]
    assert names == [f"a photo.starry+wave{more}.png" for more in ("", "-2", "-3")]
    first, again = (studio.client.get(f"saved/{number}").content for number in (0, 2))
    assert first == again == (folder / names[0]).read_bytes()


def test_a_part_at_full_size_is_that_of_the_whole_picture(studio: Served, photo: Path) -> None:
    studio.studio.lay(photo)
    part = {"left": 10, "top": 20, "width": 30, "height": 17}
    while (answer := studio.ask("crop", LOOK, **part)).status_code == 202:
        assert 0 <= answer.json()["share"] <= 1
        time.sleep(0.05)
    mix = {"starry": 0.7, "wave": 0.3}
    whole = Stylizer.load(mix, device="cpu", precision="float32").paint(photo).pixels
    with Image.open(io.BytesIO(answer.content)) as image:
        assert torch.equal(Photo.from_image(image).pixels, whole[:, 20:37, 10:40])


def test_another_photograph_makes_old_requests_wrong(studio: Served, photo: Path) -> None:
    studio.studio.lay(photo)
    before = studio.photo
    studio.studio.lay(photo)
    answer = studio.client.post("frame", params=before, json=LOOK)
    assert (answer.status_code, "reload" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize("strength", [100, 60])
def test_kept_activations_paint_the_same(strength: int, photo: Path, folder: Path) -> None:
    """Frames share a first layer and an identity painting between looks: no pixel shows it."""
    from stylepack.inference.strips import Memo
    from stylepack.painting.stylizer import FULL, PaintOptions

    picture_, memo = read_photo(photo), Memo()
    loaded = resolve(["starry", "wave", "photo"], identity=True).load()
    for name in ("starry", "wave", "photo", "starry"):
        mixes = [Mix(((name, 1.0),))]
        one = Stylizer.on(loaded, mixes, strength=strength / 100, device="cpu", precision="float32")
        fresh = one.paint_with(PaintOptions(FULL), picture_).pixels
        kept = one.paint_with(PaintOptions(FULL), picture_, memo=memo).pixels
        assert (fresh.int() - kept.int()).abs().max() <= 1
    assert memo.first is not None
    assert (memo.plain is not None) == (strength < 100)


def test_signs_of_gammas_do_not_matter_to_what_is_kept(tiny_trunk: tuple[Path, str]) -> None:
    from conftest import TINY

    from stylepack.inference.layers import Style
    from stylepack.inference.strips import Memo, StripBudget, paint_streaming
    from stylepack.packs.trunk_file import load_trunk

    trunk, memo = load_trunk(tiny_trunk[0])[0], Memo()
    image = Photo.from_image(picture(40, 32)).pixels
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):  # random gammas have either sign
        style = Style(torch.randn(1, TINY.style_size, generator=generator))
        with torch.no_grad():
            fresh = paint_streaming(trunk, style, image, StripBudget())
            kept = paint_streaming(trunk, style, image, StripBudget(), memo=memo)
        assert (fresh.int() - kept.int()).abs().max() <= 1


# Lanes and pace


def test_the_newest_work_of_a_tag_wins() -> None:
    lane, begun, go = Lane("test"), threading.Event(), threading.Event()

    def first(_: Turn) -> str:
        begun.set()
        assert go.wait(10)
        return "first"

    running = lane.submit(first, tag="frame")
    assert begun.wait(10)
    old = lane.submit(lambda _: "old", tag="frame")
    other = lane.submit(lambda _: "other")
    new = lane.submit(lambda _: "new", tag="frame")
    go.set()
    assert (running.result(10), other.result(10), new.result(10)) == ("first", "other", "new")
    with pytest.raises(SupersededError):
        old.result(10)
    lane.close(10)


def test_work_waits_for_more_urgent_lanes_and_stops_when_dropped() -> None:
    urgent = Lane("urgent")
    slow = Lane("slow", [urgent])
    go, begun = threading.Event(), threading.Event()
    order = []

    def first(_: Turn) -> None:
        begun.set()
        assert go.wait(10)
        order.append("urgent")

    ahead = urgent.submit(first)
    assert begun.wait(10)
    behind = slow.submit(lambda turn: (turn(0.5), order.append("slow")))
    time.sleep(0.1)
    assert order == []
    go.set()
    ahead.result(10)
    behind.result(10)
    assert order == ["urgent", "slow"]

    def endless(turn: Turn) -> None:
        while True:
            turn(0.25)
            time.sleep(0.01)

    dropped = slow.submit(endless, tag="whole")
    while slow.share("whole") != 0.25:
        time.sleep(0.01)
    slow.drop("whole")
    with pytest.raises(SupersededError):
        dropped.result(10)
    assert slow.submit(lambda _: 3).result(10) == 3
    for lane in (urgent, slow):
        lane.close(10)


@pytest.mark.parametrize(
    ("per_pixel", "least", "most"), [(1e-7, 700, 768), (2e-6, 200, 256), (1, 128, 128)]
)
def test_frames_are_as_large_as_the_machine_paints_in_time(
    per_pixel: float, least: int, most: int
) -> None:
    pace = Pace()
    assert pace.side == FIRST
    sides = []
    for _ in range(60):
        sides.append(pace.side)
        pace.took(pace.side, per_pixel * pace.side**2)
    late = sides[30:]
    assert least <= min(late)
    assert max(late) <= most
    if most > SIDES[0]:
        assert per_pixel * max(late) ** 2 <= 1.1 * LATENCY / FRAMES


# Packs


def test_a_mix_becomes_a_pack_as_blend_makes_it(studio: Served, photo: Path) -> None:
    answer = studio.client.post("pack", json={"look": LOOK, "name": "sea", "title": "<b>Sea</b>"})
    assert answer.status_code == 200, answer.text
    assert stylepack(["packs", "blend", "starry=0.7,wave=0.3", "--name", "other"]) == 0
    packs = resolve(["sea", "other"]).load().packs
    assert torch.equal(packs["sea"].style, packs["other"].style)
    assert packs["sea"].manifest.thumbnail == packs["other"].manifest.thumbnail
    assert {"reference": "sea", "title": "<b>Sea</b>"}.items() <= next(
        one for one in studio.client.get("state").json()["packs"] if one["name"] == "sea"
    ).items()
    again = studio.client.post("pack", json={"look": LOOK, "name": "sea", "title": ""})
    assert (again.status_code, "already" in again.json()["error"]) == (400, True)


@pytest.mark.parametrize("name", ["", "../x", "Photo", "photo", "con"])
def test_names_that_no_pack_can_have_are_refused(studio: Served, name: str) -> None:
    answer = studio.client.post("pack", json={"look": LOOK, "name": name, "title": ""})
    assert answer.status_code == 400
    assert list(shelf()) == [name for name in shelf() if name != ""]


def learn_quickly(studio: Served) -> None:
    learning = studio.studio.learning
    learning.recipe = replace(learning.recipe, batch=1, crop=32, photo_side=48, style_side=48)
    learning.updates = 3


def saved_by(studio: Served, look: object) -> dict[str, str]:
    """Save as the page does, which asks until all is painted."""
    while (answer := studio.ask("save", look)).status_code == 202:
        time.sleep(0.02)
    return answer.json()


def wait_for(studio: Served, *states: str) -> dict[str, object]:
    for _ in range(600):
        progress = studio.client.get("learn/state").json()
        if progress["state"] in states:
            return progress
        time.sleep(0.1)
    raise AssertionError(progress)


def test_a_painting_is_learned_as_add_style_does(
    studio: Served, photo: Path, folder: Path, tmp_path: Path
) -> None:
    learn_quickly(studio)
    studio.studio.lay(photo)
    picture(64, 48, 9).save(tmp_path / "dusk.png")
    content = (tmp_path / "dusk.png").read_bytes()
    begun = studio.client.post(
        "learn", params={"name": "dusk"}, content=content, headers={"x-name": "dusk.png"}
    )
    assert begun.status_code == 200, begun.text
    progress = wait_for(studio, "done", "failed")
    assert progress["state"] == "done", progress
    assert progress["preview"] >= 1
    preview = studio.client.get("learn/preview")
    with Image.open(io.BytesIO(preview.content)) as image:
        assert image.size == (96, 64)
    assert "dusk" in [one["name"] for one in studio.client.get("state").json()["packs"]]
    assert "dusk" in shelf()
    assert not list(folder.iterdir())


def test_learning_is_cancelled_and_installs_nothing(
    studio: Served, photo: Path, folder: Path, tmp_path: Path
) -> None:
    learn_quickly(studio)
    studio.studio.learning.updates = 10_000
    studio.studio.lay(photo)
    picture(64, 48, 9).save(tmp_path / "dusk.png")
    content = (tmp_path / "dusk.png").read_bytes()
    send = {"params": {"name": "dusk"}, "content": content, "headers": {"x-name": "dusk.png"}}
    assert studio.client.post("learn", **send).status_code == 200
    wait_for(studio, "learning")
    assert "another painting" in studio.client.post("learn", **send).json()["error"]
    studio.client.post("learn/cancel")
    wait_for(studio, "cancelled")
    assert "dusk" not in shelf()
    assert not list(folder.iterdir())


def test_a_painting_that_is_none_is_refused_at_once(studio: Served) -> None:
    answer = studio.client.post(
        "learn", params={"name": "x"}, content=b"no picture", headers={"x-name": "x.png"}
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("x.png is ")


# The desk and the command


def test_packs_of_another_trunk_are_offered_with_it(
    tiny_trunk: tuple[Path, str], make_pack: Callable[..., Path], photo: Path, folder: Path
) -> None:
    beside = tiny_trunk[0].parent / "packs"
    beside.mkdir()
    for seed, name in enumerate(("dots", "lines")):
        make_pack(name, seed=seed).rename(beside / f"{name}.safetensors")
    engine = Engine(str(tiny_trunk[0]), "cpu", "float32")
    with served(folder, engine) as one:
        one.studio.lay(photo)
        state = one.client.get("state").json()
        assert [pack["reference"] for pack in state["packs"]] == ["dots", "lines"]
        assert state["hasStrength"] is False
        look = {"mix": [["dots", 50], ["lines", 25]]}
        words = shlex.split(one.ask("command", look).json()["command"])
        saved = Path(saved_by(one, look)["path"])
        refused = one.ask("save", {**look, "strength": 50})
    assert "identity pack" in refused.json()["error"]
    again = folder / "again.png"
    assert stylepack([*words[1:], "-o", str(again)]) == 0
    assert torch.equal(read_photo(again).pixels, read_photo(saved).pixels)


def test_a_mask_that_is_gone_is_said_in_words(studio: Served, photo: Path) -> None:
    studio.studio.lay(photo)
    mask = studio.studio.desk.keep_mask(bytes([255]), 1, 1)
    look = Look.parsed({**LOOK, "mask": mask}, studio.studio.catalog.labels, [mask])
    studio.studio.desk.masks.clear()
    job = studio.studio.frames.sharp(look, studio.studio.desk.current(), best=False)
    with pytest.raises(UsageError, match="paint it again"):
        job.result(60)


def test_a_photograph_that_is_not_there_ends_the_command(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    assert stylepack(["studio", "nonesuch.jpg", "-o", str(folder), "--no-browser"]) == 2
    assert "no such file: nonesuch.jpg" in capsys.readouterr().err


def test_masks_are_found_again_in_the_folder(folder: Path, photo: Path) -> None:
    desk = Desk(folder)
    desk.lay(photo)
    content = bytes(range(12))
    mask = desk.keep_mask(content, 4, 3)
    desk.mask_files(Look(Mix((("starry", 1.0),)), mask=mask), write=True)
    later = Desk(folder)
    with Image.open(io.BytesIO(later.mask_png(mask))) as image:
        assert list(image.get_flattened_data()) == list(content)
    for wrong in ("0" * 12, "../../x", "*"):
        with pytest.raises(UsageError):
            later.mask_png(wrong)


def test_a_mask_of_another_size_than_said_is_refused(folder: Path) -> None:
    desk = Desk(folder)
    for width, height in ((2, 2), (0, 0), (1 << 16, 1 << 16)):
        with pytest.raises(UsageError):
            desk.keep_mask(b"123", width, height)


def test_a_photograph_that_cannot_be_read_names_its_file(folder: Path) -> None:
    with pytest.raises(PhotoError, match=r"broken\.png is "):
        Desk(folder).lay(Upload(b"none", "a/broken.png"))


def test_without_the_extra_a_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("stylepack.cli.studio.find_spec", lambda name: None)
    assert stylepack(["studio", "--no-browser"]) == 1
    assert "pip install 'stylepack[studio]'" in capsys.readouterr().err


def test_a_taken_port_is_named(studio: Served, capsys: pytest.CaptureFixture[str]) -> None:
    port = studio.origin.rpartition(":")[2]
    assert stylepack(["studio", "--no-browser", "--port", port]) == 1
    assert f"cannot listen on port {port}" in capsys.readouterr().err


def test_answers_go_out_at_once() -> None:
    async def waits() -> bool:
        found: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = writer.get_extra_info("socket")
            found.set_result(there.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()
            await writer.wait_closed()

        with listen(0) as bound:
            async with await asyncio.start_server(take, sock=bound):
                _, writer = await asyncio.open_connection(*bound.getsockname())
                no_delay = await found
                writer.close()
                await writer.wait_closed()
        return no_delay == 0

    assert not asyncio.run(waits())


def test_ctrl_c_ends_the_command_cleanly(photo: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "stylepack", "studio", str(photo), "--no-browser"]
    with subprocess.Popen(
        [*command, "-o", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "STYLEPACK_HOME": str(tmp_path / "home")},
    ) as process:
        address = process.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
