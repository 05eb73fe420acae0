"""Events of long work: steps, skipped files, notices and saved files, for a console or a test."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Step(Protocol):
    """A unit of work that is done."""

    @property
    def done(self) -> int:
        """How many units are done; fewer than before if some have to be done again."""

    @property
    def words(self) -> str:
        """A few words about it."""


@dataclass(frozen=True)
class Progress:
    """The plainest `Step`."""

    done: int
    words: str


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, and the reason."""

    reason: str


@dataclass(frozen=True)
class Notice:
    """Trouble that does not stop the work."""

    message: str


@dataclass(frozen=True)
class Saved:
    """A result that is written."""

    path: Path
    words: str


Event = Step | Skipped | Notice | Saved


class Journal:
    """Skipped files and notices of one work: kept, and each reported once as an event.

    Any thread may add to it; `around` reports.
    """

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self.notices: list[str] = []
        self._waiting: deque[Skipped | Notice] = deque()

    def skip(self, reason: str) -> None:
        """Add a file that is left out."""
        self.skipped.append(reason)
        self._waiting.append(Skipped(reason))

    def note(self, message: str) -> None:
        """Add trouble that does not stop the work."""
        self.notices.append(message)
        self._waiting.append(Notice(message))

    def fresh(self) -> Iterator[Event]:
        """Everything that is not reported yet."""
        while self._waiting:
            yield self._waiting.popleft()

    def around(self, events: Generator[Event]) -> Generator[Event]:
        """The events of the work, each after what was added before it, also if the work fails."""
        with closing(events):
            try:
                for event in events:
                    yield from self.fresh()
                    yield event
            except Exception:
                yield from self.fresh()
                raise
        yield from self.fresh()
