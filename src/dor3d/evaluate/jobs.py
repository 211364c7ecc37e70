"""Work done by processes of its own, some at a time."""

import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, TypeVar

from dor3d.errors import Dor3dError, StoppedError

Item = TypeVar("Item")


class JobError(Dor3dError, RuntimeError):
    """A process that did a piece of work failed."""


def side_by_side(
    items: Sequence[Item], do: Callable[[Item], bool], jobs: int, done: Callable[[Item], object] = lambda _: None
) -> None:
    """Do each item in a process of its own, or all of them here if they are done one at a time.

    Whatever ends this early (a failure, a stop inside `stopping`) ends the processes too: they save what they have.

    Args:
        items: what to do, in this order.
        do: a function of a module; returns whether it came to its end.
        jobs: how many at a time.
        done: told of each item that is finished, here.

    Raises JobError with the line of the first process that failed, StoppedError when one was told to stop.
    """
    if jobs == 1:
        for item in items:
            if not do(item):
                raise _stopped()
            done(item)
        return
    waiting, running = deque(items), dict[Connection, tuple[SpawnProcess, Item]]()
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                item = waiting.popleft()
                with _unstopped():
                    running.update([_start(do, item)])
            for ready in wait(list(running)):
                process, item = running.pop(ready)  # pyright: ignore[reportArgumentType]
                _finish(ready, process)
                done(item)
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def _start(do: Callable[[Item], bool], item: Item) -> tuple[Connection, tuple[SpawnProcess, Item]]:
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_do, args=(do, item, its))
    process.start()
    its.close()
    return mine, (process, item)


def _do(do: Callable[[Any], bool], item: Any, report: Connection) -> None:
    try:
        report.send("" if do(item) else "stopped")
    except KeyboardInterrupt:
        report.send("stopped")
    except Dor3dError as error:
        report.send(f"error {error}")


def _finish(report: Any, process: SpawnProcess) -> None:
    try:
        said = report.recv()
    except EOFError:
        process.join()
        raise JobError("A process died", got=f"exit code {process.exitcode}", fix="Its own lines say why.") from None
    process.join()
    if said == "stopped":
        raise _stopped()
    if said:
        raise JobError(said.removeprefix("error "))


def _stopped() -> StoppedError:
    return StoppedError("Stopped; what is done is kept", fix="The same command goes on.")


@contextmanager
def _unstopped() -> Iterator[None]:
    """A block that no stop cuts in two: it comes after. Processes begun in it never hear Ctrl-C.

    A terminal's Ctrl-C reaches them too, but it is their parent who ends them: they save when it says so.
    """
    came = threading.Event()
    before = {s: signal.signal(s, lambda *_: came.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    deaf = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a mask is inherited, a handler is not
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, deaf)
        for s, handler in before.items():
            signal.signal(s, handler)
    if came.is_set():
        raise KeyboardInterrupt


@contextmanager
def stopping() -> Iterator[None]:
    """A block that Ctrl-C and SIGTERM end with StoppedError, once what was begun in it has been saved."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt:
        raise _stopped() from None
    finally:
        signal.signal(signal.SIGTERM, before)
