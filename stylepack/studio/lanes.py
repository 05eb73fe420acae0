"""Threads that paint: each does one thing after the other and lets more urgent lanes go first."""

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
LOOK_AGAIN = 0.02  # seconds between looks at whether more urgent lanes are done


class SupersededError(Exception):
    """The work is not wanted any more."""


class Turn:
    """One piece of work: `turn(share)` is its `Advance`, which waits for more urgent lanes.

    `share` is how much of it is done, 0..1.
    """

    def __init__(self, above: Sequence["Lane"]) -> None:
        self._above = above
        self.share = 0.0
        self.dropped = False

    def __call__(self, share: float) -> None:
        """Note the share; wait for lanes above.

        Raises:
            SupersededError: the work is not wanted any more.
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

    `above` are lanes that go first; `threads` are torch's, 0 leaves them; `nice` lowers the
    thread's priority where threads have one.
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
        """Whether something is done or waits."""
        return self._running is not None or bool(self._jobs)

    def submit(self, work: Callable[[Turn], T], *, tag: str = "", rank: int = 0) -> "Future[T]":
        """Have something done; the lower its rank, the sooner.

        With a tag, work that waits under the same tag is dropped: the newest wins.  The result of
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
        """Stop what is done under a tag, and drop what waits under it."""
        with self._changed:
            self._drop_waiting(tag)
            if self._running is not None and self._running.tag == tag:
                self._running.turn.dropped = True

    def share(self, tag: str) -> float:
        """How much is done of what runs under a tag."""
        running = self._running
        return running.turn.share if running is not None and running.tag == tag else 0.0

    def close(self, seconds: float) -> None:
        """Drop everything; wait so long for the thread."""
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
            if not job.future.set_running_or_notify_cancel():  # nobody waits for it any more
                continue
            try:
                job.turn(0.0)
                job.future.set_result(job.work(job.turn))
            except BaseException as error:
                job.future.set_exception(error)


def _drop(future: "Future[Any]") -> None:
    """Let whoever waits know; they may have gone already."""
    with suppress(InvalidStateError):
        future.set_exception(SupersededError())
