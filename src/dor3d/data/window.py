"""The part of a frame that any crop around a hand can show, in raw 16-bit counts: what training reads.

A window is cut out and not resampled, so that a crop is looked up in it as it would be in the whole frame. What lies
beyond the cube's far face, or has no reading, is the same to a network, so it is 0 here and compresses well.
"""

import math
from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from jaxtyping import Float, UInt16
from numpy import ndarray

from dor3d.data.sample import Sample
from dor3d.errors import FrameError
from dor3d.geometry import Pinhole

_FINE_MM: Final = 0.125  # a count, where depths are no whole millimetres
_MOST: Final = 65535  # counts


@dataclass(frozen=True)
class Room:
    """How far a crop may be changed.

    Attributes:
        scale: largest factor of the cube's in-plane side.
        shift_mm: farthest shift of its centre along each axis.
        turned: whether it may be turned in the image plane.
    """

    scale: float = 1.0
    shift_mm: float = 0.0
    turned: bool = False

    def holds(self, other: "Room") -> bool:
        """Whether a window with this room holds what another asks for."""
        return self.scale >= other.scale and self.shift_mm >= other.shift_mm and (self.turned or not other.turned)


@dataclass(frozen=True)
class Window:
    """A part of a frame with its labels.

    Attributes:
        counts: [h, w] depth in units of `unit_mm`; 0: no reading, or beyond the cube.
        unit_mm: mm a count.
        left, top: of its first pixel in the frame.
        center_mm: of the crop before any change (camera frame).
        joints_mm: [A, 3] in the camera frame.
        mirrored: whether the crop is, since a left hand is shown.
        name: of the frame.
        subject: whose hand.
    """

    counts: UInt16[ndarray, "h w"]
    unit_mm: float
    left: int
    top: int
    center_mm: Float[ndarray, "3"]
    joints_mm: Float[ndarray, "a 3"]
    mirrored: bool = False
    name: str = ""
    subject: str = ""


def cut_window(sample: Sample, center_mm: Float[ndarray, "3"], cube_mm: tuple[float, float], room: Room) -> Window:
    """Cut the window that holds every crop around a centre.

    Args:
        sample: a labelled frame.
        center_mm: of the unchanged crop.
        cube_mm: in-plane side and depth of its cube.
        room: how far crops may be changed.

    Raises FrameError for a frame without labels, or of which such a crop shows nothing.
    """
    if sample.joints_mm is None:
        raise FrameError(f"{sample.name} has no labels to learn from")
    height, width = sample.depth_mm.shape
    left, top, right, bottom = _bounds(sample.camera, center_mm, cube_mm[0], room)
    left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
    far = center_mm[2] + cube_mm[1] / 2 + room.shift_mm
    depth = sample.depth_mm[top:bottom, left:right] if left < right and top < bottom else np.zeros((0, 0), np.float32)
    depth = np.where(depth <= far, depth, 0)
    if not depth.any():
        raise FrameError(f"{sample.name} shows nothing around its centre", got=f"{center_mm.round().tolist()} mm")
    rows, columns = _filled(depth)
    counts, unit_mm = _counts(depth[rows, columns])
    left, top = left + columns.start, top + rows.start
    return Window(
        *(counts, unit_mm, left, top, center_mm, sample.joints_mm, sample.left),
        name=sample.name,
        subject=sample.subject,
    )


def _filled(depth: Float[ndarray, "h w"]) -> tuple[slice, slice]:
    """The rows and columns that have readings: what lies around them reads as it would outside the window."""
    rows, columns = np.flatnonzero(depth.any(1)), np.flatnonzero(depth.any(0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _counts(depth: Float[ndarray, "h w"]) -> tuple[UInt16[ndarray, "h w"], float]:
    unit_mm = 1.0 if (depth == np.round(depth)).all() else _FINE_MM
    return np.clip(np.round(depth / unit_mm), 0, _MOST).astype(np.uint16), unit_mm


def _bounds(camera: Pinhole, center_mm: Float[ndarray, "3"], side_mm: float, room: Room) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (the last two exclusive) of all crops; they may lie outside the image."""
    half_mm = side_mm / 2 * room.scale * (math.sqrt(2) if room.turned else 1.0)
    shifts = np.array(list(product((-room.shift_mm, room.shift_mm), repeat=3)))
    centers = center_mm + shifts
    centers[:, 2] = np.maximum(centers[:, 2], 1.0)
    half = np.stack([camera.fx * half_mm / centers[:, 2], camera.fy * half_mm / centers[:, 2]], -1)
    uv = camera.project(centers)
    low, high = np.floor((uv - half).min(0)).astype(int), np.ceil((uv + half).max(0)).astype(int)
    return int(low[0]), int(low[1]), int(high[0]) + 2, int(high[1]) + 2
