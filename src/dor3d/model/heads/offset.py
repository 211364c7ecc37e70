"""Dense offsets with learned weights: every cell of a map says where each joint is, and how much it knows of it.

In the way of A2J (Xiong et al., "A2J: anchor-to-joint regression network for 3D articulated pose estimation from a
single depth image", ICCV 2019): the cells are its anchors, one each. Differences: the depth has weights of its own, and
the spread of the answers is the joint's standard deviation.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dor3d.model.prediction import Prediction

_DEPTH_SCALE = 0.2  # of the cube's depth: what an answer of 1 means


class OffsetHead(nn.Module):
    """A map to joints.

    Args:
        channels, grid: of the map.
        joints: number of joints, A.
        size: side of the crop in pixels.
        depth_mm: the cube's depth D.
    """

    places: Tensor

    def __init__(self, channels: int, grid: int, joints: int, size: int, depth_mm: float) -> None:
        super().__init__()
        self.joints, self.cell, self.depth_mm = joints, size / grid, depth_mm
        self.weights = nn.Conv2d(channels, 2 * joints, 1)  # of the answers in the plane, and in depth
        self.answers = nn.Conv2d(channels, 3 * joints, 1)
        middles = (torch.arange(grid) + 0.5) * self.cell
        rows, columns = torch.meshgrid(middles, middles, indexing="ij")
        self.register_buffer("places", torch.stack([columns, rows]).flatten(1), persistent=False)

    def forward(self, features: Float[Tensor, "b f h h"]) -> Prediction:
        """Weighted means of all cells' answers (px, px, mm) and their standard deviations, in float32 always."""
        b = features.shape[0]
        # a softmax over the last axis, with a channel's cells side by side
        weights = self.weights(features).float().reshape(b, 2, self.joints, -1).softmax(-1)
        answers = self.answers(features).float().reshape(b, 3, self.joints, -1)
        plane = self.places[:, None] + answers[:, :2] * self.cell
        depth = (answers[:, 2:] * _DEPTH_SCALE + 0.5) * self.depth_mm
        mean_plane, sigma_plane = _moments(weights[:, :1], plane)
        mean_depth, sigma_depth = _moments(weights[:, 1:], depth)
        return Prediction(
            torch.cat([mean_plane, mean_depth], 1).transpose(1, 2),
            torch.cat([sigma_plane, sigma_depth], 1).transpose(1, 2),
        )

    def fold(self) -> "OffsetHead":
        """Nothing to merge."""
        return self


def _moments(weights: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation over the last axis."""
    mean = (weights * answers).sum(-1)
    variance = (weights * (answers - mean[..., None]).square()).sum(-1)
    return mean, (variance + 1e-6).sqrt()
