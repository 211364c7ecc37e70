"""Offsets from every pixel of an upsampled map, in the plane and from the pixel's own depth.

In the way of JGR-P2O (Fang et al., "JGR-P2O: joint graph reasoning based pixel-to-offset prediction network for 3D hand
pose estimation from a single depth image", ECCV 2020) without its graph between the joints: a joint is the weighted
mean of what all pixels with a reading say. The map has half the crop's side. Its loss of every pixel's own answer is
the training's `dense_weight`.
"""

import itertools

from torch import nn
from torch.nn import functional as F

from dor3d.model.heads.offset import OffsetHead, mean_of
from dor3d.model.prediction import Maps, Prediction, Votes

STRIDE = 2  # of the upsampled map
_CELLS = 12  # of the crop's side is what an answer of 1 means
_EMPTY = -1e4  # log-odds of a pixel without a reading: finite, for crops that have none


class PixelOffsetHead(nn.Module):
    """A map to joints.

    Args:
        channels, grid: of the map, whose cells are 2, 4, 8, ... pixels wide.
        joints: number of joints, A.
        size: side of the crop in pixels.
        depth_mm: the cube's depth D.
    """

    def __init__(self, channels: int, grid: int, joints: int, size: int, depth_mm: float) -> None:
        super().__init__()
        doublings = (size // (STRIDE * grid)).bit_length() - 1
        widths = [max(channels >> i, min(channels, 64)) for i in range(doublings + 1)]
        self.up = nn.Sequential(*(_double(a, b) for a, b in itertools.pairwise(widths)))
        self.offsets = OffsetHead(widths[-1], size // STRIDE, joints, size, depth_mm, unit=size / _CELLS)

    def forward(self, maps: Maps) -> Prediction:
        """Weighted means of all pixels' answers (px, px, mm) and their standard deviations, in float32 always."""
        return mean_of(self.votes(maps))

    def votes(self, maps: Maps) -> Votes:
        """What each pixel says."""
        fine = self.up(maps.z)
        nearest = -F.max_pool2d(-maps.crop.float(), STRIDE).flatten(1)
        ground_mm = (nearest + 1) * (self.offsets.depth_mm / 2)
        empty = nearest >= 1
        return self.offsets.votes(fine, fine, ground_mm, _EMPTY * empty.float())._replace(seen=~empty)

    def outputs(self) -> list[nn.Module]:
        """Layers that answer: an optimizer of hidden matrices leaves them alone."""
        return [self.offsets]

    def fold(self) -> "PixelOffsetHead":
        """Nothing to merge."""
        return self


def _double(channels: int, width: int) -> nn.Sequential:
    """Twice the side, and a convolution that smooths it."""
    return nn.Sequential(
        nn.Upsample(scale_factor=2.0),
        nn.Conv2d(channels, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
