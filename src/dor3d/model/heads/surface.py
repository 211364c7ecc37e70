"""The depth that a head's answers start from: the middle of the cube, or the surface that each cell sees."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

DepthOrigin = Literal["cube", "surface", "surface-filled"]
_FACE = 0.99  # crop values beyond it, to either side, are a face of the cube: no reading, or nothing within it


def depth_origins(
    crop: Float[Tensor, "b 1 s s"], grid: int, depth_mm: float, origin: DepthOrigin
) -> Float[Tensor, "b n"] | None:
    """Return the depth that each cell's answers start from.

    What lies nearer than the cube (an arm before the camera) is clamped to its near face, and is no more the hand's
    surface than what lies behind the cube: neither counts.

    Args:
        crop: the network's input, normalised depth in [-1, 1].
        grid: cells along each side of the map.
        depth_mm: the cube's depth D.
        origin: `cube`, its middle for all cells; `surface`, the nearest reading within the cube of each cell, and the
            middle of the cube where a cell sees nothing; `surface-filled`, the mean of the cells that see something in
            its place.

    Returns:
        Depth within the cube (mm, 0 is the near face), cells row by row; None for `cube`.
    """
    if origin == "cube":
        return None
    crop = crop.float()
    inside = torch.where(crop > -_FACE, crop, torch.ones_like(crop))
    near = -F.max_pool2d(-inside, crop.shape[-1] // grid).flatten(1)
    has_surface = (near < _FACE).float()
    if origin == "surface":
        filled = near * has_surface
    else:
        mean = (near * has_surface).sum(1, keepdim=True) / has_surface.sum(1, keepdim=True).clamp(min=1.0)
        filled = near * has_surface + mean * (1 - has_surface)
    return (filled + 1) * (depth_mm / 2)
