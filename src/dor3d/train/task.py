"""What a run learns, as the loop sees it: a network, what is asked of it, and how far off its answers are."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor, nn

from dor3d.model.base import Network


class Judged(NamedTuple):
    """What a task makes of a network's answers to a batch that it has not learnt.

    Attributes:
        sums: over the batch, by the names in `Task.sums`.
        shown: what `Task.sheet` draws.
    """

    sums: dict[str, float]
    shown: Any


@runtime_checkable
class Task(Protocol):
    """A kind of network, with the loss that teaches it; batches are those of its own sources.

    Attributes:
        sums: names of what it judges by, the first two `samples` and `error_mm`.
    """

    sums: tuple[str, ...]

    def network(self, pretrained: bool | Path) -> Network:
        """A new one, from ImageNet weights where it has a backbone that there are some of."""
        ...

    def nothing(self, device: torch.device) -> Any:
        """A batch of one empty sample, which is given no weight: all processes must step."""
        ...

    def numbers(self, net: nn.Module, batch: Any, layout: torch.memory_format) -> dict[str, Tensor]:
        """Means over a batch: `loss`, which is minimised, its parts, and `error_mm`.

        Args:
            net: the network, as it trains.
            batch: on its device.
            layout: of what convolutions read.
        """
        ...

    def judge(self, net: nn.Module, batch: Any) -> Judged:
        """How far off a network in eval mode is on a batch."""
        ...

    def sheet(self, shown: Any, title: str) -> UInt8[ndarray, "h w 3"]:
        """A picture (RGB) of samples and answers to them."""
        ...
