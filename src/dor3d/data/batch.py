"""Batches of crops with their truth, and what every source of them offers."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor


class Batch(NamedTuple):
    """Crops and their true crop points."""

    crop: Float[Tensor, "b 1 s s"]
    points: Float[Tensor, "b a 3"]

    def on(self, device: torch.device) -> "Batch":
        """The batch on the device that trains."""
        return Batch(self.crop.to(device, non_blocking=True), self.points.to(device, non_blocking=True))


@runtime_checkable
class Prepared(Protocol):
    """What a worker hands over: tensors that become a batch on the device that trains."""

    def on(self, device: torch.device) -> Batch:
        """The batch."""
        ...


@runtime_checkable
class Source(Protocol):
    """Samples by number. What a sample is depends on its epoch and its number alone.

    Attributes:
        length: how many there are; None: without end, no sample comes twice.
    """

    length: int | None

    def batch(self, epoch: int, indices: Sequence[int]) -> Prepared:
        """Some samples of an epoch; fewer than asked for when some of them are bad."""
        ...


def stack(samples: Sequence[tuple[Float[ndarray, "s s"], Float[ndarray, "a 3"]]]) -> Batch:
    """Crops [S, S] and points [A, 3] of single samples as a batch."""
    crops = np.stack([image for image, _ in samples])[:, None].astype(np.float32, copy=False)
    points = np.stack([p for _, p in samples]).astype(np.float32, copy=False)
    return Batch(torch.from_numpy(crops), torch.from_numpy(points))
