"""`stylepack gallery`: the contact sheet and the page."""

import base64
import hashlib
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from conftest import PAINTINGS, picture, tops
from PIL import Image
from torch import Tensor

from stylepack import Stylizer
from stylepack.bundled import BUNDLED_TRUNK
from stylepack.cli.main import run as stylepack
from stylepack.images.contact_sheet import (
    CAPTION,
    FONT_SIZES,
    LINE,
    MARGIN,
    contact_sheet,
    fit_captions,
    spell,
)
from stylepack.images.photo import Photo
from stylepack.library.shelf import BUNDLED_PACKS, find_pack
from stylepack.packs.pack import load_pack
from stylepack.packs.trunk_file import load_trunk
from stylepack.painting.gallery import Label, Picture, even_columns, in_words

SMALL = ["--size", "32", "--cell", "32", "--device", "cpu", "--precision", "float32"]
NO_CONTENT = {"meta", "link", "img", "input"}
HOSTILE = '</style><script>alert("x")</script>\n\'"><img src=http://evil.example/x>&\x1b[31m'


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a photo.png"
    picture(64, 48).save(path)
    return path


@pytest.fixture
def shelved(home: Path):
    """Put a copy of `starry` on the shelf, its manifest changed: `shelved("name", title=...)`."""
    network, _ = load_trunk(BUNDLED_TRUNK)
    (home / "packs").mkdir(parents=True)

    def put(name: str, **changes: object) -> Path:
        pack = load_pack(find_pack("starry"), network.config)
        path = home / "packs" / f"{name}.safetensors"
        manifest = replace(pack.manifest, name=name, **changes)
        replace(pack, manifest=manifest).save(path, network.config)
        return path

    return put


def painted(photo: Path, pack: str, **options: bool) -> Tensor:
    """What `stylepack apply` would paint, 32 pixels wide."""
    small = Photo.from_image(Image.open(photo)).resized(32)
    stylizer = Stylizer.load(pack, device="cpu", precision="float32")
    return stylizer.paint(small, **options).pixels


def embedded(page: str) -> list[bytes]:
    """Every JPEG of a page, in order."""
    found = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)
    return [base64.b64decode(one) for one in found]


class Page(HTMLParser):
    """Tags with their attributes, the text outside scripts and styles, and tags left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in NO_CONTENT:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.mark.parametrize("columns", [1, 3, 5, 9])
def test_every_pack_is_in_its_place(
    photo: Path, tmp_path: Path, columns: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    assert (
        stylepack(["gallery", str(photo), *SMALL, "--columns", str(columns), "-o", str(out)]) == 0
    )
    assert capsys.readouterr().out == f"{out}\n"
    seen = []
    original = Photo.from_image(Image.open(photo)).resized(32).pixels
    for place, expected in enumerate([original, *(painted(photo, pack) for pack in PAINTINGS)]):
        (top,) = tops(out, place % columns, expected)
        seen.append(top)
        assert top == seen[place // columns * columns], place
    assert sorted(seen) == seen
    assert len(set(seen)) == -(-(1 + len(PAINTINGS)) // columns)
    with Image.open(out) as sheet:
        assert sheet.format == "PNG"
        assert sheet.width == MARGIN + min(columns, 1 + len(PAINTINGS)) * (32 + MARGIN)


def test_named_styles_come_in_their_order_for_every_photograph(photo: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.png", tmp_path / "out.png"
    picture(64, 48, 7).save(other)
    styles = ["--style", "wave", "--style", "photo", "--style", "wave", "--keep-colors"]
    words = ["gallery", str(photo), str(other), str(photo), *SMALL, *styles, "-o", str(out)]
    assert stylepack(words) == 0
    for column, pack in enumerate(["wave", "photo"], start=1):
        (first,) = tops(out, column, painted(photo, pack, keep_colors=True))
        (second,) = tops(out, column, painted(other, pack, keep_colors=True))
        assert first == MARGIN < second


def test_the_photographs_own_contrast_is_painted_too(photo: Path, tmp_path: Path, shelved) -> None:
    own, out = shelved("own", own_contrast=0.5), tmp_path / "out.png"
    words = ["gallery", str(photo), *SMALL, "--style", "wave", "--style", "own", "-o", str(out)]
    assert stylepack(words) == 0
    assert tops(out, 2, painted(photo, str(own))) == [MARGIN]
    assert not torch.equal(painted(photo, str(own)), painted(photo, "starry"))


def test_the_sheet_goes_to_gallery_png_unless_there_is_a_page(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["gallery", photo.name, *SMALL, "--style", "wave"]
    assert stylepack([*words, "--html", "page.html"]) == 0
    assert not Path("gallery.png").exists()
    assert stylepack(words) == 0
    assert stylepack([*words, "--html", "page.html", "-o", "both.png"]) == 0
    assert capsys.readouterr().out.split() == ["page.html", "gallery.png", "both.png", "page.html"]
    assert Path("both.png").read_bytes() == Path("gallery.png").read_bytes()


def test_a_folder_is_opened(photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    assert stylepack(["gallery", str(photos), *SMALL, "--style", "wave", "--html", str(out)]) == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert len(page.of("figure")) == 6
    assert [f"{index}.jpg" in page.text for index in range(6)] == [True] * 6


def test_paintings_in_a_folder_are_left_out(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "0.wave.jpg").write_bytes((photos / "0.jpg").read_bytes())
    out = tmp_path / "out.html"
    words = ["gallery", *SMALL, "--style", "wave", "--html", str(out)]
    assert stylepack([*words, str(photos)]) == 0
    assert "left out paintings: 1, such as 0.wave.jpg" in capsys.readouterr().err
    assert len(Page(out.read_text(encoding="utf-8")).of("figure")) == 6
    assert stylepack([*words, str(photos / "0.wave.jpg")]) == 0  # unless it is named
    for index in range(6):
        (photos / f"{index}.jpg").unlink()
    assert stylepack([*words, str(photos)]) == 2
    assert "has only paintings; name the files to show" in capsys.readouterr().err


def test_the_page_shows_every_painting_over_its_photograph(photo: Path, tmp_path: Path) -> None:
    other, out = tmp_path / "other.png", tmp_path / "out.html"
    picture(48, 64, 7).save(other)
    assert stylepack(["gallery", str(photo), str(other), *SMALL, "--html", str(out)]) == 0
    html = out.read_text(encoding="utf-8")
    page = Page(html)
    assert page.open == []
    assert len(page.of("figure")) == len(page.of("img")) == 2 * len(PAINTINGS)
    sliders = [tag for tag in page.of("input") if tag["type"] == "range"]
    assert len({slider["aria-label"] for slider in sliders}) == 2 * len(PAINTINGS)
    assert [tag["id"] for tag in page.of("select")] == ["style", "photo"]
    assert [tag["data-style"] for tag in page.of("figure")] == 2 * [
        str(style) for style in range(len(PAINTINGS))
    ]
    pictures = embedded(html)
    assert Image.open(io.BytesIO(pictures[0])).format == "JPEG"
    sources = [photo, other]
    originals = [Photo.from_image(Image.open(source)).resized(32).pixels for source in sources]
    expected = [*originals, *(painted(source, pack) for source in sources for pack in PAINTINGS)]
    assert pictures == [Picture.of(Photo(pixels), 32).jpeg for pixels in expected]
    for title in ("The Starry Night", "Vincent van Gogh, 1889", "painting: public domain"):
        assert title in page.text


def test_the_page_loads_nothing(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    assert stylepack(["gallery", str(photo), *SMALL, "--html", str(out)]) == 0
    html = out.read_text(encoding="utf-8")
    words = re.sub(r"base64,[A-Za-z0-9+/=]*", "", html)
    assert not re.search(r"//|https?:|@import|fetch|XMLHttp", words)
    for _, attributes in Page(html).tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert all(url.startswith('"data:') for url in re.findall(r"url\(([^)]*)\)", html))
    (policy,) = [tag["content"] for tag in Page(html).of("meta") if "http-equiv" in tag]
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_the_policy_names_the_script_by_its_hash(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.html"
    assert stylepack(["gallery", str(photo), *SMALL, "--html", str(out)]) == 0
    html = out.read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


def test_hostile_metadata_stays_text(photo: Path, tmp_path: Path, shelved) -> None:
    painting = {"artist": HOSTILE, "year": ["<script>"], "licence": {"a": "<script>"}}
    shelved("hostile", title=HOSTILE, license=HOSTILE, style_image=painting)
    shelved("other", title="$sections ${x}", style_image={"artist": 7, "year": 1889})
    evil, page, sheet = tmp_path / "<b>&amp;.png", tmp_path / "o.html", tmp_path / "o.png"
    picture(64, 48).save(evil)
    words = ["gallery", str(evil), *SMALL, "--html", str(page), "-o", str(sheet)]
    assert stylepack(words) == 0
    html = page.read_text(encoding="utf-8")
    parsed = Page(html)
    assert parsed.open == []
    assert len(parsed.of("script")) == 1
    assert len(parsed.of("img")) == len(PAINTINGS) + 2
    assert "b" not in [tag for tag, _ in parsed.tags]
    assert "<b>&amp;.png" in parsed.text
    shown = in_words(HOSTILE)
    assert "\x1b" not in shown
    assert parsed.text.count(shown) >= 3
    assert "$sections ${x}" in parsed.text
    assert sheet.exists()


def test_words_of_strangers_are_one_short_printable_line() -> None:
    assert in_words(" At\n Dawn\u200f ") == "At Dawn\\u200f"
    assert in_words("\ud800") == "\\ud800"
    assert in_words(1889) == "1889"
    assert [in_words(value) for value in (None, True, [], {"a": 1})] == [""] * 4
    assert len(in_words("x" * 10_000)) == 120


def test_packs_that_cannot_be_used_are_named_and_left_out(
    photo: Path, tmp_path: Path, shelved, capsys: pytest.CaptureFixture[str]
) -> None:
    shelved("foreign", trunk_sha256="0" * 64)
    shelved("broken").write_bytes(b"\xff" * 100)
    out = tmp_path / "out.html"
    assert stylepack(["gallery", str(photo), *SMALL, "--html", str(out)]) == 0
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(warnings) == 2
    assert "broken" in warnings[0]
    assert "another trunk: foreign" in warnings[1]
    assert len(Page(out.read_text(encoding="utf-8")).of("figure")) == len(PAINTINGS)


def test_another_trunk_shows_its_own_packs(
    photo: Path, tmp_path: Path, make_pack, tiny_trunk, home: Path, capsys
) -> None:
    out = tmp_path / "out.html"
    words = ["gallery", str(photo), *SMALL, "--trunk", str(tiny_trunk[0]), "--html", str(out)]
    assert stylepack(words) == 2
    assert "no installed pack belongs to trunk" in capsys.readouterr().err
    assert not out.exists()
    (home / "packs").mkdir(parents=True)
    make_pack("dots").rename(home / "packs" / "dots.safetensors")
    assert stylepack(words) == 0
    page = Page(out.read_text(encoding="utf-8"))
    assert len(page.of("figure")) == 1
    assert page.of("select") == []
    assert "Dots" in page.text
    assert (
        f"left out packs of another trunk: {PAINTINGS[0]}, {PAINTINGS[1]}"
        in capsys.readouterr().err
    )


def test_a_named_pack_of_another_trunk_is_an_error(photo: Path, tmp_path: Path, make_pack) -> None:
    out = tmp_path / "out.png"
    words = ["gallery", str(photo), *SMALL, "--style", str(make_pack("dots")), "-o", str(out)]
    assert stylepack(words) == 1
    assert not out.exists()


def test_a_folder_is_no_sheet(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = photo.parent / "d.png"
    folder.mkdir()
    assert stylepack(["gallery", str(photo), "-o", str(folder)]) == 2
    assert f"-o {folder} is a folder; name a file" in capsys.readouterr().err


def test_the_sheet_is_no_photograph_of_its_folder(
    photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    words = ["gallery", ".", *SMALL, "--style", "wave"]
    assert stylepack(words) == 0
    first = Path("gallery.png").read_bytes()
    assert stylepack(words) == 0
    assert Path("gallery.png").read_bytes() == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "out.jpg"], "-o is 'out.jpg'; name it like out.png"),
        (["-o", "out.png", "--html", "page.txt"], "--html is 'page.txt'; name it like page.html"),
        (["-o", "nowhere/out.png"], "no such folder: nowhere"),
        (["-o", "a photo.png"], "one of the photographs"),
        (["--style", "stary"], "did you mean 'starry'?"),
        (["none.png"], "no such file or folder: none.png"),
        (["--columns", "0"], "--columns"),
        (["--cell", "1"], "--cell"),
        (["--size", "1"], "--size"),
    ],
)
def test_wrong_usage_gives_one_line_and_writes_nothing(
    photo: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(photo.parent)
    before = photo.read_bytes()
    assert stylepack(["gallery", photo.name, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert message in line
    assert [path.name for path in photo.parent.iterdir()] == [photo.name]
    assert photo.read_bytes() == before


def test_a_damaged_photograph_stops_before_any_painting(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("painted")

    monkeypatch.setattr(Stylizer, "paint", refuse)
    damaged, out = tmp_path / "damaged.png", tmp_path / "out.png"
    damaged.write_bytes(photo.read_bytes()[:200])
    assert stylepack(["gallery", str(photo), str(damaged), *SMALL, "-o", str(out)]) == 1
    assert not out.exists()


def test_a_transparent_photograph_is_shown_on_white(tmp_path: Path) -> None:
    clear, out = tmp_path / "clear.png", tmp_path / "out.png"
    Image.new("RGBA", (64, 48), (0, 0, 0, 0)).save(clear)
    assert stylepack(["gallery", str(clear), *SMALL, "--style", "photo", "-o", str(out)]) == 0
    white = torch.full((3, 24, 32), 255, dtype=torch.uint8)
    assert MARGIN in tops(out, 0, white)


@pytest.mark.parametrize(("pictures", "columns"), [(1, 1), (5, 5), (6, 6), (7, 4), (13, 5)])
def test_columns_fill_their_rows(pictures: int, columns: int) -> None:
    assert even_columns(pictures) == columns


@pytest.mark.parametrize("width", [32, 90, 256])
def test_no_caption_is_wider_than_its_picture(width: int) -> None:
    captions = ["The Great Wave off Kanagawa\nKatsushika Hokusai", "x" * 90, "a", "w " * 60]
    font, wrapped = fit_captions(captions, width)
    assert all(font.getlength(line) <= width for lines in wrapped.values() for line in lines)
    assert all(1 <= len(lines) <= 4 for lines in wrapped.values())
    assert wrapped["a"] == ["a"]
    assert wrapped["x" * 90][-1].endswith("…") or width == 256


def test_captions_wrap_before_they_shrink_and_keep_glued_words_together() -> None:
    font, wrapped = fit_captions(["75\N{NO-BREAK SPACE}%, 25\N{NO-BREAK SPACE}%"], 50)
    assert wrapped.popitem()[1] == ["75 %,", "25 %"]
    assert font.size == FONT_SIZES[0]


def test_a_row_is_as_high_as_its_own_captions() -> None:
    rows = [[picture(64, 64)], [picture(64, 64)]]
    sheet = contact_sheet(rows, [["one\ntwo\nthree"], ["one"]], 64)
    assert sheet.height == MARGIN + 2 * (64 + CAPTION + MARGIN) + 2 * LINE


def test_one_line_captions_make_the_sheet_that_they_always_made() -> None:
    sheet = contact_sheet([[picture(32, 32)] * 2], [["one", "two"]], 32)
    assert sheet.size == (MARGIN + 2 * (32 + MARGIN), MARGIN + 32 + CAPTION + MARGIN)


def test_captions_keep_every_letter_that_the_font_has() -> None:
    for text in ("Édouard Manet – Große ‘Løvås’ ﬁ", "Καφές", "Ночь", "«Aé»…"):  # noqa: RUF001
        assert spell(text) == text
    assert spell("Cafe\N{COMBINING ACUTE ACCENT}\nau lait") == "Café\nau lait"
    assert spell("wave 沖浪") == "wave ??"
    assert Label("wave", "神奈川沖浪裏", "Hokusai").caption == "wave\nHokusai"
    assert Label("wave", "The Wave", "葛飾北斎").caption == "The Wave (wave)"
    assert Label("why", "Why?", "").caption == "Why? (why)"
    font, lines = fit_captions([""], 64)
    missing = bytes(font.getmask("\uffff"))
    for character in spell("Aé«»“”…–’"):  # noqa: RUF001
        assert bytes(font.getmask(character)) != missing
    assert lines == {"": [""]}


def test_bundled_packs_are_all_shown() -> None:
    assert sorted(path.stem for path in BUNDLED_PACKS.glob("*")) == sorted([*PAINTINGS, "photo"])


def test_too_large_a_sheet_is_refused_before_painting(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["gallery", str(photo), "--cell", "2048"]
    for index in range(5):
        other = photo.with_name(f"{index}.png")
        other.write_bytes(photo.read_bytes())
        words.append(str(other))
    assert stylepack(words) == 2
    assert "96 pictures are too many: at 2048 pixels there can be 59" in capsys.readouterr().err
