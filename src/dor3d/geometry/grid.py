"""The coarse grid of a frame's pixels that hands are looked for on."""

from typing import Final, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from numpy import ndarray

from dor3d.geometry.camera import Pinhole

COARSE: Final = (160, 120)  # columns and rows at most
CELL: Final = 4  # grid cells along a side of a heatmap's cell
MIDDLE_MM: Final = 600.0  # a hand's usual distance: others are told as the log of their ratio to it


class Grid(NamedTuple):
    """Every `step`-th pixel of a frame.

    Attributes:
        step: pixels between neighbours.
        columns, rows: which pixels.
        camera: reads a grid cell's point from its indices as a pixel's.
    """

    step: int
    columns: Int[ndarray, "w"]
    rows: Int[ndarray, "h"]
    camera: Pinhole

    def of(self, depth: Num[ndarray, "y x"], unit_mm: float = 1.0) -> Float[ndarray, "h w"]:
        """A frame's readings on the grid (mm)."""
        first = self.step // 2
        return depth[first :: self.step, first :: self.step].astype(np.float32) * np.float32(unit_mm)


def coarse_grid(camera: Pinhole, width: int, height: int) -> Grid:
    """The finest grid of at most 160 x 120 cells that covers a frame of this size; lens distortion is neglected."""
    step = max(1, -(-width // COARSE[0]), -(-height // COARSE[1]))
    first = step // 2
    columns, rows = np.arange(first, width, step), np.arange(first, height, step)
    lens = Pinhole(
        camera.fx / step,
        camera.fy / step,
        (camera.cx - first) / step,
        (camera.cy - first) / step,
        len(columns),
        len(rows),
    )
    return Grid(step, columns, rows, lens)
