"""Heatmaps in the plane and a depth map under each: the baseline of the paper's Table 2.

Sources: Xiao, Wu and Wei, "Simple baselines for human pose estimation and tracking", ECCV 2018 (three deconvolutions
after the backbone); Sun et al., "Integral human pose regression", ECCV 2018 (a joint is its heatmap's mean). The paper
says no more of its baseline. The depth is the mean of a depth map, weighted by the heatmap. What the heatmap itself is
taught, as in the first source, is the training's `dense_weight`.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dor3d.model.heads.offset import DEPTH_SCALE, anchor_places, moments
from dor3d.model.prediction import Heat, Maps, Prediction

_DOUBLINGS = 3


class HeatmapHead(nn.Module):
    """The depth's map to joints.

    Args:
        channels, grid: of the map.
        joints: number of joints, A.
        size: side of the crop in pixels.
        depth_mm: the cube's depth D.
        width: channels of the deconvolutions; the source has 256.
    """

    places: Tensor

    def __init__(self, channels: int, grid: int, joints: int, size: int, depth_mm: float, width: int = 256) -> None:
        super().__init__()
        self.joints, self.depth_mm, self.cell = joints, depth_mm, size / (grid << _DOUBLINGS)
        widths = [channels, *[width] * _DOUBLINGS]
        self.up = nn.Sequential(*(_deconvolution(a, width) for a in widths[:-1]))
        self.maps = nn.Conv2d(width, 2 * joints, 1)  # heat, depth
        self.register_buffer("places", anchor_places(size, grid << _DOUBLINGS, 1), persistent=False)

    def forward(self, maps: Maps) -> Prediction:
        """Means and standard deviations under each joint's heatmap (px, px, mm), in float32 always."""
        heat, depth = self.heat_and_depth(maps)
        answers = torch.cat([self.places[None, None].expand(*heat.shape[:2], -1, -1), depth[:, :, None]], 2)
        points, sigma = moments(heat.softmax(-1)[:, :, None], answers)
        return Prediction(points, sigma, heat=Heat(heat.log_softmax(-1), self.places, self.cell))

    def heat_and_depth(self, maps: Maps) -> tuple[Float[Tensor, "b a n"], Float[Tensor, "b a n"]]:
        """Each joint's heatmap before its softmax, and its depth map (mm), row by row."""
        both = self.maps(self.up(maps.z)).float().reshape(maps.z.shape[0], 2, self.joints, -1)
        return both[:, 0], (both[:, 1] * DEPTH_SCALE + 0.5) * self.depth_mm

    def outputs(self) -> list[nn.Module]:
        """Layers that answer: an optimizer of hidden matrices leaves them alone."""
        return [self.maps]

    def fold(self) -> "HeatmapHead":
        """Nothing to merge."""
        return self


def _deconvolution(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(channels, width, 4, 2, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
