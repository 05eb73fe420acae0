"""The studio's page in a real browser: Debian's chromium, driven by Playwright."""

import base64
import io
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import picture
from PIL import Image
from studio_server import CHROMIUM, Served, huge_png, served

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.images.photo import Photo
from stylepack.library.shelf import find_pack, shelf
from stylepack.packs.pack import load_pack
from stylepack.packs.trunk_file import load_trunk

playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install it")
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")

Page = playwright.Page
expect = playwright.expect
HOSTILE = "<img src=x onerror=\"document.title='stolen'\"><script>document.title='stolen'</script>"
WIDE = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
SOON = 60_000  # milliseconds


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with playwright.sync_playwright() as engine:
        running = engine.chromium.launch(executable_path=BROWSER, args=list(CHROMIUM))
        yield running
        running.close()


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
    path = tmp_path / "photo.png"
    picture(192, 128).save(path)
    return path


@pytest.fixture
def faults() -> list[str]:
    """What the page's console has complained of."""
    return []


@pytest.fixture
def page(browser: object, studio: Served, faults: list[str]) -> Iterator[Page]:
    """The page, before a photograph; whatever fails in it fails the test."""
    context = browser.new_context(viewport=WIDE, accept_downloads=True)
    one = context.new_page()
    one.set_default_timeout(SOON)
    one.on("pageerror", lambda error: faults.append(str(error)))
    one.on("request", lambda request: _note_strangers(request.url, studio, faults))
    open_page(one, studio.address)
    yield one
    context.close()
    assert not faults


def _note_strangers(address: str, studio: Served, faults: list[str]) -> None:
    if not address.startswith((studio.address, "blob:", "data:")):
        faults.append(f"asked for {address}")


def open_page(page: Page, address: str) -> None:
    page.goto(address)
    page.locator("html[data-ready]").wait_for()


def load(page: Page, photo: Path) -> None:
    page.set_input_files("#photo-file", str(photo))
    page.locator("#paper:not([hidden])").wait_for()


def choose(page: Page, *names: str) -> None:
    for name in names:
        page.click(f".pack[data-reference='{name}']")


def slide(page: Page, name: str, value: int) -> None:
    page.fill(f".part[data-reference='{name}'] input", str(value))


def rested(page: Page) -> None:
    """Wait until the picture is as sharp as it gets whole."""
    page.locator("#painted[data-kind=best]").wait_for()


def brush(page: Page, start: tuple[float, float], end: tuple[float, float]) -> None:
    """A stroke between two places, as shares of the picture."""
    before = page.url
    box = page.locator("#overlay").bounding_box()
    for index, (across, down) in enumerate((start, end)):
        place = box["x"] + across * box["width"], box["y"] + down * box["height"]
        page.mouse.move(*place, steps=1 if index == 0 else 8)
        if index == 0:
            page.mouse.down()
    page.mouse.up()
    page.wait_for_url(lambda address: address != before)


def download(page: Page) -> Image.Image:
    page.click("#save")
    with page.expect_download() as coming:
        page.click("#download")
    with Image.open(coming.value.path()) as image:
        return image.convert("RGB")


def command(page: Page) -> list[str]:
    page.click("#copy")
    expect(page.locator("#command")).to_have_value(re.compile("^stylepack apply "))
    words = shlex.split(page.input_value("#command"))
    page.keyboard.press("Escape")
    return words


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and one.tobytes() == other.tobytes()


def test_what_is_seen_saved_and_commanded_is_the_same_picture(
    page: Page,
    photo: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(page, photo)
    choose(page, "starry", "wave")
    slide(page, "starry", 60)
    slide(page, "wave", 20)
    expect(page.locator(".part[data-reference=starry] output")).to_have_text("75 %")
    page.click("text=+ Region")
    choose(page, "scream")
    brush(page, (0.2, 0.3), (0.6, 0.4))
    page.fill("#strength", "80")
    rested(page)
    saved = download(page)
    with Image.open(folder / "photo.starry+wave,scream.png") as image:
        assert same(saved, image.convert("RGB"))
    words = command(page)
    assert words[:7] == [
        *("stylepack", "apply", "photo.png", "--mix", "starry=0.6,wave=0.2"),
        *("--strength", "0.8"),
    ]
    monkeypatch.chdir(tmp_path)
    assert stylepack([*words[1:], "-o", "again.png"]) == 0
    with Image.open("again.png") as image:
        assert same(saved, image.convert("RGB"))
    # The region is in it, with a soft edge.
    mask = Image.open(words[words.index("--region") + 1].rpartition("=scream")[0])
    values = set(mask.get_flattened_data())
    assert {0, 255} < values
    assert len(values) > 20


def test_the_address_brings_the_mix_and_its_region_back(page: Page, photo: Path) -> None:
    load(page, photo)
    choose(page, "starry", "wave")
    slide(page, "wave", 25)
    page.click("text=+ Region")
    choose(page, "lilies")
    brush(page, (0.3, 0.3), (0.5, 0.5))
    page.check("#keep-colors")
    page.fill("#size", "6")
    address, words = page.url, command(page)
    page.reload()
    page.locator("html[data-ready]").wait_for()
    assert page.url == address
    expect(page.locator(".part[data-reference=wave] output")).to_have_text("20 %")
    expect(page.locator("#targets [role=radio]")).to_have_text(["Everywhere", "Region 1"])
    expect(page.locator("#keep-colors")).to_be_checked()
    rested(page)
    assert command(page) == words


def test_undo_and_redo_go_back_through_sliders_and_strokes(page: Page, photo: Path) -> None:
    load(page, photo)
    choose(page, "starry", "wave")
    slide(page, "wave", 25)
    page.click("text=+ Mask")
    brush(page, (0.3, 0.3), (0.5, 0.5))
    first = page.url
    brush(page, (0.6, 0.3), (0.7, 0.5))
    second = page.url
    assert "mask=" in first
    page.keyboard.press("Control+z")
    assert page.url == first
    page.click("#undo")
    page.click("#undo")
    expect(page.locator(".part[data-reference=wave] input")).to_have_value("50")
    for _ in range(3):
        page.keyboard.press("Control+Shift+z")
    assert page.url == second
    expect(page.locator("#redo")).to_be_disabled()


def test_at_one_to_one_every_pixel_is_the_whole_pictures(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("LARGE", 100_000), ("COARSE_SIDE", 200), ("COARSE_AREA", 20_000)):
        monkeypatch.setattr(f"stylepack.painting.stylizer.{name}", value)
    monkeypatch.setattr("stylepack.studio.desk.LARGE", 100_000)
    large = tmp_path / "large.png"
    picture(800, 300).save(large)  # painted coarse to fine
    load(page, large)
    choose(page, "starry")
    page.focus("#stage")
    page.keyboard.press("z")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.locator("#exact:not([hidden])").wait_for(timeout=4 * SOON)
    shown = page.evaluate("""() => {
        const canvas = document.getElementById("exact");
        return [{...canvas.dataset}, canvas.toDataURL("image/png").split(",")[1]];
    }""")
    place = {name: int(value) for name, value in shown[0].items()}
    with Image.open(io.BytesIO(base64.b64decode(shown[1]))) as image:
        part = Photo.from_image(image).pixels
    whole = Stylizer.load("starry", device="cpu", precision="float32").paint(large).pixels
    rows = slice(place["top"], place["top"] + place["height"])
    columns = slice(place["left"], place["left"] + place["width"])
    assert place["left"] > 50
    assert part.shape[1] == 300
    assert part.shape[2] > 400
    assert torch.equal(part, whole[:, rows, columns])


def test_the_photograph_is_compared_by_slider_and_by_key(page: Page, photo: Path) -> None:
    load(page, photo)
    choose(page, "starry")
    rested(page)
    shown = page.locator("#before")
    expect(shown).to_have_css("clip-path", "inset(0px 100% 0px 0px)")
    page.fill("#compare", "30")
    expect(shown).to_have_css("clip-path", "inset(0px 70% 0px 0px)")
    page.keyboard.down("c")
    expect(shown).to_have_css("clip-path", "inset(0px 0% 0px 0px)")
    page.keyboard.up("c")
    expect(shown).to_have_css("clip-path", "inset(0px 70% 0px 0px)")


def test_the_pad_mixes_four_styles_by_where_its_dot_is(page: Page, photo: Path) -> None:
    load(page, photo)
    choose(page, "starry", "wave", "scream", "lilies")
    page.evaluate("addEventListener('studio-grid', () => (document.body.dataset.grid = 'there'))")
    page.click("#pad-section summary")
    page.locator("body[data-grid]").wait_for()
    corners = page.evaluate("""() => {
        const { width, height } = document.getElementById("grid");
        const context = document.getElementById("grid").getContext("2d");
        return [[8, 8], [width - 8, 8], [8, height - 8], [width - 8, height - 8]]
            .map(([x, y]) => [...context.getImageData(x, y, 1, 1).data].join());
    }""")
    assert len(set(corners)) == 4, "every corner is painted, each in its style"
    box = page.locator("#pad").bounding_box()
    page.mouse.click(box["x"] + 0.25 * box["width"], box["y"] + 0.5 * box["height"])
    shares = page.locator(".part output").all_inner_texts()
    assert [int(one.split()[0]) for one in shares] == pytest.approx([38, 12, 38, 12], abs=1)
    page.focus("#pad")
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
        page.keyboard.press("ArrowUp")
    assert page.locator(".part output").all_inner_texts() == ["100 %", "0 %", "0 %", "0 %"]
    rested(page)


def test_a_mix_is_saved_as_a_pack(page: Page, photo: Path) -> None:
    load(page, photo)
    choose(page, "starry", "wave")
    page.click("#keep-pack")
    page.fill("#pack-name", "starry")
    page.click("#pack-save")
    expect(page.locator("#pack-error")).to_contain_text("already")
    page.fill("#pack-name", "sea")
    page.click("#pack-save")
    expect(page.locator(".pack[data-reference=sea]")).to_be_visible()
    assert "sea" in shelf()


def test_a_painting_is_learned_and_joins_the_mix(
    page: Page, studio: Served, photo: Path, tmp_path: Path
) -> None:
    learning = studio.studio.learning
    learning.recipe = replace(learning.recipe, batch=1, crop=32, photo_side=48, style_side=48)
    learning.updates = 3
    load(page, photo)
    choose(page, "starry")
    picture(64, 48, 9).save(tmp_path / "Dusk at Sea.png")
    page.set_input_files("#painting-file", str(tmp_path / "Dusk at Sea.png"))
    expect(page.locator("#learn-name")).to_have_value("dusk-at-sea")
    page.click("#learn-start")
    page.locator("#learn-preview[src]").wait_for(state="attached")
    expect(page.locator(".part[data-reference=dusk-at-sea]")).to_be_visible(timeout=SOON)
    assert "dusk-at-sea" in shelf()


def test_titles_and_names_of_strangers_are_text(
    page: Page, studio: Served, home: Path, tmp_path: Path
) -> None:
    network, _ = load_trunk(BUNDLED_TRUNK)
    pack = load_pack(find_pack("starry"), network.config)
    (home / "packs").mkdir(parents=True, exist_ok=True)
    manifest = replace(pack.manifest, name="evil", title=HOSTILE)
    replace(pack, manifest=manifest).save(home / "packs" / "evil.safetensors", network.config)
    studio.studio.frames.refresh()
    page.reload()
    page.locator("html[data-ready]").wait_for()
    photo = tmp_path / "<img src=x onerror=alert(1)>.png"
    picture(64, 48).save(photo)
    load(page, photo)
    choose(page, "evil", "wave")
    page.click("#pad-section summary")
    rested(page)
    expect(page.locator(".pack[data-reference=evil] .name")).to_contain_text("<img src=x")
    expect(page.locator(".part[data-reference=evil] .title")).to_contain_text("<script>")
    expect(page.locator("#photo-name")).to_contain_text("<img")
    assert page.locator("img[src=x], body script").count() == 0
    assert page.title() == "stylepack studio"


def test_what_cannot_be_opened_is_said_at_the_picture(
    page: Page, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "huge.png").write_bytes(huge_png(30_000, 20_000))
    page.set_input_files("#photo-file", str(tmp_path / "huge.png"))
    error = page.locator("#stage-error")
    expect(error).to_have_text(re.compile("^huge.png has more than 500 megapixels"))
    load(page, photo)
    expect(error).to_be_hidden()


def test_a_dropped_file_is_the_photograph(page: Page, photo: Path) -> None:
    page.evaluate(
        """async ([name, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], name, {type: "image/png"}));
            for (const kind of ["dragenter", "dragover", "drop"])
                document.getElementById("stage").dispatchEvent(
                    new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}));
        }""",
        [photo.name, list(photo.read_bytes())],
    )
    page.locator("#paper:not([hidden])").wait_for()
    expect(page.locator("#photo-name")).to_have_text(re.compile("^photo.png, 192 . 128$"))


def test_another_site_gets_nothing(browser: object, studio: Served, photo: Path) -> None:
    studio.studio.lay(photo)
    context = browser.new_context()
    stranger = context.new_page()
    stranger.route("http://evil.example/*", lambda route: route.fulfill(body="<p>evil</p>"))
    stranger.goto("http://evil.example/")
    outcome = stranger.evaluate(
        """async (address) => {
            const found = [];
            for (const [path, options] of [["state", {}], ["learn/cancel", {method: "POST"}],
                ["learn/cancel", {method: "POST", mode: "no-cors"}]]) {
                try { found.push((await fetch(address + path, options)).type); }
                catch { found.push("refused"); }
            }
            return found;
        }""",
        studio.address,
    )
    assert outcome[:2] == ["refused", "refused"]
    context.close()


def test_searching_leaves_the_styles_with_these_words(page: Page) -> None:
    page.fill("#search", "gogh 1889")
    assert page.locator(".pack:visible .name").all_inner_texts() == [
        "The Starry Night",
        "Wheat Field with Cypresses",
    ]
    page.fill("#search", "nothing like it")
    expect(page.locator("#nothing-found")).to_be_visible()


def test_everything_works_by_keyboard_alone(page: Page, photo: Path) -> None:
    load(page, photo)
    page.focus("#search")
    page.keyboard.type("wave")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".pack[data-reference=wave]")).to_have_attribute("aria-pressed", "true")
    page.focus(".part input")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".part input")).to_have_value("99")
    page.focus("#targets [role=radio]")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # + Mask
    expect(page.locator("#targets [aria-checked=true]")).to_have_text("Mask")
    page.focus("#overlay")
    before = page.url
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    page.wait_for_url(lambda address: address != before)
    assert re.search("mask=[0-9a-f]{12}", page.url)
    page.focus("#targets [aria-checked=true]")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#targets [aria-checked=true]")).to_have_text("Everywhere")


def test_everything_that_acts_has_a_name(page: Page, photo: Path) -> None:
    load(page, photo)
    choose(page, "starry", "wave")
    page.click("text=+ Mask")
    page.click("#pad-section summary")
    nameless = page.evaluate("""() => {
        const named = (one) => one.ariaLabel || one.textContent.trim() || one.title ||
            [...(one.labels || [])].some((label) => label.textContent.trim());
        const acting = "button, input:not([type=file]), select, textarea, [tabindex], [role=img]";
        return [...document.querySelectorAll(acting)]
            .filter((one) => !named(one) && !one.hasAttribute("aria-labelledby"))
            .map((one) => one.outerHTML.slice(0, 80));
    }""")
    assert nameless == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_words_are_readable_in_both_schemes(page: Page, photo: Path, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    load(page, photo)
    ratios = page.evaluate("""() => {
        const probe = document.body.appendChild(document.createElement("i"));
        const light = (name) => {
            probe.style.color = `var(${name})`;
            const [r, g, b] = getComputedStyle(probe).color.match(/[\\d.]+/g).map((one) => {
                const share = one / 255;
                return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const pairs = [["--text", "--panel"], ["--quiet", "--panel"], ["--quiet", "--raised"],
            ["--bad", "--panel"], ["--on-accent", "--accent"], ["--text", "--raised"]];
        return pairs.map((pair) => {
            const [low, high] = pair.map(light).sort((a, b) => a - b);
            return (high + 0.05) / (low + 0.05);
        });
    }""")
    assert min(ratios) >= 4.5, ratios  # WCAG 2.2, 1.4.3


def test_a_phones_width_holds_everything(page: Page, photo: Path) -> None:
    page.set_viewport_size(PHONE)
    load(page, photo)
    choose(page, "starry", "wave")
    page.click("text=+ Mask")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    for name in ("#save", "#copy", "#undo", "#compare", "#hold", "#full", "#brush", "#mask-clear"):
        box = page.locator(name).bounding_box()
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= PHONE["width"], name
    page.locator("#keep-colors").scroll_into_view_if_needed()
    page.check("#keep-colors")
    stage = page.locator("#stage").bounding_box()
    assert stage["y"] >= 0, "the picture stays in sight"
    rested(page)


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_the_picture_stays_where_it_is(page: Page, photo: Path, size: dict[str, int]) -> None:
    page.set_viewport_size(size)
    load(page, photo)
    page.evaluate("scrollTo(0, 0)")

    def place() -> dict[str, float]:
        return page.locator("#paper").bounding_box()

    before = place()
    choose(page, "starry")
    rested(page)
    assert place() == before
    page.evaluate("scrollTo(0, 0)")
    page.click("text=+ Region")
    page.fill("#compare", "50")
    page.evaluate("scrollTo(0, 0)")
    assert place() == before


def test_a_dragged_slider_is_followed_by_frames_and_old_ones_are_dropped(
    page: Page, photo: Path
) -> None:
    load(page, photo)
    choose(page, "starry", "wave")
    rested(page)
    frames = page.evaluate("""async () => {
        const slider = document.querySelector(".part[data-reference=wave] input");
        const frames = [];
        addEventListener("studio-frame", ({ detail }) => frames.push(detail));
        let last = 0;
        addEventListener("studio-change", ({ detail }) => (last = detail.revision));
        for (let step = 0; step < 60; step += 1) {
            slider.value = 20 + step;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
            await new Promise((later) => setTimeout(later, 15));
        }
        slider.dispatchEvent(new Event("change", { bubbles: true }));
        for (;;) {
            const best = frames.find((one) => one.kind === "best" && one.revision === last);
            if (best) break;
            await new Promise((later) => setTimeout(later, 30));
        }
        return frames;
    }""")
    revisions = [frame["revision"] for frame in frames]
    assert revisions == sorted(revisions), "no frame is older than the one before it"
    quick = [frame for frame in frames if frame["kind"] == "quick"]
    assert 2 <= len(quick) <= 60
    assert [frame["kind"] for frame in frames][-2:] == ["better", "best"]
