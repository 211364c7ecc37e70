"""The depth that a head's answers start from: the middle of the cube, or the surface that each cell sees."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

DepthOrigin = Literal["cube", "surface", "surface-filled"]
_EMPTY = 0.99  # crop values from here on are the far face: no reading, or nothing within the cube


def depth_origins(
    crop: Float[Tensor, "b 1 s s"], grid: int, depth_mm: float, origin: DepthOrigin
) -> Float[Tensor, "b n"] | None:
    """Return the depth that each cell's answers start from.

    Args:
        crop: the network's input, normalised depth in [-1, 1].
        grid: cells along each side of the map.
        depth_mm: the cube's depth D.
        origin: `cube`, its middle for all cells; `surface`, the nearest reading of each cell, and the middle of the
            cube where a cell sees nothing; `surface-filled`, the mean of the cells that see something in its place.

    Returns:
        Depth within the cube (mm, 0 is the near face), cells row by row; None for `cube`.
    """
    if origin == "cube":
        return None
    near = -F.max_pool2d(-crop.float(), crop.shape[-1] // grid).flatten(1)
    has_surface = (near < _EMPTY).float()
    if origin == "surface":
        filled = near * has_surface
    else:
        mean = (near * has_surface).sum(1, keepdim=True) / has_surface.sum(1, keepdim=True).clamp(min=1.0)
        filled = near * has_surface + mean * (1 - has_surface)
    return (filled + 1) * (depth_mm / 2)
