"""Signals that end a process: at once by unwinding the stack, or at a safe point."""

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

IMPORTING = "<frozen importlib._bootstrap>"
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
ENDING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
WAVE = 0.5  # seconds within which a scheduler and a launcher may send the same request twice


class End:
    """A signal handler that unwinds the stack, so that nothing half-written is left.

    During an import, which writes nothing, it ends the process instead: torch's import would lose
    the exception.  A later signal ends the process at once, without waiting for threads.
    """

    def __init__(self) -> None:
        self.asked: float | None = None  # time of the first signal, in seconds

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle signal `number`."""
        now = time.monotonic()
        if self.asked is not None:
            if now - self.asked > WAVE:
                os._exit(128 + number)
            return
        self.asked = now
        while frame is not None:
            if frame.f_code.co_filename == IMPORTING:
                os._exit(128 + number)
            frame = frame.f_back
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)


class Stop:
    """Becomes true at the first signal of `ENDING`; `asked` is its number."""

    asked = 0

    def __bool__(self) -> bool:
        return self.asked > 0

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count."""
        return 128 + self.asked


@contextmanager
def stop_on_signals(what: str, say: Callable[[str], object]) -> Iterator[Stop]:
    """Within the block, the first signal sets `Stop` and announces `what` through `say`.

    Signals that were ignored before, as under nohup, still are.  A second Ctrl-C interrupts at
    once; a second SIGTERM does not, since Slurm sends it to every process and torchrun forwards it.

    `say` runs in a thread of its own: the signal may have interrupted code that holds a lock that
    printing needs, such as that of a progress bar.
    """
    stop = Stop()
    since = 0.0
    messages: SimpleQueue[str] = SimpleQueue()  # its `put` is safe in signal handlers

    def announce() -> None:
        if message := messages.get():
            say(message)

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if not stop:
            stop.asked, since = number, time.monotonic()
            _let_go_of_lost_terminals()
            messages.put(f"stopping: {what} (Ctrl-C again to stop at once)")
        elif number == signal.SIGINT and time.monotonic() - since > WAVE:
            raise KeyboardInterrupt

    announcer = threading.Thread(target=announce, daemon=True)
    announcer.start()
    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        messages.put("")
        announcer.join()


def _let_go_of_lost_terminals() -> None:
    """Redirect output from a closed terminal to `os.devnull`, because writing to it fails."""
    try:
        import termios
    except ImportError:  # Windows
        return
    for stream in (1, 2):
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == errno.EIO:  # else the stream is not a terminal
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)
