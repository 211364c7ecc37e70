"""Batches of crops with their truth, and what every source of them offers."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray
from torch import Tensor

Kind = Literal["right", "left", "none"]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Batch(NamedTuple):
    """Crops and their truth.

    Attributes:
        crop: the network's input.
        points: true crop points; those of crops without a right hand mean nothing.
        kind: what each crop shows, as an index into `KINDS`; None: right hands alone.
        right: indices of the crops of right hands, for losses: found where the batch is made, since a GPU that looks
            for them makes the processor wait. None: not found yet.
    """

    crop: Float[Tensor, "b 1 s s"]
    points: Float[Tensor, "b a 3"]
    kind: Int[Tensor, "b"] | None = None
    right: Int[Tensor, "r"] | None = None

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self.points)

    def on(self, device: torch.device) -> "Batch":
        """The batch on the device that trains."""
        return Batch(*(None if t is None else t.to(device, non_blocking=True) for t in self))  # pyright: ignore[reportArgumentType]

    def tensors(self) -> dict[str, Tensor]:
        """Those that there are, by their names."""
        return {name: tensor for name, tensor in self._asdict().items() if tensor is not None}

    def chunk(self, parts: int) -> "list[Batch]":
        """The batch in parts of nearly one size."""
        if parts == 1:
            return [self]
        whole = [t for t in (self.crop, self.points, self.kind) if t is not None]
        return [Batch(*some) for some in zip(*(t.chunk(parts) for t in whole), strict=True)]


@runtime_checkable
class Samples(Protocol):
    """A batch on the device that trains, whatever it holds."""

    @property
    def samples(self) -> int:
        """How many there are."""
        ...

    def on(self, device: torch.device) -> "Samples":
        """The batch on another device."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What it holds, by names."""
        ...

    def chunk(self, parts: int) -> "Sequence[Samples]":
        """The batch in parts of nearly one size."""
        ...


@runtime_checkable
class Prepared(Protocol):
    """What a worker hands over: tensors that become a batch on the device that trains."""

    def on(self, device: torch.device) -> Samples:
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


def stack(
    samples: Sequence[tuple[Float[ndarray, "s s"], Float[ndarray, "a 3"]]], kinds: Sequence[Kind] | None = None
) -> Batch:
    """Crops [S, S] and points [A, 3] of single samples as a batch, and what they show where they are not all right."""
    crops = np.stack([image for image, _ in samples])[:, None].astype(np.float32, copy=False)
    points = np.stack([p for _, p in samples]).astype(np.float32, copy=False)
    images, truth = torch.from_numpy(crops), torch.from_numpy(points)
    if kinds is None:
        return Batch(images, truth)
    kind = torch.tensor([KINDS.index(name) for name in kinds])
    return Batch(images, truth, kind, right_hands(kind))


def right_hands(kind: Int[Tensor, "b"]) -> Int[Tensor, "r"]:
    """Return the indices of the crops that show a right hand, given what each shows."""
    return (kind == KINDS.index("right")).nonzero()[:, 0]
