"""A network that needs no training, which sees discs before a wall, and frames of them."""

import numpy as np

from dor3d.geometry import Pinhole
from dor3d.runtime.base import CropOutput
from dor3d.runtime.card import ModelCard
from dor3d.skeleton import JOINTS

CAMERA = Pinhole(287.0, 287.0, 160.0, 120.0, 320, 240)
SIZE, CUBE = 48, (280.0, 300.0)
# a hand's joints about its middle (px, px, mm), all of them apart
SHAPE = np.stack([6 * np.cos(np.arange(21.0)), 8 * np.sin(np.arange(21.0)), 10 * np.cos(2 * np.arange(21.0))], 1)
SHAPE -= (SHAPE.min(0) + SHAPE.max(0)) / 2
PIXELS = 159  # of a disc of 40 mm with its thumb


class Blob:
    """A stand-in network: joints about the middle of a disc, a hand where it is large, a right one by its thumb.

    It `grows` with the disc, or is always as large.
    """

    card = ModelCard("blob", SIZE, CUBE, JOINTS)

    def __init__(self, *, tells: bool = True, grows: bool = False) -> None:
        self.tells, self.grows, self.asked = tells, grows, 0

    def __call__(self, crops: np.ndarray) -> CropOutput:
        self.asked += len(crops)
        points, sigma, kind = (np.zeros((len(crops), *shape), np.float32) for shape in ((21, 3), (21, 3), (2,)))
        for i, crop in enumerate(crops[:, 0]):
            rows, columns = np.nonzero(crop < 1)
            depth = (crop[rows, columns].mean() + 1) / 2 * CUBE[1]
            points[i] = np.array([columns.mean() + 0.5, rows.mean() + 0.5, depth]) + SHAPE * (
                np.sqrt(len(rows) / PIXELS) if self.grows else 1.0
            )
            sigma[i] = 0.2
            kind[i] = (6.0 if len(rows) > 60 else -6.0, 4.0 * np.sign(((columns - columns.mean()) ** 3).mean()))
        return CropOutput(points, sigma, kind if self.tells else None)


def frame_with(*middles: tuple[float, float, float], radius: float = 40.0, thumb: int = 1) -> np.ndarray:
    """Discs that face the camera, before a wall, with a thumb to the right, or to the left (-1)."""
    v, u = np.mgrid[:240, :320]
    frame = np.full((240, 320), 2500.0, np.float32)
    for x, y, z in middles:
        right, down = (u - CAMERA.cx) / CAMERA.fx * z - x, (v - CAMERA.cy) / CAMERA.fy * z - y
        frame[np.hypot(right, down) < radius] = z
        frame[np.hypot(right - 1.1 * thumb * radius, down) < 0.3 * radius] = z
    return frame
