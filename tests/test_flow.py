"""Reading ahead and writing behind: the order stays, queues are bounded, errors come through."""

import threading
import time
from collections.abc import Iterator

import pytest

from dor3d.predict.flow import WriteBehind, read_ahead


def test_items_come_in_their_order() -> None:
    assert list(read_ahead(range(50), 3)) == list(range(50))
    assert list(read_ahead([], 3)) == []
    assert list(read_ahead([None, None])) == [None, None]


def test_no_more_is_read_than_may_wait() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for i in range(20):
            made.append(i)
            yield i

    for item in read_ahead(items(), 3):
        time.sleep(0.002)
        assert len(made) <= item + 1 + 3
    assert len(made) == 20


def test_an_error_comes_when_its_turn_has_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("gone")

    found = read_ahead(items())
    assert (next(found), next(found)) == (1, 2)
    with pytest.raises(OSError, match="gone"):
        next(found)


def test_who_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    found = read_ahead(iter(range(10**9)))
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_all_work_is_done_in_its_order() -> None:
    done: list[int] = []
    with WriteBehind(2) as behind:
        for i in range(30):
            behind.do(done.append, i)
    assert done == list(range(30))


def test_who_gives_work_waits_where_too_much_waits() -> None:
    begun, gate = [], threading.Event()

    def work(i: int) -> None:
        gate.wait(5)
        begun.append(i)

    with WriteBehind(2) as behind:
        behind.do(work, 0)
        behind.do(work, 1)
        third = threading.Thread(target=behind.do, args=(work, 2))
        third.start()
        third.join(0.05)
        assert third.is_alive() and not begun
        gate.set()
        third.join(5)
    assert begun == [0, 1, 2]


def fail() -> None:
    raise OSError("disk full")


def test_what_work_raises_is_raised_at_the_end() -> None:
    with pytest.raises(OSError, match="disk full"), WriteBehind() as behind:
        behind.do(fail)


def test_an_error_inside_goes_before_one_of_the_work() -> None:
    with pytest.raises(KeyError), WriteBehind() as behind:
        behind.do(fail)
        raise KeyError
