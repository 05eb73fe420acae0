"""Output to the user.  The only module that imports rich.

Messages and progress go to stderr, so that stdout stays free for data.
"""

from __future__ import annotations

import logging
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import typer
from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from stylepack.errors import UsageError, printable
from stylepack.events import Event, Notice, Saved, Skipped
from stylepack.signals import Stop, stop_on_signals

if TYPE_CHECKING:
    from stylepack.training.finetune import Finetune, Preview

GAP = "  "  # between columns
NARROW = 12  # least width that a table's wider columns shrink to
PLAIN_SECONDS = 10.0  # between progress lines without a terminal
SPEED_SECONDS = 60.0  # window over which speed is measured
errors = Console(stderr=True, highlight=False)
_rank = 0


def speak_as(rank: int) -> None:
    """Set this process's rank; all but the first print only errors and warnings."""
    global _rank
    _rank = rank


def fail(message: str) -> None:
    """Print an error on one line."""
    errors.print(f"{_number()}[bold red]error:[/] {escape(printable(message))}", soft_wrap=True)


def warn(message: str) -> None:
    """Print a warning on one line."""
    errors.print(f"{_number()}[yellow]warning:[/] {escape(printable(message))}", soft_wrap=True)


class _Warnings(logging.Handler):
    """Shows the library's warnings, each message once."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._shown:
            self._shown.add(message)
            warn(message)


def show_warnings() -> None:
    """Show the library's warnings from now on."""
    logging.getLogger("stylepack").handlers = [_Warnings()]


def _number() -> str:
    return f"process {_rank}: " if _rank else ""


def say(message: str) -> None:
    """Print information on one line."""
    if _rank:
        return
    errors.print(escape(printable(message)), soft_wrap=True)


def result(line: object) -> None:
    """Print one line of data on stdout; on a terminal, escape unprintable characters."""
    print(printable(str(line)) if sys.stdout.isatty() else line)


def takes_any_text(stream: TextIO) -> bool:
    """Whether a stream's encoding is UTF-8, which covers every character."""
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


def show_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout, tab-separated if stdout is not a terminal."""
    output = Console(highlight=False)
    if not output.is_terminal:
        for row in rows:
            print("\t".join(printable(cell) for cell in row))
        return
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(columns, *shown, strict=True)]
    widths = _narrowed(widths, output.width)
    for line in _lines(columns[: len(widths)], widths) if any(columns) else ():
        output.print(line, style="bold", markup=False, soft_wrap=True)
    for row in (row[: len(widths)] for row in shown):
        for line in _lines(row, widths):
            print(line)


def _narrowed(widths: list[int], room: int) -> list[int]:
    """Widths of the columns that fit into `room` with gaps between them.

    The first column, which names the row, keeps its width.  The widest of the others shrink to a
    common width; the last ones are dropped if they would be narrower than `NARROW`.  A table of two
    columns keeps both.
    """
    first, *others = widths
    fewest = 1 if len(widths) == 2 else 0
    while (
        len(others) > fewest
        and first + sum(len(GAP) + min(width, NARROW) for width in others) > room
    ):
        others.pop()
    room -= first + len(GAP) * len(others)
    most = max(others, default=1)
    while sum(min(width, most) for width in others) > room and most > NARROW:
        most -= 1
    return [first, *(min(width, most) for width in others)]


def _lines(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """Lines of a table row, as many as its longest cell needs.

    A long word in the last cell, such as a path, is left for the terminal to wrap, so that it can
    be copied.  Rich's own table takes most of a second for a thousand rows.
    """
    *others, last = zip(cells, widths, strict=True)
    folded = [_folded(cell, width) for cell, width in others]
    folded.append(_wrapped(*last))
    for *parts, end in zip_longest(*folded, fillvalue=""):
        padded = (set_cell_size(part, width) for part, width in zip(parts, widths, strict=False))
        yield GAP.join([*padded, end]).rstrip()


def _folded(cell: str, width: int) -> list[str]:
    if cell_len(cell) <= width:
        return [cell]
    # Some characters are two columns wide.
    return [part for line in _wrapped(cell, width) for part in chop_cells(line, width)]


def _wrapped(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False)


class Meter:
    """Progress of one job: `advance` after each unit, with a few words about it.

    With `speed`, units per second are shown too.
    """

    def __init__(
        self, progress: Progress, title: str, total: int, done: int, *, speed: bool
    ) -> None:
        self._progress = progress
        self._live = errors.is_terminal
        self._title, self._total, self._done, self._first = title, total, done, done
        self._task = progress.add_task(title, total=total, completed=done, words="")
        self._start = self._spoke = self._unit = time.monotonic()
        self._marks = deque([(self._start, done)]) if speed else None

    def expect(self, total: int) -> None:
        """Change the total number of units."""
        if total != self._total:
            self._total = total
            self._progress.update(self._task, total=total)

    def share(self, share: float) -> None:
        """Show the finished share of the current unit, 0..1."""
        self._progress.update(self._task, completed=self._done + share)
        now = time.monotonic()
        if not self._live and now - max(self._spoke, self._unit) >= PLAIN_SECONDS:
            self._spoke = now  # a single unit may take long
            unit = f"{self._done + 1}/{self._total}: " if self._total > 1 else ""
            say(f"{self._title} {unit}{share:.0%}")

    def result(self, line: str) -> None:
        """Print a line of data on stdout, above the bar if both are on a terminal."""
        if self._live and sys.stdout.isatty():
            self._progress.print(escape(printable(line)), soft_wrap=True, highlight=False)
        else:
            result(line)

    def advance(self, words: str = "", to: int | None = None) -> None:
        """Count one more unit as done, or set the count to `to`: lower, if work is repeated."""
        self._done = self._done + 1 if to is None else to
        self._first = min(self._first, self._done - 1)
        now = self._unit = time.monotonic()
        rate = (self._done - self._first) / max(now - self._start, 1e-9)
        if self._marks is not None:
            rate = self._speed(self._marks, now) or rate
            words = f"{rate:.3g}/s  {words}"
        self._progress.update(self._task, completed=self._done, words=escape(printable(words)))
        last = self._done == self._total
        if not self._live and (
            now - self._spoke >= PLAIN_SECONDS or (last and now - self._start > 2)
        ):
            self._spoke = now
            first = self._done - self._first == 1 and not last  # too early: it includes loading
            left = "" if first else f"{_clock((self._total - self._done) / rate)} left  "
            say(f"{self._title} {self._done}/{self._total}  {left}{words}".rstrip())

    def _speed(self, marks: deque[tuple[float, int]], now: float) -> float:
        if self._done <= marks[-1][1]:  # work is repeated
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
        MofNCompleteColumn() if total > 1 else TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[words]}"),
        console=errors,
        redirect_stdout=False,  # rich would redirect it to this console, which is stderr
        disable=not errors.is_terminal or _rank > 0,
        transient=True,
    )
    with progress:
        yield Meter(progress, title, total, done, speed=speed)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def follow(
    events: Generator[Event, None, object],
    title: str,
    total: int | Callable[[], int],
    *,
    stop: Stop | None = None,
    done: int = 0,
    speed: bool = False,
) -> int:
    """Show events until they end or `stop` is set before the last step; return the steps done.

    A `total` that can change is a function.
    """
    expected = total if callable(total) else lambda: total
    with meter(title, expected(), done, speed=speed) as shown, closing(events):
        for event in events:
            match event:
                case Skipped(reason):
                    warn(f"skipped: {reason}")
                case Notice(message):
                    warn(message)
                case Saved(_, words):
                    say(words)
                case _:
                    done = event.done
                    shown.expect(expected())
                    shown.advance(event.words, to=done)
                    if stop and done < expected():
                        break
    return done


def learn(
    work: Finetune, events: Generator[Event], total: int | Callable[[], int], keeping: str
) -> Stop:
    """Show the learning of one style until it ends or a signal stops it; return the `Stop`.

    `keeping` describes the work that remains after a signal.
    """
    planned = total if callable(total) else lambda: total
    first = planned()
    with stop_on_signals(keeping, say) as stop:
        done = follow(events, f"learning {work.painting.name}", planned, stop=stop)
    if not stop and done < first:
        reason = "the time is up" if work.out_of_time else "the loss no longer falls"
        say(f"done after {done} of {first} updates: {reason}")
    return stop


def follow_previews(previews: Sequence[Preview], path: Path) -> None:
    """Learn every painting at every style weight and paint the sheet."""
    from stylepack.training.finetune import paint_previews

    for preview in previews:
        stop = learn(preview.work, preview.train(), len(preview), "nothing is written")
        if stop:
            raise typer.Exit(stop.exit_code)
    paint_previews(path, previews)
    result(path)
    say("choose a weight by eye and give it with --style-weight")


def can_ask() -> bool:
    """Whether a user can answer: stdin and stderr are terminals."""
    return sys.stdin.isatty() and errors.is_terminal


def ask(question: str) -> bool:
    """Ask a yes-or-no question; an empty answer is yes."""
    return typer.confirm(question, default=True, err=True)


def confirm(what: str, question: str) -> None:
    """Continue only if the answer is yes.

    Raises:
        UsageError: stdin is not a terminal, so nobody can answer the question about `what`.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"cannot ask about {what}: stdin is not a terminal; add -y")
    if not typer.confirm(question, err=True):
        say("nothing was removed")
        raise typer.Exit(1)
