"""Painting threads: each does one job at a time and lets more urgent lanes go first."""

import itertools
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

T = TypeVar("T")
LOOK_AGAIN = 0.02  # seconds between checks whether more urgent lanes are done


class SupersededError(Exception):
    """The work is no longer wanted."""


class Turn:
    """One piece of work: `turn(share)` is its `Advance`, which waits for more urgent lanes.

    `share` is the share of it that is done, 0..1.
    """

    def __init__(self, above: Sequence["Lane"]) -> None:
        self._above = above
        self.share = 0.0
        self.dropped = False

    def __call__(self, share: float) -> None:
        """Store the share; wait for lanes above.

        Raises:
            SupersededError: the work is no longer wanted.
        """
        self.share = share
        while not self.dropped and any(lane.busy for lane in self._above):
            time.sleep(LOOK_AGAIN)
        if self.dropped:
            raise SupersededError


@dataclass(order=True)
class _Job:
    rank: int
    number: int
    tag: str = field(compare=False)
    work: Callable[[Turn], Any] = field(compare=False)
    turn: Turn = field(compare=False)
    future: "Future[Any]" = field(compare=False)


class Lane:
    """One thread with a queue.

    `above`: lanes that go first.  `threads`: torch's, 0 leaves them unchanged.  `nice` lowers the
    thread's priority on systems where threads have one.
    """

    def __init__(
        self, name: str, above: Sequence["Lane"] = (), threads: int = 0, nice: int = 0
    ) -> None:
        self._above, self._threads, self._nice = above, threads, nice
        self._jobs: list[_Job] = []
        self._running: _Job | None = None
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name=f"studio-{name}", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether a job is running or waiting."""
        return self._running is not None or bool(self._jobs)

    def submit(self, work: Callable[[Turn], T], *, tag: str = "", rank: int = 0) -> "Future[T]":
        """Queue work; lower ranks go first.

        With a tag, waiting work with the same tag is dropped: the newest wins.  The result of
        dropped work is a `SupersededError`.
        """
        future: Future[T] = Future()
        job = _Job(rank, next(self._numbers), tag, work, Turn(self._above), future)
        with self._changed:
            if tag:
                self._drop_waiting(tag)
            if self._closed:
                _drop(future)
                return future
            self._jobs.append(job)
            self._changed.notify()
        return future

    def drop(self, tag: str) -> None:
        """Stop running work with a tag, and drop waiting work with it."""
        with self._changed:
            self._drop_waiting(tag)
            if self._running is not None and self._running.tag == tag:
                self._running.turn.dropped = True

    def share(self, tag: str) -> float:
        """The share, 0..1, that is done of running work with a tag."""
        running = self._running
        return running.turn.share if running is not None and running.tag == tag else 0.0

    def close(self, seconds: float) -> None:
        """Drop all work; wait up to `seconds` for the thread."""
        with self._changed:
            self._closed = True
            for job in self._jobs:
                _drop(job.future)
            self._jobs.clear()
            if self._running is not None:
                self._running.turn.dropped = True
            self._changed.notify()
        self._thread.join(seconds)

    def _drop_waiting(self, tag: str) -> None:
        for job in [job for job in self._jobs if job.tag == tag]:
            self._jobs.remove(job)
            _drop(job.future)

    def _next(self) -> _Job | None:
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: bool(self._jobs) or self._closed)
            if self._closed:
                return None
            self._running = min(self._jobs)
            self._jobs.remove(self._running)
            return self._running

    def _work(self) -> None:
        if self._threads:
            torch.set_num_threads(self._threads)
        if self._nice and sys.platform == "linux":
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
        while (job := self._next()) is not None:
            if not job.future.set_running_or_notify_cancel():  # nobody is waiting for it
                continue
            try:
                job.turn(0.0)
                job.future.set_result(job.work(job.turn))
            except BaseException as error:
                job.future.set_exception(error)


def _drop(future: "Future[Any]") -> None:
    """Set `SupersededError` as a future's result, unless it is already done."""
    with suppress(InvalidStateError):
        future.set_exception(SupersededError())
