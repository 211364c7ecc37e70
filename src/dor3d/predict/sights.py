"""From what a locator says of every cell of a frame to hands: peaks of its heatmap, one a hand."""

import math
from typing import Final, NamedTuple

import cv2
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.geometry.grid import CELL, MIDDLE_MM, Grid

_APART_MM: Final = 60.0  # two peaks that are nearer are one hand's
_SQUARE: Final = np.ones((3, 3), np.uint8)


class Sighting(NamedTuple):
    """A hand that was seen in a frame.

    Attributes:
        center_mm: its middle (x, y, z) in the camera frame.
        confidence: that it is one, 0 to 1.
    """

    center_mm: tuple[float, float, float]
    confidence: float


def probability(log_odds: float) -> float:
    """Of what has these log-odds, which may be infinite."""
    return 1 / (1 + math.exp(-min(max(log_odds, -50.0), 50.0)))


def sightings(
    heat: Float[ndarray, "h w"],
    offset: Float[ndarray, "2 h w"],
    depth: Float[ndarray, "h w"],
    grid: Grid,
    least: float = 0.3,
    most: int = 2,
) -> list[Sighting]:
    """Hands that a locator sees, the surest first.

    Args:
        heat, offset, depth: what it says of every cell; see `dor3d.model.locator.Sights`.
        grid: that it looked at.
        least: confidence of a hand.
        most: hands.
    """
    floor = math.log(least / (1 - least))
    rows, columns = np.nonzero((heat >= cv2.dilate(heat, _SQUARE)) & (heat > floor))
    found: list[Sighting] = []
    for i in np.argsort(-heat[rows, columns], kind="stable"):
        row, column = int(rows[i]), int(columns[i])
        middle = (CELL - 1) / 2 + CELL * np.array([column, row]) + offset[:, row, column]
        z = MIDDLE_MM * math.exp(float(depth[row, column]))
        x, y, _ = grid.camera.unproject(middle, np.array(z)).tolist()
        if all(math.dist((x, y, z), other.center_mm) > _APART_MM for other in found):
            found.append(Sighting((x, y, z), probability(float(heat[row, column]))))
        if len(found) == most:
            break
    return found
