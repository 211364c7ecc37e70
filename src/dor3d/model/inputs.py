"""What a network sees of a crop: its normalised depth, and channels that are made of it inside the network.

U and V are the paper's (section 3.1). `Relief` is ours: a finger before a palm is a step of a few hundredths in a depth
that spans [-1, 1], which a small network takes long to notice. The slopes, and the depth cut into overlapping slices
that span [-1, 1] each, show it at once.
"""

from contextlib import nullcontext
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
    """Append two slopes and seven slices of a crop, each in [-1, 1], to its channels.

    In training all of it is one convolution, which passes the given channels on and answers in the network's memory
    format; runtimes are quicker with the steps one by one (benchmarks/train_speed.py, predict_speed.py).

    Args:
        given: how many channels it is given, in [-1, 1] too; the first is the depth.
    """

    channels: Final = 2 + _SLICES
    sobel: Tensor
    middles: Tensor
    kernel: Tensor
    bias: Tensor

    def __init__(self, given: int = 1) -> None:
        super().__init__()
        across = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        self.register_buffer("sobel", torch.stack([across, across.T])[:, None], persistent=False)
        middles = torch.linspace(-_SLICE_REACH, _SLICE_REACH, _SLICES)
        self.register_buffer("middles", middles.view(1, -1, 1, 1), persistent=False)
        kernel, bias = torch.zeros(given + self.channels, given, 3, 3), torch.zeros(given + self.channels)
        kernel[range(given), range(given), 1, 1] = 1.0
        kernel[given : given + 2, 0] = self.sobel[:, 0] * _SLOPE_GAIN
        kernel[given + 2 :, 0, 1, 1] = _SLICE_GAIN
        bias[given + 2 :] = -_SLICE_GAIN * middles
        self.register_buffer("kernel", kernel, persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, given: Float[Tensor, "b g h w"]) -> Float[Tensor, "b c h w"]:
        """Return the given channels and those made of the first."""
        device = given.device.type
        # a slope is a small difference of depths: half precision would lose it
        with torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext():
            if self.training:
                return F.conv2d(_padded(given), self.kernel, self.bias).clamp_(-1, 1)
            crop = given[:, :1]
            slopes = F.conv2d(_padded(crop), self.sobel) * _SLOPE_GAIN
            slices = (crop - self.middles) * _SLICE_GAIN
            return torch.cat([given, torch.cat([slopes, slices], 1).clamp(-1, 1)], 1)


def _padded(maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c _h _w"]:
    return F.pad(maps, (1, 1, 1, 1), mode="replicate")


def uv_maps(crop: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 2 h w"]:
    """U = j / W and V = i / H."""
    b, _, h, w = crop.shape
    u = (torch.arange(w, device=crop.device, dtype=crop.dtype) / w).view(1, 1, 1, w).expand(b, 1, h, w)
    v = (torch.arange(h, device=crop.device, dtype=crop.dtype) / h).view(1, 1, h, 1).expand(b, 1, h, w)
    return torch.cat([u, v], 1)
