"""What signals do while a command works."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from stylepack import signals
from stylepack.files import replacing
from stylepack.signals import WAVE, End, stop_on_signals


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_one_wish_to_stop_that_arrives_twice_stops_once(first: signal.Signals) -> None:
    with stop_on_signals("saving", print) as stop:
        for number in (first, first, signal.SIGTERM):
            signal.raise_signal(number)
    assert stop.exit_code == 128 + first


def test_a_later_ctrl_c_stops_at_once_and_a_later_sigterm_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signals, "WAVE", -1.0)
    for first in (signal.SIGTERM, signal.SIGINT):
        with stop_on_signals("saving", print) as stop:
            signal.raise_signal(first)
            signal.raise_signal(signal.SIGTERM)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert stop.asked == first


def test_a_signal_stops_work_that_holds_the_lock_that_its_message_needs() -> None:
    drawing = threading.Lock()
    said = []

    def say(message: str) -> None:
        if drawing.acquire(timeout=10):
            said.append(message)
            drawing.release()

    with stop_on_signals("saving", say) as stop, drawing:
        signal.raise_signal(signal.SIGTERM)
        assert stop
    assert said == ["stopping: saving (Ctrl-C again to stop at once)"]


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
        "import signal; from stylepack.signals import End; "
        "signal.signal(signal.SIGINT, End()); import swallows; print('survived')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_a_second_signal_ends_what_a_thread_keeps_waiting() -> None:
    code = (
        "import signal, threading, time\n"
        "from stylepack.signals import End\n"
        "signal.signal(signal.SIGTERM, End())\n"
        "threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "try:\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(600)\n"
        "finally:\n"
        "    print('asked once', flush=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.terminate()
    assert process.stdout.readline() == b"asked once\n"
    time.sleep(2 * WAVE)
    assert process.poll() is None
    process.terminate()
    assert process.wait(timeout=60) == 143
    process.communicate()


@pytest.mark.skipif(os.name == "nt", reason="there are no such terminals")
def test_a_terminal_that_is_closed_ends_work_in_good_order(tmp_path: Path) -> None:
    import pty  # no Windows has it

    code = (
        "import pathlib, sys, time\n"
        "from stylepack.cli import console\n"
        "from stylepack.signals import stop_on_signals\n"
        "stopping = stop_on_signals('saving', console.say)\n"
        "with stopping as stop, console.meter('working', 1000000) as meter:\n"
        "    pathlib.Path('begun').touch()\n"
        "    while not stop:\n"
        "        meter.advance()\n"
        "        time.sleep(0.01)\n"
        "pathlib.Path('saved').touch()\n"
        "sys.exit(stop.exit_code)\n"
    )
    terminal, its_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(its_end)
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.05)
    os.read(terminal, 1 << 16)
    os.close(terminal)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=60) == 129
    assert (tmp_path / "saved").exists()


def run_tests(folder: Path, before: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the tests in a folder with this project's conftest, after the statement `before`."""
    code = f"import signal, sys; {before}; import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-p", "conftest", "-c", os.devnull, "--rootdir", str(folder), str(folder), *words]
    tests = Path(__file__).parent
    return subprocess.run(
        [sys.executable, "-c", code, *options],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{tests}{os.pathsep}{tests.parent}"},
    )


def test_interrupting_the_tests_ends_them_and_is_no_failed_test(tmp_path: Path) -> None:
    (tmp_path / "test_swallows.py").write_text(
        "import os, signal\n"
        "from stylepack.signals import stop_on_signals\n"
        "def test_a_command_that_stops():\n"
        "    with stop_on_signals('stopping', print) as stop:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert not stop\n"
        "def test_one_that_raises_a_signal_itself():\n"
        "    with stop_on_signals('stopping', print) as stop:\n"
        "        signal.raise_signal(signal.SIGINT)\n"
        "    assert stop\n"
    )
    heeded = "signal.signal(signal.SIGINT, signal.default_int_handler)"
    done = run_tests(tmp_path, heeded)
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "KeyboardInterrupt" in done.stdout
    assert "failed" not in done.stdout
    done = run_tests(tmp_path, heeded, "-k=itself")
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(os.name == "nt", reason="signals are not inherited there")
def test_the_tests_pass_where_signals_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "test_heeds.py").write_text(
        "import signal, subprocess, sys\n"
        "from stylepack.signals import ENDING, stop_on_signals\n"
        "def test_here():\n"
        "    for number in ENDING:\n"
        "        signal.raise_signal(number)\n"
        "        with stop_on_signals('stopping', print) as stop:\n"
        "            signal.raise_signal(number)\n"
        "        assert stop\n"
        "def test_in_another_process():\n"
        "    code = 'import signal; print(int(signal.getsignal(signal.SIGHUP)))'\n"
        "    assert subprocess.check_output([sys.executable, '-c', code]) == b'0\\n'\n"
    )
    ignored = "[signal.signal(number, signal.SIG_IGN) for number in ENDING]"
    done = run_tests(tmp_path, f"from stylepack.signals import ENDING; {ignored}")
    assert done.returncode == 0, done.stdout
