"""Work in threads: ahead of the calling thread, side by side, or behind it."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ahead(items: Iterator[T], depth: int) -> Generator[T]:
    """The same items, up to `depth` of them computed before they are needed."""
    end = object()
    with ThreadPoolExecutor(1, "ahead") as pool:
        waiting: deque[Future[T | object]] = deque()
        try:
            while True:
                while len(waiting) < depth:
                    waiting.append(pool.submit(next, items, end))
                item = waiting.popleft().result()
                if item is end:
                    return
                yield item  # type: ignore[misc]
        finally:
            for one in waiting:
                one.cancel()


def side_by_side(
    function: Callable[[T], R], items: Iterable[T], workers: int, prepare: Callable[[], object]
) -> Generator[R]:
    """Results of a function on items, in order, computed by several threads.

    `prepare` runs first in each of the threads.  Closing the generator finishes only the items that
    have been started.
    """
    with ThreadPoolExecutor(workers, "painting", prepare) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:  # one is queued, so that no thread is idle
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()


class Behind(Generic[T]):
    """Passes items to a function in a thread; at most `depth` of them wait.

    An error of the function is raised by a later `put`, or at the end of the block.
    """

    def __init__(self, function: Callable[[T], object], depth: int) -> None:
        self._function, self._depth = function, depth
        self._pool = ThreadPoolExecutor(1, "behind")
        self._waiting: deque[Future[object]] = deque()

    def put(self, item: T) -> None:
        """Pass on one item, once there is room for it."""
        while len(self._waiting) >= self._depth:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._function, item))

    def __enter__(self) -> "Behind[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while self._waiting:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown()
