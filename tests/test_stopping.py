"""What signals do while a command works."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stylepack.__main__ import WAVE, End
from stylepack.cli import stopping
from stylepack.cli.stopping import stop_on_signals
from stylepack.files import replacing


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_one_wish_to_stop_that_arrives_twice_stops_once(first: signal.Signals) -> None:
    with stop_on_signals("saving") as stop:
        for number in (first, first, signal.SIGTERM):
            signal.raise_signal(number)
    assert stop.exit_code == 128 + first


def test_a_later_ctrl_c_stops_at_once_and_a_later_sigterm_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stopping, "WAVE", -1.0)
    for first in (signal.SIGTERM, signal.SIGINT):
        with stop_on_signals("saving") as stop:
            signal.raise_signal(first)
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert stop.asked == first


@pytest.mark.parametrize(
    ("number", "raised"), [(signal.SIGTERM, SystemExit), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_leaves_nothing_half_written(
    tmp_path: Path, number: signal.Signals, raised: type[BaseException]
) -> None:
    def write() -> None:
        with replacing(tmp_path / "out") as temporary:
            temporary.touch()
            signal.raise_signal(number)

    before = signal.signal(number, End())
    try:
        with pytest.raises(raised):
            write()
    finally:
        signal.signal(number, before)
    assert list(tmp_path.iterdir()) == []


def test_a_signal_during_an_import_is_not_lost(tmp_path: Path) -> None:
    (tmp_path / "swallows.py").write_text(
        "import contextlib, signal\n"
        "with contextlib.suppress(BaseException):\n"
        "    signal.raise_signal(signal.SIGINT)\n"
    )
    code = (
        "import signal; from stylepack.__main__ import End; "
        "signal.signal(signal.SIGINT, End()); import swallows; print('survived')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_second_signal_ends_what_a_thread_keeps_waiting() -> None:
    code = (
        "import signal, threading, time; from stylepack.__main__ import End; "
        "signal.signal(signal.SIGTERM, End()); "
        "threading.Thread(target=time.sleep, args=(600,)).start(); "
        "print('ready', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    time.sleep(2 * WAVE)
    assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=60) == 143
    process.communicate()
