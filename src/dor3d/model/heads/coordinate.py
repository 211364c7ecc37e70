"""One distribution a coordinate: our rival to the paper's heads.

In the way of SimCC (Li et al., "SimCC: a simple coordinate classification perspective for human pose estimation", ECCV
2022), with the hidden layer of RTMPose (Jiang et al., 2023): a joint's feature map becomes a vector, and the vector a
softmax over the intervals of each axis. Differences: a depth axis, the ordinal codec's intervals, the mean in place of
the largest, and the survival curve, not the distribution, is what a loss may supervise.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dor3d.model.heads.ordinal import AxisCodec, survival_log_odds
from dor3d.model.prediction import Maps, Prediction
from dor3d.ordinal import Discretisation


class CoordinateHead(nn.Module):
    """The depth's map to joints.

    Args:
        channels, grid: of the map.
        joints: number of joints, A.
        discretisations: of x (px), y (px) and z (mm).
        hidden: length of a joint's vector.
        below: leave room for coordinates below the first interval's end, as exact labels ask.
    """

    def __init__(
        self,
        channels: int,
        grid: int,
        joints: int,
        discretisations: Sequence[Discretisation],
        *,
        hidden: int = 256,
        below: bool = False,
    ) -> None:
        super().__init__()
        self.below = 0.0 if below else None
        self.each = nn.Conv2d(channels, joints, 3, 1, 1)
        self.mix = nn.Linear(grid * grid, hidden)
        self.axes = nn.ModuleList(nn.Linear(hidden, disc.k) for disc in discretisations)
        self.codecs = nn.ModuleList(AxisCodec(disc) for disc in discretisations)

    def forward(self, maps: Maps) -> Prediction:
        """Means and standard deviations of the distributions (px, px, mm), in float32 always."""
        logits = self.logits(maps)
        pairs = [codec(axis) for codec, axis in zip(self.codecs, logits, strict=True)]
        points = torch.stack([mean for mean, _ in pairs], -1)
        return Prediction(points, torch.stack([spread for _, spread in pairs], -1), logits)

    def logits(self, maps: Maps) -> tuple[Tensor, ...]:
        """Log-odds per axis, float32 [B, A, 1, K]: the survival curves of the distributions."""
        vectors = F.relu(self.mix(self.each(maps.z).flatten(2)))
        return tuple(survival_log_odds(axis(vectors).float(), self.below)[:, :, None] for axis in self.axes)

    def outputs(self) -> list[nn.Module]:
        """Layers that answer: an optimizer of hidden matrices leaves them alone."""
        return [self.axes]

    def fold(self) -> "CoordinateHead":
        """Nothing to merge."""
        return self
