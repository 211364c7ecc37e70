"""Dense offsets with learned weights: every anchor of a map says where each joint is, and how much it knows of it.

In the way of A2J (Xiong et al., "A2J: anchor-to-joint regression network for 3D articulated pose estimation from a
single depth image", ICCV 2019): anchors lie evenly in each cell of the map; two maps serve the plane and the depth. Its
loss that draws the weights to anchors near the joint is the training's `anchor_weight`. Differences: answers come
straight from the maps, without four convolutions for each kind; the depth has weights of its own; the spread of the
answers is the joint's standard deviation.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from dor3d.model.heads.surface import DepthOrigin, depth_origins
from dor3d.model.prediction import Maps, Prediction, Votes

DEPTH_SCALE = 0.2  # of the cube's depth: what an answer of 1 means


class OffsetHead(nn.Module):
    """Maps to joints.

    Args:
        channels, grid: of the maps.
        joints: number of joints, A.
        size: side of the crop in pixels.
        depth_mm: the cube's depth D.
        anchors: along each side of a cell; A2J has 4.
        unit: pixels that an answer of 1 means; a cell's side by default.
        depth_origin: what depths are relative to; see `dor3d.model.heads.surface`.
    """

    places: Tensor

    def __init__(
        self,
        channels: int,
        grid: int,
        joints: int,
        size: int,
        depth_mm: float,
        *,
        anchors: int = 1,
        unit: float | None = None,
        depth_origin: DepthOrigin = "cube",
    ) -> None:
        super().__init__()
        self.grid, self.anchors = grid, anchors
        self.depth_origin: DepthOrigin = depth_origin
        self.joints, self.depth_mm, self.unit = joints, depth_mm, unit or size / grid
        self.weights = nn.Conv2d(channels, 2 * joints * anchors**2, 1)  # of the answers in the plane, and in depth
        self.answers = nn.Conv2d(channels, 3 * joints * anchors**2, 1)
        self.register_buffer("places", anchor_places(size, grid, anchors), persistent=False)

    def forward(self, maps: Maps) -> Prediction:
        """Weighted means of all anchors' answers (px, px, mm) and their standard deviations, in float32 always."""
        surface = depth_origins(maps.crop, self.grid, self.depth_mm, self.depth_origin)
        if surface is not None:
            surface = surface.repeat(1, self.anchors**2)  # for each anchor of a cell, all cells
        return mean_of(self.votes(maps.xy, maps.z, surface))

    def votes(
        self,
        xy: Float[Tensor, "b f h h"],
        z: Float[Tensor, "b f h h"],
        ground_mm: Float[Tensor, "b n"] | None = None,
        seen: Float[Tensor, "b n"] | None = None,
    ) -> Votes:
        """What each anchor says.

        Args:
            xy, z: the maps.
            ground_mm: the depth that an anchor's answer is added to; the cube's middle by default.
            seen: an anchor's chances before it looks, as log-odds; all the same by default.
        """
        plane_weights, depth_weights = self._parts(self.weights, xy, z, 1)
        if seen is not None:
            plane_weights, depth_weights = (w + seen[:, None, None] for w in (plane_weights, depth_weights))
        plane, depth = self._parts(self.answers, xy, z, 2)
        ground = self.depth_mm / 2 if ground_mm is None else ground_mm[:, None, None]
        return Votes(
            plane_weights.softmax(-1),
            self.places[:, None] + plane * self.unit,
            depth_weights.softmax(-1),
            ground + depth * (DEPTH_SCALE * self.depth_mm),
            places=self.places,
        )

    def _parts(self, conv: nn.Conv2d, xy: Tensor, z: Tensor, plane: int) -> tuple[Tensor, Tensor]:
        """The convolution's outputs [B, kinds, A, anchors] for the plane (`plane` kinds) and, from z, for the depth."""
        kinds = plane + 1
        channels = conv.out_channels // kinds * plane
        if xy is z:
            first, rest = conv(xy).split([channels, conv.out_channels - channels], 1)
        else:
            first, rest = (
                F.conv2d(features, conv.weight[some], None if conv.bias is None else conv.bias[some])
                for features, some in ((xy, slice(channels)), (z, slice(channels, None)))
            )
        # a joint's anchors side by side: a softmax over the last axis
        return (
            first.float().reshape(xy.shape[0], plane, self.joints, -1),
            rest.float().reshape(xy.shape[0], 1, self.joints, -1),
        )

    def outputs(self) -> list[nn.Module]:
        """Layers that answer: an optimizer of hidden matrices leaves them alone."""
        return [self]

    def fold(self) -> "OffsetHead":
        """Nothing to merge."""
        return self


def anchor_places(size: int, grid: int, anchors: int) -> Float[Tensor, "2 n"]:
    """Where anchors lie (px): for each anchor of a cell, in the order of the channels, all cells."""
    cell = size / grid
    inner = (torch.arange(anchors) + 0.5) / anchors
    along = (torch.arange(grid)[None, :] + inner[:, None]) * cell  # [anchors, grid]
    rows = along[:, None, :, None].expand(anchors, anchors, grid, grid)
    columns = along[None, :, None, :].expand(anchors, anchors, grid, grid)
    return torch.stack([columns.flatten(), rows.flatten()])


def mean_of(votes: Votes) -> Prediction:
    """Weighted means and standard deviations."""
    mean_plane, sigma_plane = moments(votes.plane_weights, votes.plane)
    mean_depth, sigma_depth = moments(votes.depth_weights, votes.depth)
    return Prediction(
        torch.cat([mean_plane, mean_depth], 1).transpose(1, 2),
        torch.cat([sigma_plane, sigma_depth], 1).transpose(1, 2),
        votes=votes,
    )


def moments(weights: Tensor, answers: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation over the last axis."""
    mean = (weights * answers).sum(-1)
    variance = (weights * (answers - mean[..., None]).square()).sum(-1)
    return mean, (variance + 1e-6).sqrt()
