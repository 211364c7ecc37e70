"""Joints as the mean over a crop and copies of it, each turned a little more. Ours.

A turned crop shows the same hand: what a network says of it, turned back, differs by its own error, and some of that
goes out in the mean.
"""

import math
from typing import Final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from dor3d.errors import ModelError
from dor3d.model.network import HandNet
from dor3d.model.prediction import Prediction

TURNS: Final = (1, 3, 5)
STEP: Final = 0.2  # rad, between two looks; measured beside quarter turns and others (docs/log.md)
_FAR: Final = 1.0  # what a crop shows where there is nothing


class Turned(nn.Module):
    """A network asked as often as there are turns, in one batch.

    Args:
        net: the network.
        turns: 3 or 5, as many to either side.
    """

    def __init__(self, net: HandNet, turns: int) -> None:
        super().__init__()
        self.net, self.config = net, net.config
        self.angles = [STEP * (k - turns // 2) for k in range(turns)]
        for k, angle in enumerate(self.angles):
            pixels, inside = lookup(net.config.size, angle)
            self.register_buffer(f"pixels_{k}", pixels, persistent=False)
            self.register_buffer(f"inside_{k}", inside, persistent=False)

    def forward(self, crop: Float[Tensor, "b 1 s s"]) -> Prediction:
        """Mean joints; their sigma holds the network's own and what the turns differ by."""
        count = len(self.angles)
        said = self.net(torch.cat([self._turned(crop, k) for k in range(count)]))
        parts = zip(said.points.chunk(count), said.sigma.chunk(count), self.angles, strict=True)
        back = [(turned_back(p, a, self.config.size), sigma_turned_back(s, a)) for p, s, a in parts]
        points, sigma = (torch.stack(one) for one in zip(*back, strict=True))
        mean = points.mean(0)
        spread = (sigma.square().mean(0) + (points - mean).square().mean(0)).sqrt()
        kind = None if said.kind is None else torch.stack(said.kind.chunk(count)).mean(0)
        return Prediction(mean, spread, kind=kind)

    def _turned(self, crop: Float[Tensor, "b 1 s s"], k: int) -> Float[Tensor, "b 1 s s"]:
        pixels, inside = self.get_buffer(f"pixels_{k}"), self.get_buffer(f"inside_{k}")
        size = self.config.size
        looked_up = crop.flatten(1)[:, pixels].reshape(-1, 1, size, size)
        return torch.where(inside, looked_up, torch.full_like(looked_up, _FAR))


def with_turns(net: HandNet, turns: int) -> HandNet | Turned:
    """The network itself for one turn, or asked `turns` times; raises ModelError for other numbers than 1, 3 and 5."""
    if turns not in TURNS:
        raise ModelError("A crop cannot be turned so often", got=turns, expected=" or ".join(map(str, TURNS)))
    return net if turns == 1 else Turned(net, turns)


def lookup(size: int, angle: float) -> tuple[Int[Tensor, "p"], Bool[Tensor, "s s"]]:
    """Which pixel each pixel of a crop turned by this angle (rad, x towards y) shows, and whether it is one."""
    steps = torch.arange(0.5 - size / 2, size / 2, dtype=torch.float64)
    q, p = torch.meshgrid(steps, steps, indexing="ij")
    c, s = math.cos(angle), math.sin(angle)
    column, row = torch.floor(c * p + s * q + size / 2).long(), torch.floor(c * q - s * p + size / 2).long()
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    return torch.where(inside, row * size + column, 0).flatten(), inside


def turned_back(points: Float[Tensor, "b a 3"], angle: float, size: int) -> Float[Tensor, "b a 3"]:
    """Points of a turned crop in the crop itself."""
    p, q, r = points.unbind(-1)
    p, q, c, s = p - size / 2, q - size / 2, math.cos(angle), math.sin(angle)
    return torch.stack([c * p + s * q + size / 2, c * q - s * p + size / 2, r], -1)


def sigma_turned_back(sigma: Float[Tensor, "b a 3"], angle: float) -> Float[Tensor, "b a 3"]:
    """Standard deviations along the crop's own axes, of coordinates that are independent along a turned crop's."""
    p, q, r = sigma.unbind(-1)
    c, s = math.cos(angle) ** 2, math.sin(angle) ** 2
    return torch.stack([(c * p**2 + s * q**2).sqrt(), (c * q**2 + s * p**2).sqrt(), r], -1)
