"""Batches in an order that is a pure function of (seed, step), however many processes train and make them."""

import os
import signal
import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import active_children
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from numpy import ndarray
from torch.utils.data import DataLoader, Dataset

from dor3d.data.batch import Prepared, Source
from dor3d.errors import Dor3dError

_CPU = torch.device("cpu")
_AHEAD = 4  # batches that each worker makes before they are asked for


class WorkerError(Dor3dError, RuntimeError):
    """A process that makes samples is gone."""


class Sources(NamedTuple):
    """What a run learns from and, if anything, what it is measured on; the two must not share samples."""

    train: Source
    validation: Source | None = None


@dataclass(frozen=True)
class Order:
    """Which samples each step takes.

    A source with an end is gone through in epochs, each in an order of its own; an epoch's last batch may be smaller,
    so that every sample comes once. A source without end is taken as it comes.

    Attributes:
        length: samples of the source; None: without end.
        batch: samples a step, over all processes.
        seed: of the epochs' orders; None: as the samples stand.
    """

    length: int | None
    batch: int
    seed: int | None = None

    @property
    def steps_an_epoch(self) -> int | None:
        """How many steps an epoch has; None without end."""
        return None if self.length is None else -(-self.length // self.batch)

    def samples(self, step: int) -> tuple[int, Int[ndarray, "n"]]:
        """The epoch of a step, and the samples that it takes."""
        if self.steps_an_epoch is None:
            return 0, np.arange(step * self.batch, (step + 1) * self.batch)
        epoch, within = divmod(step, self.steps_an_epoch)
        part = slice(within * self.batch, (within + 1) * self.batch)
        return epoch, _permutation(self.length or 0, self.seed, epoch)[part]


@lru_cache(maxsize=2)
def _permutation(length: int, seed: int | None, epoch: int) -> Int[ndarray, "n"]:
    if seed is None:
        return np.arange(length)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, epoch, 1)))).permutation(length)


class Share(NamedTuple):
    """One process' part of a step.

    Attributes:
        data: its samples; None when it has none, since the batch was too small or all of them were bad.
        asked: how many it asked for.
        problems: what was wrong with those that are missing.
    """

    data: Prepared | None
    asked: int
    problems: tuple[str, ...] = ()


class _Shares(Dataset[Share]):
    """Share n of a step's samples: every so-many-th of them, from the process' own number on."""

    def __init__(self, source: Source, order: Order, rank: int, processes: int, device: torch.device) -> None:
        self.source, self.order, self.rank, self.processes = source, order, rank, processes
        self.device = device

    def __getitem__(self, step: int) -> Share:
        epoch, indices = self.order.samples(step)
        mine = indices[self.rank :: self.processes].tolist()
        if not mine:
            return Share(None, 0)
        try:
            return Share(self._made(epoch, mine), len(mine))
        except Dor3dError:
            return self._without_bad(epoch, mine)

    def _without_bad(self, epoch: int, indices: list[int]) -> Share:
        """The samples that can be read, found one by one."""
        good, problems = [], []
        for index in indices:
            try:
                self.source.batch(epoch, [index])
                good.append(index)
            except Dor3dError as error:
                problems.append(str(error))
        return Share(self._made(epoch, good) if good else None, len(indices), tuple(problems))

    def _made(self, epoch: int, indices: list[int]) -> Prepared:
        """As the training process wants it: the last of the work is a GPU's, else a worker's."""
        data = self.source.batch(epoch, indices)
        return data if self.device.type == "cuda" else data.on(self.device)


def shares(
    source: Source,
    order: Order,
    steps: range,
    *,
    rank: int = 0,
    processes: int = 1,
    workers: int = 0,
    device: torch.device = _CPU,
) -> Generator[Share, None, None]:
    """One process' shares of the given steps, in order, made ahead by workers if there are any.

    Args:
        source: of samples.
        order: which of them each step takes.
        steps: which steps.
        rank, processes: this process, of how many that train.
        workers: processes that make samples for this one; 0: it makes them itself.
        device: where they are used. For a GPU they are put where it fetches them from. Beside a CPU's training the
            workers take the processors that it leaves, and all of them while it waits.

    Its workers end with it: close it. Raises WorkerError where the share of a worker that is gone is awaited.
    """
    loader = DataLoader(
        _Shares(source, order, rank, processes, device),
        batch_size=None,  # a worker makes whole shares: one transfer each
        sampler=steps,
        num_workers=workers,
        prefetch_factor=_AHEAD if workers else None,
        worker_init_fn=_start_worker if device.type == "cuda" else _start_behind,
        pin_memory=device.type == "cuda",
        multiprocessing_context=getattr(source, "start_method", None) if workers else None,
    )
    before = active_children()
    stream = _started(loader)
    started = [process for process in active_children() if process not in before]
    try:
        yield from stream
    except (RuntimeError, EOFError, ConnectionError) as error:  # killed while it waited, or while it handed over
        told = str(error).partition("\n")[0]
        if told.startswith("Caught") or (isinstance(error, RuntimeError) and "DataLoader worker" not in told):
            raise  # it was thrown by the worker's own work
        raise WorkerError(
            "A process that makes samples is gone",
            got=told or "a broken connection",
            fix="Was there too little memory? The last checkpoint is unharmed; go on with --resume.",
        ) from None
    finally:
        for process in started:  # an error's traceback would keep the loader, and Python's end would wait for them
            process.kill()


def _started(loader: DataLoader[Share]) -> Iterator[Share]:
    """Its workers at work; a dead one is told where its share is awaited, and nowhere else."""
    if threading.current_thread() is not threading.main_thread():
        return iter(loader)
    before = signal.getsignal(signal.SIGCHLD)
    stream = iter(loader)
    # torch's handler throws wherever the process happens to be: amid a step, or while a file is closed
    signal.signal(signal.SIGCHLD, before if before is not None else signal.SIG_DFL)
    return stream


def _start_worker(_: int) -> None:
    # ctrl-c reaches every process of a terminal, and a cluster's SIGTERM every process of a job: the parent alone
    # decides when to stop. A worker ends when the loader is closed, or when it finds its parent gone.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    torch.set_num_threads(1)


def _start_behind(number: int) -> None:
    # the network's threads wait for each other: where a worker takes the processor of one, all stand still
    _start_worker(number)
    if hasattr(os, "SCHED_IDLE"):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
