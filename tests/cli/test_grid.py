"""`stylepack grid`: mixes from corner to corner."""

import math
from pathlib import Path

import pytest
from conftest import picture, tops
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from stylepack import Stylizer
from stylepack.cli.main import run as stylepack
from stylepack.errors import UsageError
from stylepack.images.contact_sheet import MARGIN
from stylepack.images.photo import Photo
from stylepack.packs.mix import Mix, grid_mixes
from stylepack.painting.gallery import mix_caption

SMALL = ["--size", "32", "--device", "cpu", "--precision", "float32"]
NAMES = st.sampled_from(["starry", "scream", "wave", "composition", "my/own.safetensors"])


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    picture(64, 48).save(path)
    return path


def painted(photo: Path, mix: str) -> Tensor:
    small = Photo.from_image(Image.open(photo)).resized(32)
    return Stylizer.load(mix, device="cpu", precision="float32").paint(small).pixels


@settings(max_examples=50, deadline=None)
@given(
    st.lists(NAMES, min_size=2, max_size=2) | st.lists(NAMES, min_size=4, max_size=4),
    st.integers(2, 9),
)
def test_weights_of_every_cell_sum_to_one(corners: list[str], steps: int) -> None:
    rows = grid_mixes(corners, steps)
    assert [len(row) for row in rows] == [steps] * (steps if len(corners) == 4 else 1)
    for mix in (mix for row in rows for mix in row):
        assert math.isclose(math.fsum(mix.weights), 1, rel_tol=1e-12)
        assert all(weight > 0 for weight in mix.weights)
        assert set(mix.references) <= set(corners)
    found = [rows[0][0], rows[0][-1], rows[-1][0], rows[-1][-1]][: len(corners)]
    assert found == [Mix(((corner, 1.0),)) for corner in corners]


def test_weights_are_bilinear() -> None:
    (row,) = grid_mixes(["a", "b"], 5)
    assert row[1] == Mix((("a", 0.75), ("b", 0.25)))
    square = grid_mixes(["a", "b", "c", "d"], 3)
    assert square[1][1] == Mix((("a", 0.25), ("b", 0.25), ("c", 0.25), ("d", 0.25)))
    assert square[0][1] == Mix((("a", 0.5), ("b", 0.5)))
    assert square[1][0] == Mix((("a", 0.5), ("c", 0.5)))
    assert square[1][2] == Mix((("b", 0.5), ("d", 0.5)))


@pytest.mark.parametrize("corners", [[], ["a"], ["a", "b", "c"], ["a"] * 5])
def test_other_numbers_of_corners_are_refused(corners: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{len(corners)} corners; give two or four"):
        grid_mixes(corners, 5)


def test_two_corners_make_a_row_between_the_packs(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.png"
    words = ["grid", str(photo), "--corners", "starry, scream", *SMALL, "-o", str(out)]
    assert stylepack(words) == 0
    assert capsys.readouterr().out == f"{out}\n"
    mixes = ["starry", "starry=3,scream=1", "starry,scream", "starry=1,scream=3", "scream"]
    for column, mix in enumerate(mixes):
        assert tops(out, column, painted(photo, mix)) == [MARGIN], mix
    with Image.open(out) as image:
        assert image.width == MARGIN + 5 * (32 + MARGIN)


def test_four_corners_are_the_packs_themselves(photo: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.png"
    corners = ["wave", "scream", "starry", "composition"]
    words = ["grid", str(photo), "--corners", ",".join(corners), "--steps", "3", *SMALL]
    assert stylepack([*words, "-o", str(out)]) == 0
    (middle,) = tops(out, 1, painted(photo, ",".join(corners)))
    places = [
        tops(out, column, painted(photo, pack))
        for column, pack in zip([0, 2, 0, 2], corners, strict=True)
    ]
    assert places[0] == places[1] == [MARGIN]
    assert places[2] == places[3]
    assert MARGIN < middle < places[2][0]


def test_captions() -> None:
    def caption(*parts: tuple[str, float]) -> str:
        return mix_caption(Mix(parts)).replace("\N{NO-BREAK SPACE}", "_")

    assert caption(("starry", 1.0)) == "starry"
    assert caption(("starry", 0.75), ("scream", 0.25)) == "75_%_starry, 25_%_scream"
    quarters = caption(*((name, 0.25) for name in "abcd"))
    assert quarters == "25_%_a, 25_%_b,\n25_%_c, 25_%_d"
    assert caption(("my/own pack.safetensors", 0.999), ("b", 0.001)) == "100_%_own_pack, <1_%_b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corners", "starry"], "1 corners; give two or four"),
        (["--corners", "starry,scream,wave"], "3 corners; give two or four"),
        (["--corners", "starry,stary"], "did you mean 'starry'?"),
        (["--corners", "starry,"], "no pack ''"),
        (["--corners", "starry,wave", "--steps", "1"], "--steps is 1"),
        (["--corners", "starry,wave", "-o", "out.jpg"], "name it like out.png"),
        (["--corners", "starry,wave", "-o", "photo.png"], "one of the photographs"),
        (["--corners", "starry,wave", "--size", "1"], "--size"),
        ([], "--corners"),
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
    assert stylepack(["grid", photo.name, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert message in line
    assert [path.name for path in photo.parent.iterdir()] == [photo.name]


def test_a_folder_or_a_missing_photograph_is_refused(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert stylepack(["grid", str(photos), "--corners", "starry,wave"]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert stylepack(["grid", str(tmp_path / "none.png"), "--corners", "starry,wave"]) == 2
    assert "no such file" in capsys.readouterr().err
