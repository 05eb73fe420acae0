"""Ctrl-C that waits for a good moment."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from stylepack.cli import screen


class Stop:
    """Becomes true at the first SIGINT or SIGTERM; a second one interrupts at once."""

    asked = 0

    def __bool__(self) -> bool:
        return self.asked > 0

    @property
    def exit_code(self) -> int:
        """128 + the signal's number, as shells count."""
        return 128 + self.asked


@contextmanager
def stop_on_signals(what: str) -> Iterator[Stop]:
    """Within the block the first signal sets `Stop` and says `what` is being finished."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop:
            raise KeyboardInterrupt
        stop.asked = number
        screen.say(f"stopping: {what} (again to stop at once)")

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
