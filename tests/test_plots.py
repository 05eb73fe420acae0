"""What a run shows of itself: curves, progress, TensorBoard."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stylepack.packs.shelf import IDENTITY
from stylepack.training.board import Board
from stylepack.training.history import History
from stylepack.training.plots import (
    MOMENTS,
    POINTS,
    averaged,
    draw_progress,
    plot_losses,
    read_curves,
    save_moment,
)
from stylepack.training.trainer import Step

NAMES = ["dawn", IDENTITY]


def steps(count: int) -> list[Step]:
    return [
        Step(update, [update % 2, 0], [1 / update, 0.5], [2 / update, 0.25], [0, 0], 1.0, 1e-3)
        for update in range(1, count + 1)
    ]


@pytest.fixture
def history(tmp_path: Path) -> Path:
    written = History(tmp_path, NAMES)
    written.cut(0)
    for step in steps(40):
        written.add(step)
    written.flush()
    return written.path


def test_curves_are_read_by_style(history: Path) -> None:
    curves = read_curves(history)
    assert curves.keys() == set(NAMES)
    updates, losses = curves[IDENTITY]
    assert updates.tolist() == [float(update) for update in range(1, 41, 2)]
    assert losses["content_loss"] == pytest.approx(1 / updates, rel=1e-4)


def test_means_are_of_consecutive_values_and_few() -> None:
    updates, values = averaged(np.arange(1.0, 1001.0), np.arange(1.0, 1001.0))
    assert len(updates) == len(values) == POINTS
    assert updates.tolist() == values.tolist()
    assert values.mean() == pytest.approx(500.5, rel=0.01)
    several = averaged(np.array([1.0, 1.0, 2.0]), np.array([0.5, 1.5, 4.0]))
    assert [part.tolist() for part in several] == [[1.0, 2.0], [1.0, 4.0]]
    assert averaged(np.array([3.0]), np.array([0.5])) == (np.array([3.0]), np.array([0.5]))


def test_the_plot_is_a_picture_with_something_on_it(history: Path, tmp_path: Path) -> None:
    target = tmp_path / "losses.png"
    plot_losses(history, target)
    with Image.open(target) as plot:
        assert plot.width > plot.height > 300
        assert len(plot.convert("RGB").getcolors(1 << 20)) > 20


def test_progress_has_a_row_a_style_and_evenly_spread_moments(tmp_path: Path) -> None:
    folder, target = tmp_path / "moments", tmp_path / "progress.png"
    for update in range(0, 200, 10):
        grey = Image.new("RGB", (20, 16), (update, update, update))
        save_moment(folder, update, [grey, Image.new("RGB", (20, 16), "red")])
    (folder / "notes.png").write_bytes(b"not ours")
    draw_progress(folder, NAMES, target)
    with Image.open(target) as sheet:
        colors = {color for _, color in sheet.getcolors(1 << 16)}
    shown = {color[0] for color in colors if len(set(color)) == 1}
    assert (255, 0, 0) in colors
    assert {0, 190} <= shown
    assert MOMENTS == 8


def test_tensorboard_is_written_where_it_is_installed(tmp_path: Path) -> None:
    board = Board(tmp_path / "tensorboard", NAMES)
    for step in steps(3):
        board.add(step)
    board.close()
    assert (board.writer is None) == (not (tmp_path / "tensorboard").exists())


def test_without_tensorboard_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    board = Board(tmp_path / "tensorboard", NAMES)
    board.add(steps(1)[0])
    board.close()
    assert not (tmp_path / "tensorboard").exists()
