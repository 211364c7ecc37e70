"""How far predicted joints are from the true ones: the measures that hand pose papers report.

`errors_mm` below is what `joint_errors` returns: [frames, joints], in mm.
"""

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray

from dor3d.skeleton import JOINTS


def joint_errors(predicted_mm: Float[ndarray, "n a 3"], true_mm: Float[ndarray, "n a 3"]) -> Float[ndarray, "n a"]:
    """Distance of every joint from where it is (mm)."""
    return np.linalg.norm(predicted_mm - true_mm, axis=-1)


def axis_errors(predicted_mm: Float[ndarray, "n a 3"], true_mm: Float[ndarray, "n a 3"]) -> Float[ndarray, "3"]:
    """Mean absolute error along x, y and z (mm): the columns of the paper's tables 3 and 4."""
    return np.abs(predicted_mm - true_mm).mean(axis=(0, 1))


def success_curve(
    errors_mm: Float[ndarray, "n a"], thresholds_mm: Float[ndarray, "t"], by: Literal["max", "mean"] = "max"
) -> Float[ndarray, "t"]:
    """Share of frames that are off by no more than each threshold (the paper's section 4.1).

    Args:
        errors_mm: of every joint.
        thresholds_mm: in any order.
        by: a frame is as far off as its worst joint ("max", the paper's) or as its joints' mean.
    """
    return _share_within(errors_mm.max(axis=1) if by == "max" else errors_mm.mean(axis=1), thresholds_mm)


def pck_curve(errors_mm: Float[ndarray, "n a"], thresholds_mm: Float[ndarray, "t"]) -> Float[ndarray, "t"]:
    """Share of joints, over all frames, that are off by no more than each threshold ("correct keypoints")."""
    return _share_within(errors_mm.ravel(), thresholds_mm)


def area_under(curve: Float[ndarray, "t"], thresholds_mm: Float[ndarray, "t"]) -> float:
    """Area under a curve over rising thresholds, as a share of what a perfect one has (trapezoids): 0 to 1."""
    return float(np.trapezoid(curve, thresholds_mm) / (thresholds_mm[-1] - thresholds_mm[0]))


def view_angles(joints_mm: Float[ndarray, "n 21 3"]) -> Float[ndarray, "n 2"]:
    """Yaw and pitch (degrees) from which a camera sees each palm: 0 for one that faces it or turns its back to it.

    The palm's plane goes through the wrist and the first joints of index and little finger; its normal is taken
    towards the camera. Yaw turns it about the image's vertical, pitch about the horizontal; both lie within 90 degrees.

    Args:
        joints_mm: the canonical 21 joints in the camera frame.
    """
    wrist, index, little = (joints_mm[:, JOINTS.index(name)] for name in ("wrist", "index_mcp", "little_mcp"))
    normal = np.cross(index - wrist, little - wrist)
    normal = normal * np.where(normal[:, 2:] > 0, -1.0, 1.0)
    x, y, z = normal.T
    return np.degrees(np.stack([np.arctan2(x, -z), np.arctan2(-y, -z)], -1))


def means_between(
    errors_mm: Float[ndarray, "n a"], angles: Float[ndarray, "n"], edges: Float[ndarray, "b"]
) -> Float[ndarray, "m"]:
    """Mean error of the frames whose angle lies between two neighbouring edges; NaN where there are none."""
    place = np.digitize(angles, edges) - 1
    frames = errors_mm.mean(axis=1)
    return np.array([frames[place == b].mean() if (place == b).any() else np.nan for b in range(len(edges) - 1)])


def within_sigma(error: Float[ndarray, "*n"], sigma: Float[ndarray, "*n"], factor: float) -> Bool[ndarray, "*n"]:
    """Whether each coordinate's error is at most `factor` of its own standard deviations."""
    return np.abs(error) <= factor * sigma


def _share_within(values: Float[ndarray, "m"], thresholds_mm: Float[ndarray, "t"]) -> Float[ndarray, "t"]:
    return np.searchsorted(np.sort(values), thresholds_mm, side="right") / len(values)
