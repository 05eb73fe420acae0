"""What a run shows of itself: curves, progress, TensorBoard."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stylepack.packs.manifest import IDENTITY
from stylepack.training.reports.charts import POINTS, averaged, draw_losses, read_curves
from stylepack.training.reports.losses_csv import History
from stylepack.training.reports.sheets import COLUMNS, draw_progress, save_moment
from stylepack.training.reports.tensorboard import TensorBoard
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
    draw_losses(history, target)
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
    assert COLUMNS == 8


@pytest.fixture
def tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much of the package as is used; an event is a line of JSON."""

    class Message(dict):
        START = "start"

        def __init__(self, **fields: Any) -> None:
            super().__init__(fields)

        def SerializeToString(self) -> bytes:  # noqa: N802 - its own name
            return json.dumps(self).encode() + b"\n"

    class Summary(Message):
        Value = Message

    proto = ModuleType("tensorboard.compat.proto")
    proto.event_pb2 = SimpleNamespace(Event=Message, SessionLog=Message)
    proto.summary_pb2 = SimpleNamespace(Summary=Summary)
    records = ModuleType("tensorboard.summary.writer.record_writer")
    records.RecordWriter = lambda file: file
    for name in ("tensorboard", "tensorboard.compat", "tensorboard.summary"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", proto)
    monkeypatch.setitem(sys.modules, records.__name__, records)


def test_tensorboard_forgets_what_comes_again(tensorboard: None, tmp_path: Path) -> None:
    told: list[str] = []
    board = TensorBoard(tmp_path, NAMES, told.append)
    board.restart_after(0)
    for step in steps(15):
        board.add(step)
    board.restart_after(12)
    for step in steps(15)[12:]:
        board.add(step)
    board.close()
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("events.out.tfevents.")
    version, *events = map(json.loads, file.read_text().splitlines())
    assert version["file_version"] == "brain.Event:2"
    assert [(event["step"], "session_log" in event) for event in events] == [
        *[(1, True), (10, False)],
        *[(13, True), (15, False)],
    ]
    logged = {value["tag"]: value["simple_value"] for value in events[-1]["summary"]["value"]}
    assert logged.keys() == {"content/dawn", f"content/{IDENTITY}", "style/dawn", "learning rate"}
    assert logged["content/dawn"] == pytest.approx((0.5 * 3 + 1 / 14) / 4)
    assert told == []


def test_what_tensorboard_cannot_be_told_stops_nothing(tensorboard: None, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told: list[str] = []
    board = TensorBoard(tmp_path / "file", NAMES, told.append)
    board.restart_after(0)
    for step in steps(10):
        board.add(step)
    board.close()
    assert told == ["no more losses for TensorBoard: File exists; training continues"]


def test_without_tensorboard_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    board = TensorBoard(tmp_path / "tensorboard", NAMES, pytest.fail)
    board.restart_after(0)
    board.add(steps(1)[0])
    board.close()
    assert not (tmp_path / "tensorboard").exists()
