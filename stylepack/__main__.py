"""Entry point of `python -m stylepack` and of the `stylepack` command."""

import signal
import sys

from stylepack.signals import ENDING, End


def main() -> None:
    """Run the command line; signals that end a process end it without a traceback."""
    end = End()
    for number in ENDING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(number, end)
    try:
        from stylepack.cli.main import main as command

        command()
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
