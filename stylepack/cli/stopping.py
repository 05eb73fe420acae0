"""Ctrl-C that waits for a good moment."""

import errno
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stylepack.__main__ import ENDING, WAVE
from stylepack.cli import screen


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
def stop_on_signals(what: str) -> Iterator[Stop]:
    """Within the block the first signal sets `Stop` and says `what` is being finished.

    Signals that were ignored before, as under nohup, still are.  A second Ctrl-C interrupts at
    once.  A second SIGTERM does not: Slurm sends it to every process and torchrun hands it on, so
    that one wish to stop arrives twice.
    """
    stop = Stop()
    since = 0.0

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if not stop:
            stop.asked, since = number, time.monotonic()
            _let_go_of_lost_terminals()
            screen.say(f"stopping: {what} (Ctrl-C again to stop at once)")
        elif number == signal.SIGINT and time.monotonic() - since > WAVE:
            raise KeyboardInterrupt

    heard = [number for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go_of_lost_terminals() -> None:
    """A terminal that was closed can no longer be written to: what is said leads nowhere then."""
    try:
        import termios
    except ImportError:  # Windows
        return
    for stream in (1, 2):
        try:
            termios.tcgetattr(stream)
        except termios.error as error:
            if error.args[0] == errno.EIO:  # else it is no terminal
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)
