"""A neck: maps of three strides merged into one of stride 8, which knows both the whole hand and where its parts are.

In the way of a feature pyramid (Lin et al., "Feature pyramid networks for object detection", CVPR 2017), with one dense
convolution at strides 16 and 8.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class Neck(nn.Module):
    """From maps of strides 8, 16 and 32 with the given channels to one of stride 8 with `width` channels."""

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.side8, self.side16, self.side32 = (nn.Conv2d(c, width, 1) for c in channels)
        self.mix16, self.mix8 = _mix(width), _mix(width)

    def forward(
        self, s8: Float[Tensor, "b _ h8 w8"], s16: Float[Tensor, "b _ h16 w16"], s32: Float[Tensor, "b _ h32 w32"]
    ) -> Float[Tensor, "b c h8 w8"]:
        """The merged map."""
        middle = self.mix16(self.side16(s16) + F.interpolate(self.side32(s32), scale_factor=2.0))
        return self.mix8(self.side8(s8) + F.interpolate(middle, scale_factor=2.0))


def _mix(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, 1, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )
