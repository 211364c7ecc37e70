"""Where hands are in a whole frame: a small network on the coarse grid. Ours.

A heatmap of hands' middles and what is known at each of its cells, as in CenterNet (Zhou et al., "Objects as points",
2019). Its input is depth and no picture, so what a hand's apparent size is follows from the camera: the network is told
it at every cell, which is what lets it see near and far hands of any camera.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dor3d.errors import ModelError
from dor3d.geometry.grid import CELL, MIDDLE_MM
from dor3d.model.base import Network, config_from_json, config_to_json

_NEAR_MM, _FAR_MM = 100.0, 4000.0
_HAND_MM: Final = 100.0  # of a hand's apparent size
_USUAL_CELLS: Final = 20.0  # such a size on the grid, at the usual distance
_STEEPEST: Final = 3.0
_INPUTS: Final = 5
_SOME: Final = 1e-3  # share of readings, less than one
_RARE: Final = -4.0  # log-odds of a hand at a cell, before anything is learnt


@dataclass(frozen=True)
class LocatorConfig:
    """What a locator is; its weights aside.

    Attributes:
        width: channels of the first stage; the others are multiples of it.
        merged: channels of the map that answers.
    """

    width: int = 16
    merged: int = 32

    def __post_init__(self) -> None:
        if self.width < 1 or self.merged < 1:
            raise ModelError("A locator needs channels", got=self)

    def to_json(self) -> dict[str, Any]:
        """A JSON object; `from_json` gives the same config back."""
        return config_to_json(self)

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "LocatorConfig":
        """Raises ModelError for fields that are unknown or of the wrong kind."""
        return config_from_json(cls, raw)


class Sights(NamedTuple):
    """What every cell says.

    Attributes:
        heat: log-odds that a hand's middle is here.
        offset: from the cell's middle to the hand's, in grid cells (x, y).
        depth: log of the hand's distance over 600 mm.
    """

    heat: Float[Tensor, "b h w"]
    offset: Float[Tensor, "b 2 h w"]
    depth: Float[Tensor, "b h w"]


class Locator(Network):
    """Depth on the coarse grid to sights.

    Args:
        config: what to build.
    """

    def __init__(self, config: LocatorConfig) -> None:
        super().__init__()
        self.config = config
        w = config.width
        widths = (2 * w, 4 * w, 6 * w, 8 * w)
        self.stem = _down(_INPUTS, w)
        self.stages = nn.ModuleList(
            nn.Sequential(_down(a, b), *(_Block(b) for _ in range(blocks)))
            for a, b, blocks in zip((w, *widths[:-1]), widths, (1, 2, 2, 1), strict=True)
        )
        self.laterals = nn.ModuleList(nn.Conv2d(c, config.merged, 1) for c in widths)
        self.last = _conv(config.merged, config.merged)
        self.answers = nn.Conv2d(config.merged, 4, 1)
        if self.answers.bias is not None:
            nn.init.constant_(self.answers.bias[:1], _RARE)

    @property
    def name(self) -> str:
        """There is one kind."""
        return "locator"

    def outputs(self) -> list[nn.Module]:
        """The layer that answers."""
        return [self.answers]

    def forward(self, depth: Float[Tensor, "b 1 y x"], pitch: Float[Tensor, "b"]) -> Sights:
        """Readings in mm (0: none) and the angle (rad) between neighbouring cells, to what each 4 x 4 cells say."""
        shown = inputs(depth, pitch)
        x, maps = self.stem(shown), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        merged = self.laterals[-1](maps[-1])
        for lateral, x in zip(self.laterals[-2::-1], maps[-2::-1], strict=True):
            merged = lateral(x) + F.interpolate(merged, size=x.shape[-2:])
        said = self.answers(self.last(merged)).float()
        return Sights(said[:, 0], said[:, 1:3], said[:, 3] + here(shown[:, :1], shown[:, 1:2]))


def here(seen: Float[Tensor, "b 1 y x"], far: Float[Tensor, "b 1 y x"]) -> Float[Tensor, "b h w"]:
    """How far the surface is in each cell: the mean log of its readings over 600 mm, else its neighbours', else 0.

    A hand's middle is near it, so that what is left to be learnt is small.
    """
    own = [F.avg_pool2d(of.float(), CELL) for of in (seen, far)]
    around = [F.avg_pool2d(of, 3, 1, 1) for of in own]
    wide = around[1] / around[0].clamp(min=_SOME)
    return torch.where(own[0] > 0, own[1] / own[0].clamp(min=_SOME), wide)[:, 0]


def inputs(depth: Float[Tensor, "b 1 y x"], pitch: Float[Tensor, "b"]) -> Float[Tensor, "b c y x"]:
    """Whether there is a reading, how far, how large a hand would be there, and the surface's slopes."""
    seen = (depth > 0).to(depth.dtype)
    z = depth.clamp(_NEAR_MM, _FAR_MM)
    cell = z * pitch[:, None, None, None]  # mm
    distance = (z / MIDDLE_MM).log()
    largest = (_HAND_MM / (MIDDLE_MM * _USUAL_CELLS * pitch)).log()  # at the usual distance
    far, large = distance * seen, (largest[:, None, None, None] - distance) * seen
    right = F.pad(z[..., 1:] - z[..., :-1], (0, 1)) * seen * F.pad(seen[..., 1:], (0, 1))
    down = F.pad(z[..., 1:, :] - z[..., :-1, :], (0, 0, 0, 1)) * seen * F.pad(seen[..., 1:, :], (0, 0, 0, 1))
    slopes = (torch.cat([right, down], 1) / cell).clamp(-_STEEPEST, _STEEPEST)
    return torch.cat([seen, far, large, slopes], 1)


def _conv(a: int, b: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(a, b, 3, stride, 1, groups=groups, bias=False), nn.BatchNorm2d(b), nn.ReLU(inplace=True)
    )


def _down(a: int, b: int) -> nn.Sequential:
    return _conv(a, b, stride=2)


class _Block(nn.Module):
    """A residual pair of depthwise and pointwise convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = _conv(channels, channels, groups=channels)
        self.pointwise = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        return F.relu(x + self.pointwise(self.depthwise(x)))
