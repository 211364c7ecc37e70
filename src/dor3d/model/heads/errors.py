"""How far off a network's joints are, said by layers of their own. Ours.

They read what the head reads and change nothing of it (no gradient goes back), so that a network that knows its errors
has the same joints as one that does not, and a trained one can learn it afterwards. Heads' own spreads are another
matter: of offsets they say how far anchors disagree, which ranks errors poorly (docs/reproduction.md).
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dor3d.model.prediction import Maps

_FIRST: Final = 1.5  # log of the size that is told before anything is learnt: 4.5 px or mm
_LIMITS: Final = (-3.0, 7.0)


class ErrorHead(nn.Module):
    """Each joint looks at the places of the map that it chooses, and says the mean size of its errors.

    Args:
        channels: of the map.
        joints: number of joints, A.
    """

    def __init__(self, channels: int, joints: int) -> None:
        super().__init__()
        self.joints = joints
        self.weights = nn.Conv2d(channels, joints, 1)  # of places
        self.sizes = nn.Parameter(torch.zeros(joints, 3, channels))
        self.first = nn.Parameter(torch.full((joints, 3), _FIRST))

    def forward(self, maps: Maps) -> Float[Tensor, "b a 3"]:
        """Mean absolute errors that are expected (px, px, mm), in float32 always."""
        features = maps.z.detach()
        weights = self.weights(features).float().flatten(2).softmax(-1)  # [B, A, places]
        seen = weights @ features.float().flatten(2).transpose(1, 2)  # [B, A, channels]
        said = (seen[:, :, None] * self.sizes.float()).sum(-1) + self.first.float()
        return said.clamp(*_LIMITS).exp()
