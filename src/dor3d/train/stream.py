"""Sources of samples to batches, in an order that is a pure function of (source, step)."""

import signal
from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


@runtime_checkable
class Source(Protocol):
    """A map-style set of samples: sample i is always the same."""

    def __getitem__(self, i: int, /) -> tuple[Float[ndarray, "s s"], Float[ndarray, "a 3"]]:
        """The network's input and the crop points (px, px, mm)."""
        ...


class Sources(NamedTuple):
    """What a run learns from and, if anything, what it is measured on; the two must not share samples."""

    train: Source
    validation: Source | None = None


class Batch(NamedTuple):
    """Crops and their true crop points."""

    crop: Float[Tensor, "b 1 s s"]
    points: Float[Tensor, "b a 3"]


class _Batches(Dataset[Batch]):
    """Batch n of a source is its samples n * size ... (n + 1) * size - 1, up to `end`."""

    def __init__(self, source: Source, size: int, end: int) -> None:
        self.source, self.size, self.end = source, size, end

    def __getitem__(self, n: int) -> Batch:
        samples = [self.source[i] for i in range(n * self.size, min((n + 1) * self.size, self.end))]
        crops = np.stack([image for image, _ in samples])[:, None].astype(np.float32, copy=False)
        points = np.stack([p for _, p in samples]).astype(np.float32, copy=False)
        return Batch(torch.from_numpy(crops), torch.from_numpy(points))


def batches(
    source: Source, size: int, steps: range, *, workers: int = 0, pin: bool = False, end: int = 0
) -> Iterator[Batch]:
    """The batches of the given steps, in order, made ahead by worker processes if there are any.

    Args:
        size: samples a batch; the last is smaller when `end` cuts it.
        end: the number of samples; 0: endless.
    """
    loader = DataLoader(
        _Batches(source, size, end or steps.stop * size),
        batch_size=None,  # a worker makes whole batches: one transfer each
        sampler=steps,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_start_worker,
        pin_memory=pin,
    )
    return iter(loader)


def _start_worker(_: int) -> None:
    # ctrl-c reaches every process of a terminal, and a cluster's SIGTERM every process of a job: the parent alone
    # decides when to stop. A worker ends when the loader is closed, or when it finds its parent gone.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, signal.SIG_IGN)
    torch.set_num_threads(1)
