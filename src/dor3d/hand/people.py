"""People behind hands and in rooms: a torso with a head, whose face, hair and glasses read as in real frames."""

from typing import Final, NamedTuple

import numpy as np
from numpy import ndarray

from dor3d.hand.solids import Mesh, joined

# shoulders, hips, neck and head of an adult, from the middle of the chest: x, y (down), z (away), radius (mm)
_BODY = np.array(
    [
        [-165.0, -170.0, 20.0, 65.0], [165.0, -170.0, 20.0, 65.0], [-110.0, 0.0, 0.0, 105.0], [110.0, 0.0, 0.0, 105.0],
        [-105.0, 260.0, 10.0, 100.0], [105.0, 260.0, 10.0, 100.0], [0.0, -230.0, 30.0, 58.0],
        [0.0, -330.0, 15.0, 85.0], [0.0, -390.0, 30.0, 92.0],
    ]
)  # fmt: skip
_WEDGES = np.array([[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 5], [0, 1, 6]])
_EDGES = np.array(
    [[0, 1], [0, 2], [1, 2], [1, 3], [2, 3], [2, 4], [3, 4], [3, 5], [4, 5], [0, 6], [1, 6], [6, 7], [7, 8]]
)
_NECK: Final = 6  # what comes before it is the torso

# skull, forehead, brows, cheeks, corners of the jaw, chin, bridge and tip of the nose, lips, ears, from the neck
_HEAD = np.array(
    [
        [0.0, -138.0, 10.0, 86.0], [0.0, -168.0, -38.0, 58.0], [-28.0, -132.0, -80.0, 13.0],
        [28.0, -132.0, -80.0, 13.0], [-46.0, -92.0, -70.0, 20.0], [46.0, -92.0, -70.0, 20.0],
        [-44.0, -42.0, -30.0, 17.0], [44.0, -42.0, -30.0, 17.0], [0.0, -16.0, -80.0, 15.0],
        [0.0, -118.0, -96.0, 7.0], [0.0, -86.0, -114.0, 12.0], [0.0, -54.0, -84.0, 24.0],
        [-76.0, -82.0, 0.0, 9.0], [76.0, -82.0, 0.0, 9.0], [-84.0, -118.0, 6.0, 11.0], [84.0, -118.0, 6.0, 11.0],
    ]
)  # fmt: skip
_HEAD_WEDGES = np.array([[1, 2, 3], [0, 4, 6], [0, 5, 7], [4, 6, 11], [5, 7, 11], [4, 5, 11], [6, 8, 11], [7, 8, 11]])
_HEAD_EDGES = np.array(
    [
        [0, 1], [1, 2], [1, 3], [2, 3], [2, 9], [3, 9], [9, 10], [10, 11], [0, 4], [0, 5], [0, 6], [0, 7], [4, 6],
        [5, 7], [4, 11], [5, 11], [6, 11], [7, 11], [4, 5], [6, 8], [7, 8], [8, 11], [12, 14], [13, 15],
    ]
)  # fmt: skip
_HAIR = np.array([0.0, -195.0, 45.0])
_EYES = np.array([[-31.0, -114.0, -88.0], [31.0, -114.0, -88.0]])
_BEARD = np.array([0.0, -20.0, -85.0])


class Person(NamedTuple):
    """Torso and head; lengths in mm.

    Attributes:
        mesh: its spheres begin with the shoulders'.
        dark: [D, 4] balls within which surfaces send too little light back to be read: hair, glasses, beards, clothes.
    """

    mesh: Mesh
    dark: ndarray

    def moved(self, by: ndarray) -> "Person":
        """The same elsewhere; `by` is [3]."""
        way = np.array([*by, 0.0])
        return Person(self.mesh._replace(spheres=self.mesh.spheres + way), self.dark + way)


def sample_person(rng: np.random.Generator, *, face: bool) -> Person:
    """Somebody who faces the camera more or less, about the middle of the chest; without a face, a head of two balls.

    `face` draws more numbers: what is drawn without it is what the frozen test sets have.
    """
    scale = rng.uniform(0.85, 1.15)
    turn, tilt = rng.normal(0.0, 0.4), rng.normal(0.0, 0.25)
    if not face:
        return Person(Mesh(_turned(_BODY * scale, turn, tilt), _EDGES, _WEDGES), np.empty((0, 4)))
    kept = _EDGES[(_EDGES <= _NECK).all(1)]
    torso = Mesh(_BODY[: _NECK + 1], kept, _WEDGES)
    head, dark = _head(rng)
    mesh = joined([torso, head])
    neck = np.array([[_NECK, _NECK + 1]])
    mesh = mesh._replace(edges=np.concatenate([mesh.edges, neck]))
    if rng.random() < 0.25:  # clothes
        some = _BODY[rng.integers(_NECK, size=2), :3] + rng.normal(0.0, 60.0, (2, 3))
        dark = np.concatenate([dark, np.column_stack([some, rng.uniform(40.0, 160.0, 2)])])
    mesh = mesh._replace(spheres=_turned(mesh.spheres * scale, turn, tilt))
    return Person(mesh, _turned(dark * scale, turn, tilt))


def _head(rng: np.random.Generator) -> tuple[Mesh, ndarray]:
    """A head that looks elsewhere than its body, and what of it gives no readings."""
    wide, high, deep = rng.uniform(0.88, 1.1, 3)
    spheres = _HEAD * (wide, high, deep, (wide * high * deep) ** (1 / 3))
    spheres[:, :3] += rng.normal(0.0, 3.0, (len(spheres), 3))
    spheres[:, 3] *= rng.uniform(0.9, 1.12, len(spheres))
    dark = [[*_HAIR + rng.normal(0.0, 15.0, 3), rng.uniform(70.0, 150.0)]] if rng.random() < 0.75 else []
    if rng.random() < 0.45:  # eyes and glasses
        dark += [[*eye, rng.uniform(14.0, 34.0)] for eye in _EYES]
    if rng.random() < 0.2:
        dark.append([*_BEARD + rng.normal(0.0, 10.0, 3), rng.uniform(25.0, 55.0)])
    turn, tilt, roll = rng.normal(0.0, (0.5, 0.3, 0.15))
    neck = np.array([*_BODY[_NECK, :3], 0.0])
    balls = np.array(dark).reshape(-1, 4) * (wide, high, deep, 1.0)
    placed = [_turned(_rolled(some, roll), turn, tilt) + neck for some in (spheres, balls)]
    return Mesh(placed[0], _HEAD_EDGES, _HEAD_WEDGES), placed[1]


def _turned(balls: ndarray, turn: float, tilt: float) -> ndarray:
    """Balls [N, 4] turned about the axis that points down, then about the one that points to the right."""
    c, s = np.cos(turn), np.sin(turn)
    x, z = c * balls[:, 0] + s * balls[:, 2], c * balls[:, 2] - s * balls[:, 0]
    y, z = np.cos(tilt) * balls[:, 1] - np.sin(tilt) * z, np.cos(tilt) * z + np.sin(tilt) * balls[:, 1]
    return np.stack([x, y, z, balls[:, 3]], 1)


def _rolled(balls: ndarray, roll: float) -> ndarray:
    c, s = np.cos(roll), np.sin(roll)
    x, y = c * balls[:, 0] - s * balls[:, 1], s * balls[:, 0] + c * balls[:, 1]
    return np.stack([x, y, balls[:, 2], balls[:, 3]], 1)
