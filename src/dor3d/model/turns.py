"""Joints as the mean over a crop's quarter turns: a network that looks at one crop in two or four ways. Ours.

A turned crop shows the same hand: what a network says of it, turned back, differs by its own error, and some of that
goes out in the mean.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dor3d.errors import ModelError
from dor3d.model.network import HandNet
from dor3d.model.prediction import Prediction

TURNS = (1, 2, 4)


class Turned(nn.Module):
    """A network asked as often as there are turns, in one batch.

    Args:
        net: the network.
        turns: 2 (upright and upside down) or 4.
    """

    def __init__(self, net: HandNet, turns: int) -> None:
        super().__init__()
        self.net, self.turns, self.config = net, turns, net.config

    def forward(self, crop: Float[Tensor, "b 1 s s"]) -> Prediction:
        """Mean joints; their sigma holds the network's own and what the turns differ by."""
        quarters = range(0, 4, 4 // self.turns)
        said = self.net(torch.cat([turned(crop, k) for k in quarters]))
        parts = said.points.chunk(self.turns), said.sigma.chunk(self.turns)
        points = torch.stack([turned_back(p, k, self.config.size) for p, k in zip(parts[0], quarters, strict=True)])
        sigma = torch.stack([s[..., [1, 0, 2]] if k % 2 else s for s, k in zip(parts[1], quarters, strict=True)])
        mean = points.mean(0)
        spread = (sigma.square().mean(0) + (points - mean).square().mean(0)).sqrt()
        kind = None if said.kind is None else torch.stack(said.kind.chunk(self.turns)).mean(0)
        return Prediction(mean, spread, kind=kind)


def with_turns(net: HandNet, turns: int) -> HandNet | Turned:
    """The network itself for one turn, or asked `turns` times; raises ModelError for other numbers than 1, 2 and 4."""
    if turns not in TURNS:
        raise ModelError("A crop cannot be turned so often", got=turns, expected=" or ".join(map(str, TURNS)))
    return net if turns == 1 else Turned(net, turns)


def turned(crop: Float[Tensor, "b 1 s s"], quarters: int) -> Float[Tensor, "b 1 s s"]:
    """As `torch.rot90`, which has no counterpart in ONNX."""
    if quarters % 4 == 0:
        return crop
    flips = ((2,), (2, 3), (3,))[quarters % 4 - 1]
    return (crop.transpose(2, 3) if quarters % 2 else crop).flip(flips)


def turned_back(points: Float[Tensor, "b a 3"], quarters: int, size: int) -> Float[Tensor, "b a 3"]:
    """Points of a turned crop in the crop itself: a quarter takes (p, q) to (S - q, p)."""
    p, q, r = points.unbind(-1)
    p, q = ((p, q), (size - q, p), (size - p, size - q), (q, size - p))[quarters % 4]
    return torch.stack([p, q, r], -1)
