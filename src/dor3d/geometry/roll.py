"""A hand's roll in the image: crops that are turned by it show hands that point upwards. Ours.

A network that sees hands of all rolls has to learn each pose in each of them. A second look need not: the first one
tells the roll well enough to turn it away.
"""

import math
from typing import Final

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dor3d.geometry.camera import Pinhole
from dor3d.skeleton import FINGER_JOINTS, WRIST

_MCP: Final = FINGER_JOINTS["middle"][0]
_PALM_MM: Final = 90.0
_TURN_SD: Final = 0.17  # rad: how well a first look tells the roll of a palm that is seen at its full length


def upright_turn(joints_mm: Float[ndarray, "21 3"], camera: Pinhole) -> tuple[float, float]:
    """The rotation (rad, as `CropBox` has it) with which a crop's hand points upwards, and how much of it tells so.

    Args:
        joints_mm: of the hand, camera frame.
        camera: that sees it.

    Returns: the angle that takes the way from the wrist to the middle finger's root to -q; and how long that way is in
    the image plane (mm): where it is short, a hand points at the camera or away, and the angle is none.
    """
    (u, v), (u_mcp, v_mcp) = camera.project(joints_mm[[WRIST, _MCP]]).tolist()
    z = float(joints_mm[WRIST, 2])
    x, y = (u_mcp - u) / camera.fx * z, (v_mcp - v) / camera.fy * z
    return math.remainder(-math.pi / 2 - math.atan2(y, x), math.tau), math.hypot(x, y)


def told_turn(joints_mm: Float[ndarray, "21 3"], camera: Pinhole, rng: np.random.Generator) -> float:
    """`upright_turn` about as a first look tells it: the less is seen of the palm's length, the worse."""
    turn, length = upright_turn(joints_mm, camera)
    return turn + rng.normal(0.0, _TURN_SD / max(length / _PALM_MM, _TURN_SD / math.pi))
