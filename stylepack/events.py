"""Events of long work: steps, skipped files, notices and saved files."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Step(Protocol):
    """A finished unit of work."""

    @property
    def done(self) -> int:
        """Number of finished units; it falls if some have to be repeated."""

    @property
    def words(self) -> str:
        """A few words for the progress line."""


@dataclass(frozen=True)
class Progress:
    """A plain `Step`."""

    done: int
    words: str


@dataclass(frozen=True)
class Skipped:
    """A file that was left out."""

    reason: str


@dataclass(frozen=True)
class Notice:
    """A problem that did not stop the work."""

    message: str


@dataclass(frozen=True)
class Saved:
    """A result that was written."""

    path: Path
    words: str


Event = Step | Skipped | Notice | Saved


class Journal:
    """Skipped files and notices of a piece of work; `around` reports each once.  Thread-safe."""

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self.notices: list[str] = []
        self._waiting: deque[Skipped | Notice] = deque()

    def skip(self, reason: str) -> None:
        """Add a skipped file."""
        self.skipped.append(reason)
        self._waiting.append(Skipped(reason))

    def note(self, message: str) -> None:
        """Add a notice."""
        self.notices.append(message)
        self._waiting.append(Notice(message))

    def fresh(self) -> Iterator[Event]:
        """Yield the events that have not been reported yet."""
        while self._waiting:
            yield self._waiting.popleft()

    def around(self, events: Generator[Event]) -> Generator[Event]:
        """Yield the work's events and the journal's in order, even if the work fails."""
        with closing(events):
            try:
                for event in events:
                    yield from self.fresh()
                    yield event
            except Exception:
                yield from self.fresh()
                raise
        yield from self.fresh()
