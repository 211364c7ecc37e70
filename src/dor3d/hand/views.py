"""From where hands are seen: all round, or as the cameras of real uses see them.

A view is a rotation [3, 3] from the hand frame (x radial, y distal, z palmar) to the camera frame (x right, y down,
z away) of a right hand.
"""

import math
from typing import Final, Literal, get_args

import numpy as np
from numpy import ndarray

View = Literal["around", "front", "top", "egocentric"]
VIEWS: Final[tuple[View, ...]] = get_args(View)


def random_rotation(rng: np.random.Generator) -> ndarray:
    """A rotation [3, 3], uniform over all (a unit quaternion, uniform on its sphere)."""
    w, x, y, z = rng.standard_normal(4).tolist()
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    w, x, y, z = w / norm, x / norm, y / norm, z / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def sample_view(rng: np.random.Generator, view: View) -> ndarray:
    """One rotation of a view.

    front       a person before the camera shows the palm, at times the back; fingers up or aside
    top         the camera hangs over a table: the back of a hand that comes from below the image, or from any side
    egocentric  the camera is on the person's own head: fingers away from it, the palm down, inwards or to the face
    """
    if view == "around":
        return random_rotation(rng)
    if view == "front":
        back = math.pi if rng.random() < 0.25 else 0.0
        turned = _about(1, back + rng.normal(0.0, 0.7)) @ _about(0, rng.normal(0.0, 0.6))
        return _about(2, rng.normal(0.0, 0.7)) @ turned @ _FRONT
    if view == "top":
        from_anywhere = rng.uniform(-math.pi, math.pi) if rng.random() < 0.3 else rng.normal(0.0, 0.6)
        tilted = _about(0, rng.normal(0.0, 0.4)) @ _about(1, rng.normal(0.0, 0.5))
        return _about(2, from_anywhere) @ tilted @ _TOP
    to_face = math.pi if rng.random() < 0.25 else 0.6
    turned = _about(0, rng.normal(0.0, 0.4)) @ _about(1, rng.normal(-0.2, 0.4)) @ _about(2, rng.normal(0.0, 0.4))
    return turned @ _EGOCENTRIC @ _about(1, to_face + rng.normal(0.0, 0.7))


def _about(axis: int, angle: float) -> ndarray:
    """A rotation [3, 3] about x (0), y or z."""
    c, s = math.cos(angle), math.sin(angle)
    a, b = ((1, 2), (2, 0), (0, 1))[axis]
    out = np.eye(3)
    out[a, a], out[a, b], out[b, a], out[b, b] = c, -s, s, c
    return out


def _frame(distal: tuple[float, float, float], palmar: tuple[float, float, float]) -> ndarray:
    y, z = np.array(distal), np.array(palmar)
    return np.stack([np.cross(y, z), y, z], 1)


_FRONT: Final = _frame((0.0, -1.0, 0.0), (0.0, 0.0, -1.0))
_TOP: Final = _frame((0.0, -1.0, 0.0), (0.0, 0.0, 1.0))
_EGOCENTRIC: Final = _frame((0.0, -0.6, 0.8), (0.0, 0.8, 0.6))
