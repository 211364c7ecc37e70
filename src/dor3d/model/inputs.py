"""What a network sees of a crop: its normalised depth, and channels that are made of it inside the network.

U and V are the paper's (section 3.1). `Relief` is ours: a finger before a palm is a step of a few hundredths in a depth
that spans [-1, 1], which a small network takes long to notice. The slopes, and the depth cut into overlapping slices
that span [-1, 1] each, show it at once.
"""

from typing import Final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

_SLOPE_GAIN: Final = 20.0  # a slope of one is about 15 mm a pixel in a cube 300 mm deep
_SLICES: Final = 7
_SLICE_REACH: Final = 0.6  # centres of the first and last slice
_SLICE_GAIN: Final = 8.0


class Relief(nn.Module):
    """Two slopes and seven slices of a crop, each in [-1, 1]."""

    channels: Final = 2 + _SLICES
    sobel: Tensor
    middles: Tensor

    def __init__(self) -> None:
        super().__init__()
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        self.register_buffer("sobel", torch.stack([across, across.T])[:, None], persistent=False)
        middles = torch.linspace(-_SLICE_REACH, _SLICE_REACH, _SLICES).view(1, -1, 1, 1)
        self.register_buffer("middles", middles, persistent=False)

    def forward(self, crop: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b c h w"]:
        """The channels."""
        slopes = F.conv2d(F.pad(crop, (1, 1, 1, 1), mode="replicate"), self.sobel) * _SLOPE_GAIN
        slices = (crop - self.middles) * _SLICE_GAIN
        return torch.cat([slopes, slices], 1).clamp(-1, 1)


def uv_maps(crop: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 h w"]:
    """U = j / W and V = i / H."""
    b, _, h, w = crop.shape
    u = (torch.arange(w, device=crop.device, dtype=crop.dtype) / w).view(1, 1, 1, w).expand(b, 1, h, w)
    v = (torch.arange(h, device=crop.device, dtype=crop.dtype) / h).view(1, 1, h, 1).expand(b, 1, h, w)
    return torch.cat([u, v], 1)
