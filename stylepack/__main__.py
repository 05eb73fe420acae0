"""`python -m stylepack`, and what the command `stylepack` starts."""

import os
import signal
import sys
import time
from types import FrameType

IMPORTING = "<frozen importlib._bootstrap>"
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP
ENDING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
WAVE = 0.5  # seconds in which one wish may arrive twice: from a scheduler and from a launcher


def main() -> None:
    """Run the command line; the signals that end a process end it without a word."""
    end = End()
    for number in ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    try:
        from stylepack.cli.main import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


class End:
    """A signal handler that unwinds the stack, so that nothing half-written is left.

    But not through an import, during which this thread writes nothing: torch's would lose the
    exception, or end with a message of its own.  A later signal ends the process at once, which may
    wait for a thread that waits for a disk.
    """

    def __init__(self) -> None:
        self.asked: float | None = None  # when

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


if __name__ == "__main__":
    main()
