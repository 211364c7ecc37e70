"""Reading ahead and writing behind, so that files do not keep the network waiting: a thread each, bounded queues."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Final, TypeVar

_MOST: Final = 4  # items that wait
Item = TypeVar("Item")


def read_ahead(items: Iterable[Item], most: int = _MOST) -> Iterator[Item]:
    """The same items in the same order, made by another thread, at most so many before they are asked for.

    What making one raises comes when its turn has come.
    """
    source, end = iter(items), object()
    pool = ThreadPoolExecutor(1)
    try:
        waiting = deque[Future[Any]](pool.submit(next, source, end) for _ in range(most))
        while (item := waiting.popleft().result()) is not end:
            waiting.append(pool.submit(next, source, end))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)


class WriteBehind:
    """Work that another thread does in the order it was given; who gives it waits where too much waits already.

    A context: it ends when all is done. What a piece of work raises is raised at a later piece, or at the end; what was
    not begun by then is left.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._pool, self._most = ThreadPoolExecutor(1), most
        self._waiting = deque[Future[Any]]()

    def do(self, work: Callable[..., object], *args: Any) -> None:
        """Give a piece of work."""
        while self._waiting and (len(self._waiting) >= self._most or self._waiting[0].done()):
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(work, *args))

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            while self._waiting and error is None:
                self._waiting.popleft().result()
        finally:
            self._pool.shutdown(cancel_futures=True)
