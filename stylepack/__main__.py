"""`python -m stylepack`, and what the command `stylepack` starts."""

import os
import signal
import sys
from types import FrameType

IMPORTING = "<frozen importlib._bootstrap>"
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")  # Windows has no SIGHUP


def main() -> None:
    """Run the command line; the signals that end a process end it without a word."""
    for name in ENDING:
        number = getattr(signal, name, None)
        if number and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    try:
        from stylepack.cli.main import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def end(number: int, frame: FrameType | None) -> None:
    """Unwind the stack, so that nothing half-written is left.

    But not through an import, where nothing is being written: torch's would lose the exception, or
    end with a message of its own.
    """
    while frame is not None:
        if frame.f_code.co_filename == IMPORTING:
            os._exit(128 + number)
        frame = frame.f_back
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(128 + number)


if __name__ == "__main__":
    main()
