"""Work on frames in several threads."""

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from stylepack.video.ahead import side_by_side


def test_results_keep_the_order_of_items() -> None:
    released = threading.Event()

    def slow_first(item: int) -> int:
        if item == 0:
            assert released.wait(10)  # until a later item is done, in another thread
        else:
            released.set()
        return item * item

    assert list(side_by_side(slow_first, range(5), 2, lambda: None)) == [0, 1, 4, 9, 16]


def test_every_thread_is_prepared_before_its_first_item() -> None:
    local = threading.local()

    def prepare() -> None:
        local.ready = True

    assert all(side_by_side(lambda _: local.ready, range(6), 3, prepare))


def test_an_error_comes_out_in_its_turn() -> None:
    results = side_by_side(lambda item: 1 // item, [1, 0, 1], 2, lambda: None)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_items_are_taken_only_as_they_are_needed() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    with closing(side_by_side(lambda item: item, items(), 2, lambda: None)) as results:
        next(results)
    assert len(taken) == 3
