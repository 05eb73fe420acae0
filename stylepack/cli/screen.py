"""Everything that people see.  The only file that imports rich.

Messages and progress go to stderr, so that stdout stays free for data.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from stylepack.errors import printable

PLAIN_SECONDS = 10.0  # between progress lines where there is no terminal
SPEED_SECONDS = 60.0  # over which a speed is measured

errors = Console(stderr=True, highlight=False)
_rank = 0


def speak_as(rank: int) -> None:
    """Number this process among several: all but the first tell errors and warnings alone."""
    global _rank
    _rank = rank


def fail(message: str) -> None:
    """One line for an error."""
    errors.print(f"{_number()}[bold red]error:[/] {escape(printable(message))}", soft_wrap=True)


def warn(message: str) -> None:
    """One line for something that went on without."""
    errors.print(f"{_number()}[yellow]warning:[/] {escape(printable(message))}", soft_wrap=True)


def _number() -> str:
    return f"process {_rank}: " if _rank else ""


def say(message: str) -> None:
    """One line of information."""
    if _rank:
        return
    errors.print(escape(printable(message)), soft_wrap=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; tab-separated where stdout is not a terminal."""
    output = Console(highlight=False)
    if not output.is_terminal:
        for row in rows:
            print("\t".join(printable(cell) for cell in row))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(cell)) for cell in row))
    output.print(table)


class Meter:
    """Progress of one job: `advance` after each unit, with a few words about it.

    With `speed` the units a second are shown too.
    """

    def __init__(
        self, progress: Progress, title: str, total: int, done: int, *, speed: bool
    ) -> None:
        self._progress = progress
        self._live = errors.is_terminal
        self._title, self._total, self._done, self._first = title, total, done, done
        self._task = progress.add_task(title, total=total, completed=done, words="")
        self._start = self._spoke = time.monotonic()
        self._marks = deque([(self._start, done)]) if speed else None

    def share(self, share: float) -> None:
        """Show how much of the unit at hand is done, 0..1."""
        self._progress.update(self._task, completed=self._done + share)

    def advance(self, words: str = "", to: int | None = None) -> None:
        """Count one unit as done, or as many as `to` says: fewer, if work has to be done again."""
        self._done = self._done + 1 if to is None else to
        self._first = min(self._first, self._done - 1)
        now = time.monotonic()
        if self._marks is not None:
            words = f"{self._speed(self._marks, now):.3g}/s  {words}"
        self._progress.update(self._task, completed=self._done, words=escape(printable(words)))
        last = self._done == self._total
        if not self._live and (
            now - self._spoke >= PLAIN_SECONDS or (last and now - self._start > 2)
        ):
            self._spoke = now
            rate = (now - self._start) / (self._done - self._first)
            left = _clock(rate * (self._total - self._done))
            say(f"{self._title} {self._done}/{self._total}  {left} left  {words}".rstrip())

    def _speed(self, marks: deque[tuple[float, int]], now: float) -> float:
        if self._done <= marks[-1][1]:  # work has to be done again
            marks.clear()
        marks.append((now, self._done))
        while len(marks) > 2 and now - marks[0][0] > SPEED_SECONDS:
            marks.popleft()
        then, done = marks[0]
        return (self._done - done) / (now - then) if now > then else 0.0


@contextmanager
def meter(title: str, total: int, done: int = 0, *, speed: bool = False) -> Iterator[Meter]:
    """A progress bar on a terminal, a line every ten seconds elsewhere."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[words]}"),
        console=errors,
        disable=not errors.is_terminal or _rank > 0,
        transient=True,
    )
    with progress:
        yield Meter(progress, title, total, done, speed=speed)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
